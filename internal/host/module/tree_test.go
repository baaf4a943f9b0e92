package module

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lib = "usr/lib/modules/" + release + "/"

func tree(t testing.TB, dir string) *Tree {
	t.Helper()
	tr, err := OpenTree(openRoot(t, dir), release)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	link(t, dir, "usr/lib", "lib")
	for _, f := range []string{
		"kernel/net/vsock.ko.xz", "kernel/snd-dummy.ko", "kernel/both.ko", "updates/dkms/both.ko.zst",
		"updates/dkms/zfs.ko", "updates/new.ko", "kernel/new.ko", "kernel/late.ko", "extra/late.ko",
		"weak.d/x", "../other/extra/weak.ko",
	} {
		write(t, dir, lib+f, nil)
	}
	link(t, dir, "../../other/extra/weak.ko", lib+"weak-updates/weak.ko")
	link(t, dir, "nowhere", lib+"updates/vsock.ko")
	link(t, dir, "..", lib+"updates/loop")
	link(t, dir, "/usr/src/linux", lib+"build")
	write(t, dir, lib+"modules.dep", []byte("kernel/net/vsock.ko.xz:\nkernel/snd-dummy.ko: kernel/net/vsock.ko.xz\n"+
		"kernel/both.ko:\nupdates/dkms/both.ko.zst:\nkernel/new.ko:\nkernel/late.ko:\n/opt/vendor/out.ko.gz:\nweak-updates/weak.ko:\n"))
	write(t, dir, lib+"modules.builtin", []byte("kernel/fs/ext4/ext4.ko\nkernel/crypto/sha1-generic.ko\n"))
	tr := tree(t, dir)
	abs := func(s string) string { return "/" + lib + s }
	for name, want := range map[string]Found{
		"vsock":        {Path: abs("kernel/net/vsock.ko.xz")},
		"snd_dummy":    {Path: abs("kernel/snd-dummy.ko")},
		"snd-dummy":    {Path: abs("kernel/snd-dummy.ko")},
		"both":         {Path: abs("updates/dkms/both.ko.zst")},
		"zfs":          {Unindexed: abs("updates/dkms/zfs.ko")},
		"new":          {Path: abs("kernel/new.ko"), Unindexed: abs("updates/new.ko")},
		"late":         {Path: abs("kernel/late.ko")}, // extra is not before built-in by default
		"out":          {Path: "/opt/vendor/out.ko.gz"},
		"weak":         {Path: abs("weak-updates/weak.ko")},
		"ext4":         {Builtin: true},
		"sha1_generic": {Builtin: true},
		"none":         {},
	} {
		if got := tr.Find(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}

	// The directories of Fedora and RHEL.
	write(t, dir, "lib/depmod.d/dist.conf", []byte("# order\nsearch updates extra override \\\n built-in weak-updates\n"))
	if got := tree(t, dir).Find("late"); got.Unindexed != abs("extra/late.ko") {
		t.Errorf("extra: %+v", got)
	}
	// An administrator's file hides the distribution's.
	write(t, dir, "etc/depmod.d/dist.conf", []byte("search built-in updates\noverride both 6.1.* kernel\noverride vsock * nowhere\noverride new ^5 updates\n"))
	tr = tree(t, dir)
	for name, want := range map[string]Found{
		"both": {Path: abs("kernel/both.ko")}, "new": {Path: abs("kernel/new.ko")}, "vsock": {Path: abs("kernel/net/vsock.ko.xz")},
	} {
		if got := tr.Find(name); got != want {
			t.Errorf("override: %s: %+v, want %+v", name, got, want)
		}
	}

	// Without an index, what depmod would choose.
	if err := os.Remove(filepath.Join(dir, lib+"modules.dep")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "etc/depmod.d/dist.conf", []byte("exclude dkms\n"))
	tr = tree(t, dir)
	for name, want := range map[string]Found{
		"both": {Path: abs("kernel/both.ko")}, "new": {Path: abs("updates/new.ko")}, "vsock": {Path: abs("kernel/net/vsock.ko.xz")}, "zfs": {},
	} {
		if got := tr.Find(name); got != want {
			t.Errorf("no index: %s: %+v, want %+v", name, got, want)
		}
	}
}

// TestDepmod compares with what depmod(8) itself chooses.
func TestDepmod(t *testing.T) {
	dir := t.TempDir()
	a := build(t, "a", "A", "1")
	for _, f := range []string{"kernel/a.ko", "updates/dkms/a.ko", "extra/a.ko", "kernel/b-b.ko", "extra/b-b.ko", "kernel/c.ko", "weak-updates/c.ko", "kernel/d.ko", "updates/d.ko", "extra/d.ko"} {
		write(t, dir, "lib/modules/"+release+"/"+f, a)
	}
	for _, conf := range []string{
		"", "search updates extra built-in weak-updates\n", "search built-in\n", "search extra\nsearch updates built-in\n",
		"search weak-updates extra built-in updates\noverride d * updates\n", "override a 6.1 extra\noverride b-b 5 extra\n",
	} {
		write(t, dir, "conf/x.conf", []byte(conf))
		write(t, dir, "etc/depmod.d/x.conf", []byte(conf))
		run(t, "/sbin/depmod", "-C", dir+"/conf", "-b", dir, release)
		indexed, err := OpenTree(openRoot(t, dir), release)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir + "/lib/modules/" + release + "/modules.dep"); err != nil {
			t.Fatal(err)
		}
		searched, err := OpenTree(openRoot(t, dir), release)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b_b", "c", "d"} {
			if i, s := indexed.Find(name), searched.Find(name); i != s || i.Path == "" {
				t.Errorf("%q: %s: depmod chose %+v, this %+v", conf, name, i, s)
			}
		}
	}
}

