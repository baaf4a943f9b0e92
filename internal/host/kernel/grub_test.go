package kernel

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

func parseGrub(t *testing.T, name string) *GrubConfig {
	t.Helper()
	f, err := os.Open("testdata/grub/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	config, err := ParseGrub(f)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestGrub(t *testing.T) {
	entries := []BLSEntry{
		{ID: "mid-0-rescue", Title: "Rescue", Linux: "/vmlinuz-0-rescue"},
		{ID: "mid-6.9.7-200.fc40.x86_64", Title: "Fedora 6.9.7", Linux: "/vmlinuz-6.9.7"},
		{ID: "mid-6.10.2-200.fc40.x86_64", Title: "Fedora 6.10.2", Linux: "($root)/vmlinuz-6.10.2"},
	}
	const v35, v34 = "/boot/vmlinuz-6.1.0-35-amd64", "/boot/vmlinuz-6.1.0-34-amd64"
	tests := []struct {
		config string
		env    map[string]string
		want   string // the kernel, or "?" and the reason
		once   bool
	}{
		{"debian.cfg", nil, v35, false},
		{"debian.cfg", map[string]string{"saved_entry": "0"}, v35, false},
		{"debian.cfg", map[string]string{"saved_entry": "gnulinux-simple-39ec20e2"}, v35, false},
		{"debian.cfg", map[string]string{"saved_entry": "1>1"}, v34, false},
		{"debian.cfg", map[string]string{"saved_entry": "1>7"}, v35, false},
		{"debian.cfg", map[string]string{"saved_entry": "7"}, v35, false},
		{"debian.cfg", map[string]string{"saved_entry": "no such entry"}, v35, false},
		{"debian.cfg", map[string]string{"saved_entry": "gnulinux-advanced-39ec20e2>gnulinux-6.1.0-34-amd64-advanced-39ec20e2"}, v34, false},
		{"debian.cfg", map[string]string{"saved_entry": "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-34-amd64"}, v34, false},
		{"debian.cfg", map[string]string{"saved_entry": "0", "next_entry": "1>1"}, v34, true},
		{"debian.cfg", map[string]string{"saved_entry": "1>1", "prev_saved_entry": "0"}, v34, false},
		{"debian.cfg", map[string]string{"saved_entry": "1"}, "?is a submenu", false},
		{"debian.cfg", map[string]string{"saved_entry": "2"}, "?some condition", false},
		{"debian.cfg", map[string]string{"saved_entry": "uefi-firmware"}, "?some condition", false},
		{"fedora.cfg", nil, "/vmlinuz-6.10.2", false},
		{"fedora.cfg", map[string]string{"saved_entry": "mid-6.9.7-200.fc40.x86_64"}, "/vmlinuz-6.9.7", false},
		{"fedora.cfg", map[string]string{"saved_entry": "2"}, "/vmlinuz-0-rescue", false},
		{"fedora.cfg", map[string]string{"saved_entry": "mid-6.9.7-200.fc40.x86_64", "boot_counter": "1"}, "?known at boot only", false},
	}
	for _, test := range tests {
		choice, err := parseGrub(t, test.config).Choose(test.env, entries)
		if reason, ok := strings.CutPrefix(test.want, "?"); ok {
			if !errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), reason) {
				t.Errorf("%s, %v: %+v, %v", test.config, test.env, choice, err)
			}
		} else if err != nil || choice.Path != test.want || choice.Once != test.once {
			t.Errorf("%s, %v: %+v, %v", test.config, test.env, choice, err)
		}
	}
}

