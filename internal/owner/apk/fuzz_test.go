package apk

import (
	"bytes"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// checkDefect holds that a defect names the file and a place in it.
func checkDefect(t *testing.T, err error, size int) {
	t.Helper()
	var oe *owner.Error
	if !errors.As(err, &oe) || oe.File != "/f" || oe.Offset < 0 || oe.Offset > int64(size) {
		t.Errorf("defect %v in a file of %d bytes", err, size)
	}
}

// FuzzInstalled: whatever stands before it, a sound package is read; what is found
// has names that can stand in a path; and each file is found by its path.
func FuzzInstalled(f *testing.F) {
	f.Add([]byte("C:Q1\nP:a\nV:1-r0\nA:x86\no:b\nD:c !d\np:so:x=1\nF:lib\nM:0:0:700\nR:b.so\na:0:0:755:Q1\nZ:" + digest("") + "\n\n"))
	f.Add([]byte("P:a\nV:1\nf:fsxS\nF:\nR:init\nF:../x\nR:y\n"))
	f.Add([]byte("\n\n:\nx\nP:\nR:a\nF:a//b\n\nP:a"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("sentinel")) {
			return
		}
		content = append(content, "\n\nP:sentinel\nV:1\nA:x86\nF:lib\nR:sentinel.so\nZ:"+digest("x")+"\n\n"...)
		src := &source{name: "f", content: content}
		c := catalogue{seed: newHasher(), index: make(map[string]int)}
		for err := range c.parse(src) {
			checkDefect(t, err, len(content))
		}
		d := &Database{seed: c.seed}
		d.packages, d.files = c.sorted()
		missing(d.packages, content)
		for _, p := range d.Packages() {
			if strings.ContainsAny(p.Name+p.Version+p.Arch, "\x00\n ") || strings.Contains(p.Name, "/") || p.Name == "" || p.Version == "" || p.Source == "" {
				t.Errorf("package %+v", p)
			}
		}
		for i := range d.files {
			name := d.pathOf(&d.files[i])
			if path.Clean(name) != name || name == "/" || strings.ContainsAny(name, "\x00\n") {
				t.Errorf("file %q", name)
			}
			found := false
			d.lookup(name, func(e *entry) { found = found || e == &d.files[i] })
			if !found {
				t.Errorf("%q is not found", name)
			}
			findSum(content, int(d.files[i].name))
		}
		got, err := d.Owners([]string{"/lib/sentinel.so"})
		if o := got["/lib/sentinel.so"]; err != nil || o.Package.Name != "sentinel" || o.Package.Version != "1" {
			t.Errorf("the sound package is lost: %v, %v", got, err)
		}
	})
}

// FuzzSum: what is a checksum has the length of its kind.
func FuzzSum(f *testing.F) {
	f.Add([]byte(digest("")))
	f.Add([]byte("X1da39a3ee5e6b4b0d3255bfef95601890afd80709"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sum, ok := parseSum(b); ok && (len(sum.Sum) != 2*sum.Hash.Size() || strings.Trim(sum.Sum, "0123456789abcdef") != "") {
			t.Errorf("%q: %+v", b, sum)
		}
	})
}

// FuzzLog: whatever stands before it, a sound change is read, and changes have a
// name, a version and times in order.
func FuzzLog(f *testing.F) {
	f.Add([]byte("\nRunning `apk add a` at 2026-01-01 10:00:00\n(1/1) Installing a (1)\nOK: 1 MiB in 1 packages\n"))
	f.Add([]byte("Running `apk add\na` at 2026-01-01 10:00:00\n(1/1) Upgrading a@edge (1 -> 2)\nERROR: a-2: no\n1 error; 1 MiB\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("sentinel")) {
			return
		}
		content = append(content, "\nRunning `apk upgrade` at 2026-01-02 10:00:00\n(1/1) Upgrading sentinel (1 -> 2)\nOK: 1 MiB in 1 packages\n"...)
		got, err := parseLog("f", bytes.NewReader(content), 0, maxLog)
		if err != nil {
			checkDefect(t, err, len(content))
		}
		for _, c := range got {
			if c.Name == "" || c.From+c.To == "" || c.Begin.IsZero() || !c.End.IsZero() && c.End.Before(c.Begin) {
				t.Errorf("change %+v", c)
			}
		}
		if last := got[len(got)-1]; last.Name != "sentinel" || last.From != "1" || last.To != "2" || !last.End.Equal(last.Begin.Add(maxRun)) {
			t.Errorf("last change %+v", last)
		}
	})
}

// FuzzLocks: no list of locks is too odd.
func FuzzLocks(f *testing.F) {
	f.Add([]byte("1: FLOCK  ADVISORY  WRITE 1234 fd:1a:4711 0 EOF\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		if held, err := locked(bytes.NewReader(list), nil); held || err != nil && len(list) < 64<<10 {
			t.Errorf("%v, %v", held, err)
		}
	})
}

// FuzzCompare: the order of two versions is that of the other two turned round.
func FuzzCompare(f *testing.F) {
	f.Add("1.2.3a_rc1~abc-r3", "1.2_p1-r0")
	f.Fuzz(func(t *testing.T, a, b string) {
		ab, errAB := Compare(a, b)
		ba, errBA := Compare(b, a)
		if (errAB == nil) != (errBA == nil) || (ab > 0) != (ba < 0) || (ab < 0) != (ba > 0) {
			t.Errorf("%q, %q: %d %v, %d %v", a, b, ab, errAB, ba, errBA)
		}
	})
}
