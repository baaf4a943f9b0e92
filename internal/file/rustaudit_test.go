package file

import (
	"bytes"
	"compress/zlib"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// packed is text as cargo-auditable stores it.
func packed(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// usesJSON is what testdata/uses_json.dep-v0 says.
func usesJSON() Modules {
	m := Modules{Main: Module{Path: "uses_json", Version: "0.1.0", Source: "local"}}
	for _, c := range [][2]string{
		{"itoa", "1.0.14"}, {"memchr", "2.7.4"}, {"proc-macro2", "1.0.92"}, {"quote", "1.0.38"}, {"ryu", "1.0.18"}, {"serde", "1.0.217"},
		{"serde_derive", "1.0.217"}, {"serde_json", "1.0.135"}, {"syn", "2.0.95"}, {"unicode-ident", "1.0.14"},
	} {
		m.Deps = append(m.Deps, Module{Ecosystem: "crates.io", Path: c[0], Version: c[1], Source: "crates.io"})
	}
	return m
}

// The real audit data of cargo-auditable, brought into a program by each tool that
// may do so: the linker, objcopy, rustc.
func TestReadModulesRustPrograms(t *testing.T) {
	audit, err := filepath.Abs("testdata/uses_json.dep-v0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{
		"plain.c":  "int main(void) { return 0; }\n",
		"linked.c": "__asm__(\".section .dep-v0,\\\"a\\\",@progbits\\n.incbin \\\"" + audit + "\\\"\\n.previous\\n\");\nint main(void) { return 0; }\n",
		"real.rs":  "#[used]\n#[link_section = \".dep-v0\"]\nstatic AUDIT: [u8; include_bytes!(\"" + audit + "\").len()] = *include_bytes!(\"" + audit + "\");\nfn main() {}\n",
	})
	note := `{"type":"deb","name":"plain","version":"1.0-1","architecture":"amd64","os":"debian","osVersion":"12","debugInfoUrl":"https://example.com/"}`
	run(t, dir, nil, "gcc", "-o", "plain", "plain.c", "-Xlinker", "--package-metadata="+note)
	run(t, dir, nil, "gcc", "-o", "linked", "linked.c")
	run(t, dir, nil, "gcc", "-shared", "-fPIC", "-o", "linked.so", "linked.c")
	run(t, dir, nil, "strip", "-o", "linked-strip", "linked")
	run(t, dir, nil, "objcopy", "--add-section", ".dep-v0="+audit, "plain", "added")
	names := []string{"linked", "linked.so", "linked-strip", "added"}
	t.Run("rustc", func(t *testing.T) {
		if _, err := exec.LookPath("rustc"); err != nil {
			t.Skip("SKIPPED, NOT TESTED: there is no rustc")
		}
		run(t, dir, nil, "rustc", "-O", "-C", "strip=symbols", "-o", "real", "real.rs")
		names = append(names, "real")
	})
	for _, name := range names {
		got, err := readModulesFile(t, filepath.Join(dir, name))
		if want := usesJSON(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
	}
	// Audit data stands beside a package note, not in its place.
	elf, err := readELFFile(t, filepath.Join(dir, "added"))
	want := &PackageNote{
		Type: "deb", Name: "plain", Version: "1.0-1", Architecture: "amd64",
		OS: "debian", OSVersion: "12", DebugInfoURL: "https://example.com/",
	}
	if err != nil || elf.PackageNote == nil || *elf.PackageNote != *want {
		t.Errorf("package note %+v, %v", elf.PackageNote, err)
	}
}

func TestParseCrates(t *testing.T) {
	a := crate{Name: "a", Version: "1.0.0", Source: "crates.io"}
	tests := map[string]struct {
		text string
		want []crate
		says string
	}{
		"empty list":    {`{"packages":[]}`, nil, ""},
		"no list":       {`{}`, nil, ""},
		"unknown keys":  {`{"format":8,"x":{"packages":[1]},"packages":[{"name":"a","version":"1.0.0","source":"crates.io","new":[{}],"dependencies":[0,7]}],"y":null}`, []crate{a}, ""},
		"kinds":         {`{"packages":[{"name":"a","kind":"build"},{"name":"b","kind":"runtime","root":true}]}`, []crate{{Name: "a", Kind: "build"}, {Name: "b", Kind: "runtime", Root: true}}, ""},
		"nothing":       {``, nil, "unexpected EOF"},
		"an array":      {`[]`, nil, "instead of {"},
		"null":          {`null`, nil, "instead of {"},
		"list of words": {`{"packages":["a"]}`, nil, "cannot unmarshal string"},
		"not a list":    {`{"packages":{"name":"a"}}`, nil, "instead of ["},
		"cut off":       {`{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"},{"na`, []crate{a}, "unexpected EOF"},
		"number":        {`{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"},{"name":1}]}`, []crate{a}, "cannot unmarshal number"},
		"more text":     {`{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"}]} {}`, []crate{a}, "text after the end"},
	}
	for name, test := range tests {
		var got []crate
		err := parseCrates(strings.NewReader(test.text), func(c crate) { got = append(got, c) })
		if !reflect.DeepEqual(got, test.want) || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Which crates are listed, and whose advisories speak of them.
func TestReadModulesCrates(t *testing.T) {
	data := moduleMaker().withSections(made{rustSection, packed(t, `{"packages":[
		{"name":"macros","version":"1.0.0","source":"crates.io","kind":"build"},
		{"name":"run","version":"1.0.1","source":"crates.io","kind":"runtime"},
		{"name":"fork","version":"1.0.2","source":"git"},
		{"name":"other","version":"1.0.3","source":"registry"},
		{"name":"top","version":"1.0.4","source":"crates.io","root":true},
		{"name":"top2","version":"1.0.5","source":"local","root":true}]}`), progbits})
	got, err := readModules(data)
	want := Modules{
		Main: Module{Ecosystem: "crates.io", Path: "top", Version: "1.0.4", Source: "crates.io"},
		Deps: []Module{
			{Ecosystem: "crates.io", Path: "run", Version: "1.0.1", Source: "crates.io"},
			{Path: "fork", Version: "1.0.2", Source: "git"},
			{Path: "other", Version: "1.0.3", Source: "registry"},
			{Path: "top2", Version: "1.0.5", Source: "local"},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}