func TestGrubScripts(t *testing.T) {
	const a, b = "menuentry a { linux /a; }\n", "menuentry 'b' --id=B --unrestricted {\nlinux16 (hd0,gpt2)/b x\n}\n"
	tests := []struct{ name, script, want string }{
		{"no default", a + b, "/a"},
		{"number", "default=1\n" + a + b, "/b"},
		{"option --id=", "set default=B\n" + a + b, "/b"},
		{"quotes", "set default=\"b\"\n" + a + b, "/b"},
		{"set as one word", "set 'default=b'\n" + a + b, "/b"},
		{"joined lines", "set \\\ndefault=b\n" + a + b, "/b"},
		{"the last counts", "set default=0\nset default=1\n" + a + b, "/b"},
		{"same on both ways", "if [ x = $y ]; then set default=1; else default=1; fi\n" + a + b, "?known at boot"},
		{"same as before", "set default=1\nif [ x = $y ]; then set default=1; fi\n" + a + b, "/b"},
		{"on a condition", "if [ x = $y ]; then set default=1; fi\n" + a + b, "?known at boot"},
		{"settled later", "if [ x = $y ]; then set default=1; fi\nset default=0\n" + a + b, "/a"},
		{"in a loop", "for x in a b; do set default=1; done\n" + a + b, "?known at boot"},
		{"from a variable", "set default=$x\n" + a + b, "?known at boot"},
		{"not a variable", "set default='$x'\nmenuentry '$x' { linux /x; }\n", "/x"},
		{"in a function", "function f {\nset default=1\n}\n" + a + b, "?default in a function"},
		{"in an entry", "menuentry a { set default=1; linux /a; }\n" + b, "/a"},
		{"entry on a condition first", "if [ x = $y ]; then\n" + a + "fi\n" + b, "?some condition"},
		{"named behind it", "set default=b\nif [ x = $y ]; then\n" + a + "fi\n" + b, "/b"},
		{"quoted quotes", "set default='a\"b>'\\''>>c'\nmenuentry a { linux /a; }\nsubmenu \"a\\\"b\" {\nmenuentry \"'>c\" { linux \"/b\\c\"; }\n}\n", "/b\\c"},
		{"escaped blank", "set default=a\\ b\n" + a + "menuentry a\\ b { linux /b; }\n", "/b"},
		{"escaped dollar", "set default=\"\\$b\"\n" + a + "menuentry '$b' { linux /b; }\n", "/b"},
		{"comment", "# set default=1\n" + a + b, "/a"},
		{"sharp inside a word", "menuentry a { linux /a#1; }\n", "/a#1"},
		{"twice the same", "menuentry a { if [ $x = y ]; then linux /a 1; else linux /a 2; fi; }\n", "/a"},
		{"two kernels", "menuentry a { if [ $x = y ]; then linux /a; else linux /b; fi; }\n", "?several kernels"},
		{"kernel from a variable", "menuentry a { linux $kernel; }\n", "?several kernels"},
		{"device from a variable", "menuentry a { linux ($root)/a; }\n", "/a"},
		{"chain", "menuentry a { chainloader /EFI/Microsoft/Boot/bootmgfw.efi; }\n", "?runs chainloader"},
		{"Xen", "menuentry a { multiboot2 /xen.gz\nmodule2 /vmlinuz\n}\n", "?runs multiboot2"},
		{"nothing", "menuentry a { echo x; }\n", "?starts no kernel"},
		{"no entries", "set timeout=5\n", "?no entries"},
		{"other script", "configfile /x.cfg\n" + a, "?configfile"},
		{"eval", "eval \"set default=1\"\n" + a, "?eval"},
		{"load_env", "load_env -f /x/other\n" + a, "?load_env"},
		{"entry in a function", "function f { menuentry a { linux /a; }; }\n" + b, "?menuentry in a function"},
		{"open quote", "menuentry 'a", "!offset 0: no closing quote"},
		{"open brace", a + "menuentry b {\n", "!menuentry is not closed"},
		{"too many braces", a + "}\n", "!offset 26: } without {"},
		{"fi", "fi\n", "!fi without if"},
		{"else", "else\n", "!else without if"},
		{"done", "done\n", "!done without a loop"},
		{"no brace", "menuentry a\n{\n}\n", "!menuentry without {"},
		{"deep", strings.Repeat("if x; then\n", 100), "!nested"},
		{"long command", strings.Repeat("x ", 2000), "!more than"},
		{"many entries", strings.Repeat(a, maxGrubEntries+1), "!too many entries"},
		{"large", strings.Repeat("\n", maxGrubConfig+1), "!larger"},
	}
	for _, test := range tests {
		config, err := ParseGrub(strings.NewReader(test.script))
		if want, ok := strings.CutPrefix(test.want, "!"); ok {
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		choice, err := config.Choose(nil, nil)
		if want, ok := strings.CutPrefix(test.want, "?"); ok {
			if !errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %+v, %v", test.name, choice, err)
			}
		} else if err != nil || choice.Path != test.want {
			t.Errorf("%s: %+v, %v", test.name, choice, err)
		}
	}
}

