package sentinel

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// asked is when the files of these tests were written.
var asked = time.Date(2026, 11, 20, 3, 4, 5, 678, time.UTC)

// rootOf makes a root of files by name; "-> x" is a link to x, "dir" a directory.
func rootOf(t *testing.T, files map[string]string) *file.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, name)
		} else if content == "dir" {
			err = os.Mkdir(name, 0o755)
		} else if content == "pipe" {
			err = unix.Mkfifo(name, 0o644)
		} else if err = os.WriteFile(name, []byte(content), 0o644); err == nil {
			err = os.Chtimes(name, asked, asked)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestRead(t *testing.T) {
	own := title + marker + "2026-11-20T03:04:05Z\n"
	tests := []struct {
		name    string
		files   map[string]string
		want    []Request
		wantErr string
	}{
		{"none", nil, nil, ""},
		{"Ubuntu", map[string]string{
			"run/reboot-required":      "*** System restart required ***\n",
			"run/reboot-required.pkgs": "linux-image-6.8.0-60-generic\nlinux-base\nlinux-image-6.8.0-60-generic\n",
			"var/run":                  "-> /run",
		}, []Request{{"/run/reboot-required", asked, []string{"linux-base", "linux-image-6.8.0-60-generic"}, false}}, ""},
		{"unattended-upgrades", map[string]string{"run/reboot-required": "", "run/reboot-required.pkgs": "\n"}, []Request{{"/run/reboot-required", asked, nil, false}}, ""},
		{"two directories", map[string]string{"run/x": "", "var/run/reboot-required": ""}, []Request{{"/var/run/reboot-required", asked, nil, false}}, ""},
		{"SUSE", map[string]string{"run/reboot-needed": "", "var/run": "-> ../run"}, []Request{{"/run/reboot-needed", asked, nil, false}}, ""},
		{"both", map[string]string{"run/reboot-needed": "", "run/reboot-required": ""}, []Request{{"/run/reboot-required", asked, nil, false}, {"/run/reboot-needed", asked, nil, false}}, ""},
		{"list alone", map[string]string{"run/reboot-required.pkgs": "a\n"}, nil, ""},
		{"our own, touched since", map[string]string{"run/reboot-required": own}, []Request{{"/run/reboot-required", asked, nil, false}}, ""},
		{"hostile list", map[string]string{"run/reboot-required": "", "run/reboot-required.pkgs": "b\n\x1b[31mred\nc d\na\n"}, []Request{{"/run/reboot-required", asked, []string{"a", "b"}, false}}, "pkgs: offset 2: not the name"},
		{"long list", map[string]string{"run/reboot-required": "", "run/reboot-required.pkgs": "a\n" + strings.Repeat("b", maxList)}, []Request{{"/run/reboot-required", asked, []string{"a"}, false}}, "more than 1048576 bytes"},
		{"list is a pipe", map[string]string{"run/reboot-required": "", "run/reboot-required.pkgs": "pipe"}, []Request{{"/run/reboot-required", asked, nil, false}}, "not a regular file"},
		{"pipe", map[string]string{"run/reboot-required": "pipe"}, nil, "not a regular file"},
		{"directory", map[string]string{"run/reboot-required": "dir", "run/reboot-needed": ""}, []Request{{"/run/reboot-needed", asked, nil, false}}, "not a regular file"},
		{"link out of the root", map[string]string{"run/reboot-required": "-> /../../../etc/passwd"}, nil, ""},
		{"link to itself", map[string]string{"run/reboot-required": "-> reboot-required"}, nil, "symbolic links"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Read(rootOf(t, tt.files))
			for i := range got {
				got[i].Since = got[i].Since.UTC()
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v", got)
			}
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	root := rootOf(t, map[string]string{"var/tmp/please": "now", "var/tmp/please.pkgs": "b\na"})
	got, ok, err := ReadFile(root, "var/tmp/please")
	if !ok || err != nil || got.File != "/var/tmp/please" || !got.Since.Equal(asked) || !slices.Equal(got.Packages, []string{"a", "b"}) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if got, ok, err := ReadFile(root, "/var/tmp/none"); ok || err != nil {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}

func TestParsePackages(t *testing.T) {
	var many strings.Builder
	for i := range maxNames + 2 {
		many.WriteString(strings.Repeat("a", i%200+1) + strings.Repeat("b", i/200) + "\n")
	}
	tests := []struct {
		name, in string
		want     []string // nil: not compared
		wantErr  string
	}{
		{"empty", "", []string{}, ""},
		{"usual", "linux-base\nlibc6\n\nlibc6\n", []string{"libc6", "linux-base"}, ""},
		{"no newline, DOS line ends", "b\r\na", []string{"a", "b"}, ""},
		{"not ASCII", "a\nsystemd\u202e\n", []string{"a"}, "offset 2: not the name"},
		{"not UTF-8", "\xff\na\n", []string{"a"}, "offset 0: not the name"},
		{"long name", strings.Repeat("a", maxName+1) + "\nb\n", []string{"b"}, "not the name"},
		{"many", many.String(), nil, "more than 4096 names"},
	}
	for _, tt := range tests {
		got, err := ParsePackages(strings.NewReader(tt.in))
		if tt.want != nil && !slices.Equal(got, tt.want) || len(got) > maxNames {
			t.Errorf("%s: got %q", tt.name, got)
		}
		if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.wantErr)
		}
	}
	broken := errors.New("broken")
	got, err := ParsePackages(io.MultiReader(strings.NewReader("whole\ncu"), iotest.ErrReader(broken)))
	if !slices.Equal(got, []string{"whole"}) || !errors.Is(err, broken) || !strings.Contains(err.Error(), "offset 6") {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add("linux-image-6.1.0-44-amd64\nlibc6\nlibc6\n")
	f.Add("\x1b\n\n a \r\n\xff")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParsePackages(strings.NewReader(in))
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || len(got) > maxNames {
			t.Fatalf("%q", got)
		}
		// What was read is what is written, but where that is bounded.
		out := Need{Packages: got}.list()
		again, againErr := ParsePackages(strings.NewReader(out))
		if againErr != nil || len(got) <= maxListed && !slices.Equal(got, again) {
			t.Fatalf("%q (%v) became %q (%v)", got, err, again, againErr)
		}
	})
}
