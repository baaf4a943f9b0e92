package pacman

import (
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

// checkDefect holds that a defect names the file and a place in it.
func checkDefect(t *testing.T, err error, size int) {
	t.Helper()
	var oe *owner.Error
	if !errors.As(err, &oe) || oe.File != "/f" || oe.Offset < 0 || oe.Offset > int64(size) {
		t.Errorf("defect %v in a file of %d bytes", err, size)
	}
}

// FuzzDesc: whatever a desc holds, the package has the name and version of its
// entry, and words for the rest.
func FuzzDesc(f *testing.F) {
	f.Add([]byte("%NAME%\na\n\n%VERSION%\n1-1\n\n%BASE%\nb\n\n%ARCH%\nany\n\n%INSTALLDATE%\n1700000000\n\n%XDATA%\npkgtype=pkg\n\n"))
	f.Add([]byte("%%\n%NAME%\n%VERSION%\n\n\nx"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := record{Package: owner.Package{Name: "a", Version: "1-1", Source: "a", SourceVersion: "1-1"}}
		defects := parseDesc("f", content, &r)
		for _, err := range defects {
			checkDefect(t, err, len(content))
		}
		if r.Name != "a" || r.Version != "1-1" || !word(r.Source) || r.Arch != "" && !word(r.Arch) {
			t.Errorf("package %+v", r.Package)
		}
		if r.Arch == "" && len(defects) == 0 {
			t.Errorf("nothing is told of %q", content)
		}
	})
}

// FuzzFiles: whatever stands before it, a sound section is read, and paths are
// clean.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("%FILES%\nusr/\nusr/a\n\n%BACKUP%\nusr/a\t0123\n\n"))
	f.Add([]byte("%FILES%\n/\n//\n../a\n\x00\nusr"))
	f.Fuzz(func(t *testing.T, content []byte) {
		content = append(content, "\n\n%FILES%\nusr/sentinel\n\n"...)
		found := false
		parseFiles("f", content, func(err *owner.Error) { checkDefect(t, err, len(content)) }, func(p []byte) bool {
			found = found || string(p) == "usr/sentinel"
			if name := "/" + string(p); path.Clean(name) != name || strings.ContainsAny(name, "\x00\n") || len(name) > maxPath+1 {
				t.Errorf("path %q", p)
			}
			return true
		})
		if !found {
			t.Error("the sound section is lost")
		}
	})
}

// FuzzMtree: whatever stands before it, a sound entry is read, and checksums have
// the length of their kind.
func FuzzMtree(f *testing.F) {
	sum := strings.Repeat("0123456789abcdef", 4)
	f.Add([]byte("#mtree\n/set type=file\n./a\\040b time=1.0 size=1 md5digest=" + sum[:32] + " sha256digest=" + sum + "\n./c type=link link=a\n"))
	f.Add([]byte("/set type=dir\n/unset all\n./\\x\n./../a\n.\n\\"))
	f.Fuzz(func(t *testing.T, content []byte) {
		content = append(content, "\n./sentinel type=file sha256digest="+sum+"\n"...)
		m := &mtree{in: lines.New(bytes.NewReader(content), maxMtree), kind: "file"}
		found := false
		for {
			e, err := m.next()
			if err == io.EOF {
				break
			}
			if err == errMtree {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.path != "." && (path.Clean("/"+e.path) != "/"+e.path || strings.Contains(e.path, "\x00")) {
				t.Errorf("path %q", e.path)
			}
			c, ok := e.checksum()
			if ok && len(c.Sum) != 2*c.Hash.Size() {
				t.Errorf("checksum %+v", c)
			}
			found = found || e.path == "sentinel" && ok && c.Sum == sum
		}
		if !found {
			t.Error("the sound entry is lost")
		}
	})
}

// FuzzUnescape: what libarchive writes is what was meant.
func FuzzUnescape(f *testing.F) {
	f.Add("usr/a b\xff\\=")
	f.Fuzz(func(t *testing.T, name string) {
		if got, ok := unescape(escaped(name)); !ok || got != name {
			t.Errorf("%q is %q, %v", name, got, ok)
		}
		unescape(name)
	})
}

// FuzzLog: whatever stands before it, a sound change is read, and changes have a
// name, a version and times in order.
func FuzzLog(f *testing.F) {
	f.Add([]byte("[2026-01-01T10:00:00+0000] [ALPM] transaction started\n[2026-01-01T10:00:00+0000] [ALPM] upgraded a (1-1 -> 2-1)\n"))
	f.Add([]byte("[2010-05-01 10:01] upgraded a (1-1 -> 2-1)\n[2010-05-01 10:01] [PACMAN] removed a (1-1)\n[] x\n["))
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("sentinel")) {
			return
		}
		content = append(content, "\n[2026-01-02T10:00:00+0000] [ALPM] transaction started\n[2026-01-02T10:00:01+0000] [ALPM] upgraded sentinel (1-1 -> 2-1)\n"...)
		got, err := parseLog("f", bytes.NewReader(content), clock.Clock{Zone: zone}, 0, maxLog)
		if err != nil {
			checkDefect(t, err, len(content))
		}
		for _, c := range got {
			if c.Name == "" || c.From+c.To == "" || c.Begin.IsZero() || c.End.Before(c.Begin) {
				t.Errorf("change %+v", c)
			}
		}
		begin := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
		if last := got[len(got)-1]; last != (owner.Change{Name: "sentinel", From: "1-1", To: "2-1", Begin: begin, End: begin.Add(2 * time.Second)}) {
			t.Errorf("last change %+v", last)
		}
	})
}

// FuzzEntry: what an entry's name is split into makes it up again.
func FuzzEntry(f *testing.F) {
	f.Add("gcc-libs-14.2.1+r134-1")
	f.Fuzz(func(t *testing.T, entry string) {
		name, version, ok := splitEntry(entry)
		if ok && (name+"-"+version != entry || name == "" || strings.Count(version, "-") != 1 || strings.ContainsAny(entry, "/\x00\n ")) {
			t.Errorf("%q is %q and %q", entry, name, version)
		}
	})
}

// FuzzCompare: the order of two versions is that of the other two turned round.
func FuzzCompare(f *testing.F) {
	f.Add("1:1.2a.r3-1", "1.2-1")
	f.Add("1.0~rc1", "1.0..a")
	f.Fuzz(func(t *testing.T, a, b string) {
		ab, errAB := Compare(a, b)
		ba, errBA := Compare(b, a)
		if (errAB == nil) != (errBA == nil) || ab != -ba || a == b && ab != 0 {
			t.Errorf("%q, %q: %d %v, %d %v", a, b, ab, errAB, ba, errBA)
		}
	})
}
