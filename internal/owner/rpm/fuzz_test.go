package rpm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

// checkDefect holds that a defect names the file and a place in it.
func checkDefect(t *testing.T, err error, size int) {
	t.Helper()
	var oe *owner.Error
	if err == nil {
		return
	}
	if !errors.As(err, &oe) || oe.File != "/f" || oe.Offset < 0 || size >= 0 && oe.Offset > int64(size) {
		t.Errorf("defect %v in a file of %d bytes", err, size)
	}
}

func soundHeader() []byte {
	return made{name: "sentinel", arch: "x86_64", version: "1:2-3", installed: 1_700_000_000, files: map[string]string{"/usr/bin/sentinel": "x", "/usr/lib/y": ""},
		log: []string{"J <j@x> - 1:2-3", "- CVE-2026-0001", "J <j@x>", ""}, source: "s-2-3.src.rpm"}.header()
}

// FuzzHeader: what is made of a header holds only what its types promise.
func FuzzHeader(f *testing.F) {
	f.Add(soundHeader())
	f.Add(made{name: "a", arch: "b", version: "1-1"}.header())
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 3, 232, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 0})
	f.Fuzz(func(t *testing.T, blob []byte) {
		h, err := parseHeader(blob)
		if err != nil {
			return
		}
		r, err := h.describe()
		if err == nil && (!validWord(r.Name) || !validWord(r.Arch) || !validWord(r.Version) && len(r.Version) < maxWord || r.Source == "" ||
			r.State != owner.StateInstalled || r.Manager != "rpm") {
			t.Errorf("package %+v", r.Package)
		}
		b := newIndexBuilder()
		b.add(0, h)
		x := b.finish([]uint32{0}, func(a, b uint32) bool { return false })
		for i := range x.entries {
			e := &x.entries[i]
			p := x.path(e)
			cut := strings.LastIndexByte(p, '/') + 1
			if p[0] != '/' || strings.Contains(p, "\x00") {
				t.Errorf("path %q", p)
			}
			if strings.Contains(string(x.base(e)), "/") {
				continue // a name that no file has and nobody asks for
			}
			if found, ok := x.find(p[:cut], p[cut:]); !ok || x.path(found) != p {
				t.Errorf("%q is not found", p)
			}
			h.checksum(p)
		}
		entries, _ := h.changelog()
		for _, e := range entries {
			if e.version != "" && !validWord(e.version) {
				t.Errorf("version %q", e.version)
			}
			for _, id := range e.cves {
				number, ok := strings.CutPrefix(id, "CVE-")
				if !ok || len(id) > owner.MaxCVE || strings.Trim(number, "0123456789") != "-" {
					t.Errorf("id %q", id)
				}
			}
		}
		if len(entries) > 0 {
			window(entries, "1:2-3", "1:1-1")
		}
	})
}

// fuzzStore reads all of a store and every header again.
func fuzzStore(t *testing.T, s store, size int) (headers [][]byte) {
	read := 0
	err := s.each(func(at uint64, header []byte, err error) bool {
		checkDefect(t, err, -1)
		read++
		if err != nil {
			return read < 1<<12
		}
		headers = append(headers, bytes.Clone(header))
		if len(headers) < 64 {
			again, err := s.read(at)
			checkDefect(t, err, -1)
			if err == nil && !bytes.Equal(again, header) {
				t.Errorf("header at %d is another when read again", at)
			}
		}
		return read < 1<<12
	})
	checkDefect(t, err, -1)
	return headers
}

// FuzzNDB: no more is read than there is, and a sound blob is found whatever the others
// are.
func FuzzNDB(f *testing.F) {
	f.Add(ndbOf(nil), []byte{})
	f.Add(ndbOf([][]byte{soundHeader()}), []byte("xyz"))
	f.Fuzz(func(t *testing.T, content, other []byte) {
		fuzzStore(t, &ndb{name: "f", r: bytes.NewReader(content), size: int64(len(content))}, len(content))
		sound := ndbOf([][]byte{other, soundHeader(), other})
		if len(other) >= ndbBlock {
			copy(sound[ndbPage:], other[:ndbBlock]) // the head of the first blob
		}
		headers := fuzzStore(t, &ndb{name: "f", r: bytes.NewReader(sound), size: int64(len(sound))}, len(sound))
		if !slices.ContainsFunc(headers, func(h []byte) bool { return bytes.Equal(h, soundHeader()) }) {
			t.Error("the sound header is lost")
		}
	})
}

// FuzzBDB: every chain ends, and no more is read than there is.
func FuzzBDB(f *testing.F) {
	f.Add(bdbOf(binary.LittleEndian, [][]byte{soundHeader(), soundHeader()}))
	f.Add(bdbOf(binary.BigEndian, someHeaders(3)))
	f.Fuzz(func(t *testing.T, content []byte) {
		b, err := newBDB("f", bytes.NewReader(content), int64(len(content)))
		if err != nil {
			checkDefect(t, err, len(content))
			return
		}
		b.left = 64 << 20
		all := 0
		for _, h := range fuzzStore(t, b, len(content)) {
			all += len(h)
		}
		if all > 64<<20 {
			t.Errorf("%d bytes of %d", all, len(content))
		}
	})
}