// TestUnmerged: where /lib and /usr/lib are two directories, the one with an index counts.
func TestUnmerged(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, lib+"extra/x.ko", nil)
	write(t, dir, "lib/modules/"+release+"/kernel/a.ko", nil)
	if got := tree(t, dir).Find("x"); got.Path != "/"+lib+"extra/x.ko" {
		t.Errorf("%+v", got)
	}
	write(t, dir, "lib/modules/"+release+"/modules.dep", []byte("kernel/a.ko:\n"))
	if got := tree(t, dir).Find("a"); got.Path != "/lib/modules/"+release+"/kernel/a.ko" {
		t.Errorf("%+v", got)
	}
}

func TestOpenTreeDamage(t *testing.T) {
	for _, bad := range []string{"", "..", "../../etc", "a/b", strings.Repeat("x", 300)} {
		if tr, err := OpenTree(openRoot(t, t.TempDir()), bad); err == nil || tr.compare(Loaded{Name: "a"}, new(Cache)).Outcome != Unknown {
			t.Errorf("release %q: %v", bad, err)
		}
	}
	for name, c := range map[string]struct{ file, content, want string }{
		"cut":           {"modules.dep", "kernel/a.ko:\nkernel/b.ko: kernel/a", "/" + lib + "modules.dep: offset 13: the last line"},
		"no module":     {"modules.dep", "kernel/z.ko:\n\x1b[2Jrubbish\nkernel/a.ko:\n", "modules.dep: offset 13: \"\\x1b[2Jrubbish\" names no module"},
		"long line":     {"modules.dep", strings.Repeat("a", 1<<20), "line of more than"},
		"large":         {"modules.builtin", strings.Repeat("kernel/a.ko\n", 3<<20), "more than 33554432 bytes"},
		"no expression": {"../../../../etc/depmod.d/a.conf", "search a\noverride a ( b\n", "depmod.d/a.conf: offset 9: expression"},
		"odd override":  {"../../../../etc/depmod.d/a.conf", "override a\n", "override of 1 words"},
		"many":          {"../../../../etc/depmod.d/a.conf", "search" + strings.Repeat(" a", 300), "more than 256 directories"},
	} {
		dir := t.TempDir()
		write(t, dir, lib+"kernel/a.ko", simple("a", "A", nil))
		write(t, dir, lib+c.file, []byte(c.content))
		tr, err := OpenTree(openRoot(t, dir), release)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
		if c.file == "modules.dep" {
			if r := tr.compare(Loaded{Name: "b"}, new(Cache)); r.Outcome != Unknown || r.Err == nil && r.Reason == "" {
				t.Errorf("%s: a module that the index may have had is %v", name, r.Outcome)
			}
			if got := tr.Find("a"); got.Path == "" && name != "long line" {
				t.Errorf("%s: what could be read was not", name)
			}
		}
	}
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{
		"same": simple("same", "A", []byte("build-id-1234567890")), "rebuilt": simple("rebuilt", "A", []byte("build-id-1234567890")),
		"src_same": simple("src_same", "A", nil), "src_other": simple("src_other", "B", nil), "nothing": simple("nothing", "A", nil),
		"damaged": []byte("no ELF"), "built": simple("built", "", []byte("x")),
	}
	var dep strings.Builder
	for name, b := range files {
		write(t, dir, lib+"kernel/"+name+".ko", b)
		dep.WriteString("kernel/" + name + ".ko:\n")
	}
	dep.WriteString("kernel/removed.ko:\n")
	write(t, dir, lib+"modules.dep", []byte(dep.String()))
	write(t, dir, lib+"modules.builtin", []byte("kernel/now_builtin.ko\n"))
	id := "6275696c642d69642d31323334353637383930"
	var loaded []Loaded
	want := map[string]struct {
		Loaded
		outcome Outcome
		reason  string
	}{
		"same":        {Loaded{BuildID: id, Srcversion: "Z"}, Same, "same build ID"},
		"rebuilt":     {Loaded{BuildID: "00", Srcversion: "A"}, Other, "other build ID"},
		"src_same":    {Loaded{BuildID: id, Srcversion: "A"}, Same, "same srcversion; there is no build ID to compare"},
		"src_other":   {Loaded{Srcversion: "A"}, Other, "other srcversion"},
		"nothing":     {Loaded{}, Unknown, "the loaded module has neither build ID nor srcversion"},
		"built":       {Loaded{Srcversion: "A"}, Unknown, "the file does not have the identity that the loaded module has"},
		"damaged":     {Loaded{BuildID: id}, Unknown, "the file cannot be read"},
		"removed":     {Loaded{BuildID: id}, Gone, "the file that the index of modules names is not there"},
		"now_builtin": {Loaded{BuildID: id}, Gone, "the installed kernel has it built in"},
		"unheard":     {Loaded{BuildID: id}, Gone, "no module of this name is installed"},
	}
	for name, w := range want {
		w.Name = name
		loaded = append(loaded, w.Loaded)
	}
	results, err := Compare(t.Context(), loaded, tree(t, dir), new(Cache))
	if err != nil || len(results) != len(want) {
		t.Fatal(err)
	}
	for _, r := range results {
		w := want[r.Loaded.Name]
		if r.Outcome != w.outcome || r.Reason != w.reason || (r.Err != nil) != (r.Reason == "the file cannot be read") {
			t.Errorf("%s: %v, %s, %v", r.Loaded.Name, r.Outcome, r.Reason, r.Err)
		}
	}
	results, _ = Compare(t.Context(), loaded, tree(t, t.TempDir()), new(Cache))
	if results[0].Outcome != Gone || results[0].Reason != "no modules of this release are installed" {
		t.Errorf("%+v", results[0])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, loaded, tree(t, dir), new(Cache)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
