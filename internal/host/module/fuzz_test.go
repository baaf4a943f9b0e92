package module

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// FuzzParseELF: whatever is read fits its bounds, and errors tell where.
func FuzzParseELF(f *testing.F) {
	f.Add(build(f, "m", "A", "1"))
	f.Add(simple("m", "A", []byte("12345678901234567890")))
	f.Add(makeELF(binary.BigEndian, false, part{".modinfo", 1, []byte("name=m\x00")}, part{".note.gnu.build-id", shtNote, note(binary.BigEndian, []byte{1})}))
	f.Add(nameless(build(f, "m", "A", "1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseELF(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if d, ok := err.(*Error); !ok || d.Err == nil || info != (Info{}) {
				t.Fatalf("%+v, %v", info, err)
			}
			return
		}
		if len(info.BuildID) > 2*maxBuildID || len(info.Name) > maxWord || len(info.Version) > maxWord || len(info.Vermagic) > maxWord {
			t.Fatalf("%+v", info)
		}
	})
}

// FuzzParseModules: names can be parts of paths, and values are those the kernel has.
func FuzzParseModules(f *testing.F) {
	f.Add(procModules)
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := ParseModules(strings.NewReader(s))
		for _, l := range list {
			if !validName(l.Name) || strings.ContainsAny(l.Name, "/\n") || l.Refcount < -1 {
				t.Fatalf("%+v", l)
			}
			if l.State != "live" && l.State != "coming" && l.State != "going" {
				t.Fatalf("%+v", l)
			}
		}
	})
}

// FuzzOrder: the ranks of all files lie between an override and the last directory.
func FuzzOrder(f *testing.F) {
	f.Add("search updates built-in\noverride a * kernel\nexclude x\n", "updates/dkms/a.ko")
	f.Add("search a \\\n b\n# no\noverride a-b ^6.1 extra/x\n", "extra/x/a_b.ko.xz")
	f.Fuzz(func(t *testing.T, conf, name string) {
		o := order{overrides: make(map[string]bool)}
		_ = o.parse([]byte(conf), release)
		if r := o.rank(name); r < -1 || r > len(o.search) || len(o.search) > maxRules {
			t.Fatalf("rank %d of %d directories", r, len(o.search))
		}
	})
}

// FuzzTree: an index leads to absolute names only, each of the module asked for.
func FuzzTree(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nupdates/b.ko:\n")
	f.Add("/opt/a.ko.xz:\n../../x.ko:\n")
	f.Fuzz(func(t *testing.T, dep string) {
		tr := &Tree{dir: lib, indexed: map[string]string{}, order: order{search: []string{"updates", builtinWord}}}
		_ = eachLine(strings.NewReader(dep), tr.addDep)
		for name, file := range tr.indexed {
			if moduleName(file) != name || file[0] != '/' || strings.Contains(file, "/../") {
				t.Fatalf("%q is in %q", name, file)
			}
		}
	})
}