// FuzzWAL: a log changes nothing but whole pages, and only if it is sound to its last
// commit.
func FuzzWAL(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x37\x7f\x06\x82", 200)), int64(512))
	sound := make([]byte, walHeaderLen)
	binary.BigEndian.PutUint32(sound, walMagic)
	binary.BigEndian.PutUint32(sound[4:], walVersion)
	binary.BigEndian.PutUint32(sound[8:], 512)
	sum := walSum{order: binary.LittleEndian}
	sum.add(sound[:24])
	binary.BigEndian.PutUint32(sound[24:], sum.a)
	binary.BigEndian.PutUint32(sound[28:], sum.b)
	frame := make([]byte, walFrameLen+512)
	binary.BigEndian.PutUint32(frame, 1)
	binary.BigEndian.PutUint32(frame[4:], 1)
	sum.add(frame[:8])
	sum.add(frame[walFrameLen:])
	binary.BigEndian.PutUint32(frame[16:], sum.a)
	binary.BigEndian.PutUint32(frame[20:], sum.b)
	f.Add(append(sound, frame...), int64(512))
	f.Fuzz(func(t *testing.T, log []byte, pageSize int64) {
		if pageSize < 512 || pageSize > 1<<16 || pageSize&(pageSize-1) != 0 {
			return
		}
		w, err := readWAL(bytes.NewReader(log), int64(len(log)), pageSize)
		if err != nil || w == nil {
			return
		}
		page := make([]byte, pageSize)
		for n, at := range w.frames {
			if ok, err := w.page(n, page, 0); !ok || err != nil || at < walHeaderLen || at+walFrameLen+pageSize > int64(len(log)) {
				t.Errorf("page %d at %d: %v, %v", n, at, ok, err)
			}
		}
		if w.pages == 0 {
			t.Error("a log without a commit counts")
		}
	})
}

// FuzzSQLite: an rpmdb.sqlite with a log beside it says only what a header may say.
func FuzzSQLite(f *testing.F) {
	dir := f.TempDir()
	name := filepath.Join(dir, "x")
	makeSQLite(f, name, someHeaders(2))
	content, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content, []byte{})
	f.Fuzz(func(t *testing.T, content, log []byte) {
		dir := t.TempDir()
		write(t, dir, "var/lib/rpm/rpmdb.sqlite", content)
		write(t, dir, "var/lib/rpm/rpmdb.sqlite-wal", log)
		d, err := Open(openRoot(t, dir))
		if err != nil {
			return
		}
		for _, p := range d.Packages() {
			if !validWord(p.Name) || !validWord(p.Arch) {
				t.Errorf("package %+v", p)
			}
			d.Changelog(p, "1-0")
		}
	})
}

// FuzzHistory: the three histories in SQLite, over one file.
func FuzzHistory(f *testing.F) {
	content, err := os.ReadFile(filepath.Join(unpack(f, "bookworm-dnf4"), dnf4History))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		write(t, dir, "h", content)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := openSQL(ctx, openRoot(t, dir), "h", maxValue)
		if err != nil {
			return
		}
		defer s.Close()
		for _, l := range []dialect{dnf4(), dnf5(), yum()} {
			steps, _ := l.read(ctx, s)
			for _, c := range steps {
				if !validWord(c.Name) || !validWord(c.Arch) || c.Begin.IsZero() || c.From == "" && c.To == "" {
					t.Errorf("change %+v", c)
				}
			}
		}
	})
}

// FuzzZypp: whatever stands before it, a sound line is read.
func FuzzZypp(f *testing.F) {
	f.Add([]byte(zyppLog))
	f.Add([]byte("2026-01-01 10:00:00|install|||\n|\n||||||\n#"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("sentinel")) {
			return
		}
		content = append(content, "\n2026-01-02 10:00:00|remove |sentinel|1-1|x86_64|\n"...)
		steps, err := parseZypp("f", bytes.NewReader(content), clock.Clock{Zone: time.UTC})
		checkDefect(t, err, len(content))
		for _, s := range steps {
			if !validWord(s.Name) || s.Begin.IsZero() || !s.End.After(s.Begin) || s.To == "" && s.From == "" {
				t.Errorf("step %+v", s)
			}
		}
		if last := steps[len(steps)-1]; last.Name != "sentinel" || last.From != "1-1" || !last.fromKnown {
			t.Errorf("last step %+v", last)
		}
	})
}

// FuzzCompare: the order of two versions is that of the other two turned round.
func FuzzCompare(f *testing.F) {
	f.Add("1:1.2~rc1-3", "1.2^git-1")
	f.Fuzz(func(t *testing.T, a, b string) {
		ab, errAB := Compare(a, b)
		ba, errBA := Compare(b, a)
		if (errAB == nil) != (errBA == nil) || (ab < 0) != (ba > 0) || (ab > 0) != (ba < 0) {
			t.Errorf("%q, %q: %d %v, %d %v", a, b, ab, errAB, ba, errBA)
		}
	})
}

// FuzzBootEntry: a boot entry's ostree argument is a word of it.
func FuzzBootEntry(f *testing.F) {
	f.Add("title x\nversion 2\noptions root=UUID=1 rw ostree=/ostree/boot.1/fedora/00/0\n")
	f.Fuzz(func(t *testing.T, content string) {
		b := parseBootEntry(content)
		if b.ostree != "" && !strings.Contains(content, "ostree="+b.ostree) || strings.ContainsAny(b.ostree, " \n") {
			t.Errorf("%q", b.ostree)
		}
	})
}