func TestGrubEnv(t *testing.T) {
	env, err := ParseGrubEnv(strings.NewReader(grubEnvHeader + "saved_entry=a\\\\b\\\nc\n# comment\nnext_entry=\n" + strings.Repeat("#", 900)))
	if err != nil || len(env) != 2 || env["saved_entry"] != "a\\b\nc" || env["next_entry"] != "" {
		t.Errorf("%q, %v", env, err)
	}
	for _, bad := range []string{"", "saved_entry=x\n", grubEnvHeader + "saved_entry\n", grubEnvHeader + strings.Repeat("#", maxGrubEnv)} {
		if _, err := ParseGrubEnv(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q is taken", bad)
		}
	}
}

func TestReadGrub(t *testing.T) {
	debian, err := os.ReadFile("testdata/grub/debian.cfg")
	if err != nil {
		t.Fatal(err)
	}
	fedora, err := os.ReadFile("testdata/grub/fedora.cfg")
	if err != nil {
		t.Fatal(err)
	}
	image := string(makeBzImage([]byte("payload")))
	tree := func(more ...string) map[string]string {
		files := map[string]string{"boot/grub/grub.cfg": string(debian), "boot/vmlinuz-6.1.0-35-amd64": image}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	const conf = "title Fedora\nversion 6.9\nlinux /vmlinuz-6.9\ninitrd /initrd\noptions $kernelopts\n"
	tests := []struct {
		name  string
		files map[string]string
		want  string // of File; "?" and the reason
		is    error
	}{
		{"Debian", tree(), "/boot/vmlinuz-6.1.0-35-amd64", nil},
		{"empty grubenv", tree("boot/grub/grubenv", ""), "/boot/vmlinuz-6.1.0-35-amd64", nil},
		{"another saved", tree("boot/grub/grubenv", grubEnvHeader+"saved_entry=1>1\n", "boot/vmlinuz-6.1.0-34-amd64", image), "/boot/vmlinuz-6.1.0-34-amd64", nil},
		{"saved and gone", tree("boot/grub/grubenv", grubEnvHeader+"saved_entry=1>1\n"), "?/boot/grub/grub.cfg: grub names the kernel", fs.ErrNotExist},
		{"boot is another file system", tree("boot/grub/grub.cfg", strings.ReplaceAll(string(debian), "/boot/vmlinuz", "/vmlinuz")), "/boot/vmlinuz-6.1.0-35-amd64", nil},
		{"root is a subvolume", tree("boot/grub/grub.cfg", strings.ReplaceAll(string(debian), "/boot/vmlinuz", "/@/boot/vmlinuz")), "/boot/vmlinuz-6.1.0-35-amd64", nil},
		{"own script", tree("boot/grub/custom.cfg", "set default=1\n"), "?reads /boot/grub/custom.cfg", ErrUncertain},
		{"damaged grubenv", tree("boot/grub/grubenv", "xx"), "?/boot/grub/grubenv: offset 0", nil},
		{"damaged script", tree("boot/grub/grub.cfg", "}"), "?/boot/grub/grub.cfg: offset 0", nil},
		{"damaged kernel", tree("boot/vmlinuz-6.1.0-35-amd64", "xx"), "?vmlinuz-6.1.0-35-amd64", ErrNotKernel},
		{"Fedora", map[string]string{"boot/grub2/grub.cfg": string(fedora), "boot/loader/entries/mid-6.9.conf": conf, "boot/vmlinuz-6.9": image,
			"boot/grub2/user.cfg": "GRUB2_PASSWORD=grub.pbkdf2.sha512.10000.A.B\n"}, "/boot/vmlinuz-6.9", nil},
		{"EFI leads to /boot", tree("boot/efi/EFI/debian/grub.cfg", "search.fs_uuid 39ec root\nset prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n"), "/boot/vmlinuz-6.1.0-35-amd64", nil},
		{"EFI alone", map[string]string{"boot/efi/EFI/redhat/grub.cfg": string(fedora), "boot/grub2/grubenv": "-> ../efi/EFI/redhat/grubenv",
			"boot/efi/EFI/redhat/grubenv": grubEnvHeader + "saved_entry=mid-6.8\n", "boot/loader/entries/mid-6.9.conf": conf,
			"boot/loader/entries/mid-6.8.conf": "title Fedora 6.8\nlinux /vmlinuz-6.8\n", "boot/vmlinuz-6.8": image}, "/boot/vmlinuz-6.8", nil},
		{"EFI and another", tree("boot/efi/EFI/redhat/grub.cfg", "menuentry a { linux /x; }\n", "boot/x", image), "?both /boot/grub/grub.cfg and /boot/efi/EFI/redhat/grub.cfg", ErrUncertain},
		{"three", tree("boot/efi/EFI/redhat/grub.cfg", "menuentry a { linux /x; }\n", "boot/x", image, "boot/extlinux.conf", "include x\n"), "?/boot/extlinux.conf is there too", ErrUncertain},
		{"EFI is a file", tree("boot/efi/EFI", "x"), "?boot/efi/EFI: not a directory", nil},
		{"two files", tree("boot/grub/grub.cfg", "menuentry a { linux /vmlinuz; }\n", "vmlinuz", image, "boot/vmlinuz", image), `?may be "/boot/vmlinuz" or "/vmlinuz"`, ErrUncertain},
		{"two names", tree("boot/grub/grub.cfg", "menuentry a { linux /vmlinuz; }\n", "vmlinuz", image, "boot/vmlinuz", "-> ../vmlinuz"), "/boot/vmlinuz", nil},
		{"ostree", map[string]string{"boot/grub2/grub.cfg": string(fedora), "boot/loader": "-> loader.1",
			"boot/loader.1/entries/ostree-1-fedora.conf": "title Fedora 1 (ostree:1)\nversion 1\nlinux /ostree/fedora-a/vmlinuz-6.8\n",
			"boot/loader.1/entries/ostree-2-fedora.conf": "title Fedora 2 (ostree:0)\nversion 2\nlinux /ostree/fedora-b/vmlinuz-6.9\n",
			"boot/ostree/fedora-a/vmlinuz-6.8":           image, "boot/ostree/fedora-b/vmlinuz-6.9": image}, "/boot/ostree/fedora-b/vmlinuz-6.9", nil},
		{"Fedora, hostile user.cfg", map[string]string{"boot/grub2/grub.cfg": string(fedora), "boot/loader/entries/mid-6.9.conf": conf, "boot/vmlinuz-6.9": image,
			"boot/grub2/user.cfg": "GRUB2_PASSWORD=x\nset default=1\n"}, "?user.cfg", ErrUncertain},
		{"Fedora, damaged entry", map[string]string{"boot/grub2/grub.cfg": string(fedora), "boot/loader/entries/mid-6.9.conf": "title x\n"}, "?mid-6.9.conf", nil},
		{"nothing", nil, "?no known", ErrNoLoader},
		{"two that agree", tree("boot/extlinux/extlinux.conf", "default l0\nlabel l0\nlinux /boot/vmlinuz-6.1.0-35-amd64\n"), "/boot/vmlinuz-6.1.0-35-amd64", nil},
		{"two that differ", tree("boot/extlinux/extlinux.conf", "default l0\nlabel l0\nlinux /boot/vmlinuz-6.1.0-34-amd64\n", "boot/vmlinuz-6.1.0-34-amd64", image), "?both /boot/grub/grub.cfg and /boot/extlinux/extlinux.conf", ErrUncertain},
		{"two, one is not known", tree("boot/extlinux/extlinux.conf", "include x\n"), "?both /boot/grub/grub.cfg and /boot/extlinux/extlinux.conf", ErrUncertain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n, err := ReadNext(makeRoot(t, test.files))
			if reason, ok := strings.CutPrefix(test.want, "?"); ok {
				if err == nil || !strings.Contains(err.Error(), reason) || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("%+v, %v", n, err)
				}
			} else if err != nil || n.File != test.want || n.Release != testRelease || n.Loader == "" || n.Entry == "" {
				t.Errorf("%+v, %v", n, err)
			}
		})
	}
}

// TestNotRegular holds that a pipe in place of a file keeps nobody waiting.
func TestNotRegular(t *testing.T) {
	root := makeRoot(t, map[string]string{"boot/grub/grub.cfg": "-> ../d", "boot/d/x": ""})
	if _, err := ReadNext(root); !errors.Is(err, file.ErrNotRegular) {
		t.Error(err)
	}
}
