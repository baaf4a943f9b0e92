package rpm

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/adler32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner/ownertest"
)

// headerMaker makes headers as rpm stores them.
type headerMaker struct {
	index, data []byte
	n           uint32
}

func (m *headerMaker) add(tag, kind, count uint32, value []byte) {
	size := map[uint32]int{typeInt16: 2, typeInt32: 4, typeInt64: 8}[kind]
	for size > 0 && len(m.data)%size != 0 {
		m.data = append(m.data, 0)
	}
	for _, v := range [...]uint32{tag, kind, uint32(len(m.data)), count} {
		m.index = binary.BigEndian.AppendUint32(m.index, v)
	}
	m.data = append(m.data, value...)
	m.n++
}

func (m *headerMaker) text(tag uint32, s string) { m.add(tag, typeString, 1, append([]byte(s), 0)) }

func (m *headerMaker) array(tag uint32, s ...string) {
	if len(s) > 0 {
		m.add(tag, typeStringArray, uint32(len(s)), []byte(strings.Join(s, "\x00")+"\x00"))
	}
}

func (m *headerMaker) ints(tag uint32, n ...uint32) {
	var b []byte
	for _, v := range n {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	if len(n) > 0 {
		m.add(tag, typeInt32, uint32(len(n)), b)
	}
}

// blob is the header as rpm stores it: the tags of the package in an immutable region
// (tag 63), whose own entry comes first and whose value, which says how long its index is,
// last; behind it what was not in the package file, here the digest of the region (tag
// 273), which rpm looks at whenever it reads the header.
func (m *headerMaker) blob() []byte {
	const tagRegion, tagSHA256, typeBin = 63, 273, 7
	be := binary.BigEndian
	entry := func(b []byte, tag, kind, offset, count uint32) []byte {
		return be.AppendUint32(be.AppendUint32(be.AppendUint32(be.AppendUint32(b, tag), kind), offset), count)
	}
	index := append(entry(nil, tagRegion, typeBin, uint32(len(m.data)), entryLen), m.index...)
	data := entry(slices.Clip(m.data), tagRegion, typeBin, -uint32(len(index)), entryLen)

	digest := sha256.New()
	digest.Write([]byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0})
	digest.Write(be.AppendUint32(be.AppendUint32(nil, m.n+1), uint32(len(data))))
	digest.Write(index)
	digest.Write(data)
	index = entry(index, tagSHA256, typeString, uint32(len(data)), 1)
	data = append(data, hex.EncodeToString(digest.Sum(nil))+"\x00"...)
	return slices.Concat(be.AppendUint32(be.AppendUint32(nil, m.n+2), uint32(len(data))), index, data)
}

// made is a package to make a header of.
type made struct {
	name, arch, version string // [EPOCH:]VERSION-RELEASE
	installed           uint32
	files               map[string]string // content by path
	states              map[string]byte   // by path, of those that are not normal
	log                 []string          // author and text of each entry
	source              string
}

func (p made) header() []byte {
	var m headerMaker
	v := splitVersion(p.version)
	m.text(tagName, p.name)
	m.text(tagVersion, v.version)
	m.text(tagRelease, v.release)
	if v.epoch != "" {
		var e uint32
		fmt.Sscan(v.epoch, &e)
		m.ints(tagEpoch, e)
	}
	m.ints(tagInstallTime, p.installed)
	m.text(tagArch, p.arch)
	if p.source != "" {
		m.text(tagSourceRPM, p.source)
	}
	var bases, dirs, sums []string
	var indexes []uint32
	var states []byte
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		cut := strings.LastIndexByte(name, '/') + 1
		at := slices.Index(dirs, name[:cut])
		if at < 0 {
			at, dirs = len(dirs), append(dirs, name[:cut])
		}
		sum := sha256.Sum256([]byte(p.files[name]))
		bases, indexes, sums = append(bases, name[cut:]), append(indexes, uint32(at)), append(sums, hex.EncodeToString(sum[:]))
		states = append(states, p.states[name])
	}
	if len(bases) > 0 {
		m.add(tagFileStates, typeChar, uint32(len(states)), states)
	}
	m.array(tagFileDigests, sums...)
	var who, what []string
	for i := 0; i+1 < len(p.log); i += 2 {
		who, what = append(who, p.log[i]), append(what, p.log[i+1])
	}
	m.array(tagChangelogName, who...)
	m.array(tagChangelogText, what...)
	m.ints(tagDirIndexes, indexes...)
	m.array(tagBaseNames, bases...)
	m.array(tagDirNames, dirs...)
	m.ints(tagFileDigestAlgo, 8)
	return m.blob()
}

func headersOf(packages []ownertest.Package) [][]byte {
	var out [][]byte
	for i, p := range packages {
		out = append(out, made{name: p.Name, arch: p.Arch, version: p.Version, installed: 1_700_000_000 + uint32(i), files: p.Files}.header())
	}
	return out
}

// makeSQLite writes an rpmdb.sqlite as rpm does.
func makeSQLite(t testing.TB, name string, headers [][]byte) {
	t.Helper()
	execSQL(t, name, func(exec func(query string, args ...any)) {
		exec(`CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)`)
		for _, h := range headers {
			exec(`INSERT INTO Packages(blob) VALUES (?)`, h)
		}
	})
}

// execSQL makes a SQLite database in one transaction.
func execSQL(t testing.TB, name string, fill func(exec func(query string, args ...any))) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	fill(func(query string, args ...any) {
		if _, err := tx.Exec(query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// ndbOf makes a Packages.db of one page of slots.
func ndbOf(headers [][]byte) []byte {
	le := binary.LittleEndian
	out := make([]byte, ndbPage)
	le.PutUint32(out, ndbMagic)
	le.PutUint32(out[12:], 1)
	for at := ndbHeaderLen; at < ndbPage; at += ndbBlock {
		le.PutUint32(out[at:], ndbSlotMagic)
	}
	for i, h := range headers {
		start := len(out)
		for _, v := range [...]uint32{ndbHeadMagic, uint32(i + 1), 0, uint32(len(h))} {
			out = le.AppendUint32(out, v)
		}
		out = append(out, h...)
		for (len(out)+ndbTailLen)%ndbBlock != 0 {
			out = append(out, 0)
		}
		out = le.AppendUint32(out, adler32.Checksum(out[start:]))
		out = le.AppendUint32(out, uint32(len(h)))
		out = le.AppendUint32(out, ndbTailMagic)
		slot := out[ndbHeaderLen+i*ndbBlock:]
		le.PutUint32(slot[4:], uint32(i+1))
		le.PutUint32(slot[8:], uint32(start/ndbBlock))
		le.PutUint32(slot[12:], uint32((len(out)-start)/ndbBlock))
	}
	return out
}

// bdbOf makes a Packages file with one page of entries, of which every second is in
// overflow pages.
func bdbOf(order binary.ByteOrder, headers [][]byte) []byte {
	const size = 4096
	page := func(n int, kind byte) []byte {
		p := make([]byte, size)
		order.PutUint32(p[8:], uint32(n))
		p[bdbTypeAt] = kind
		return p
	}
	meta, hash := page(0, bdbPageMeta), page(1, bdbPageHash)
	order.PutUint32(meta[bdbMagicAt:], bdbMagic)
	order.PutUint32(meta[bdbPageSizeAt:], size)
	var rest [][]byte
	free, entries := size, 0
	put := func(item []byte) {
		free -= len(item)
		copy(hash[free:], item)
		order.PutUint16(hash[bdbHeaderLen+2*entries:], uint16(free))
		entries++
	}
	key := func(n uint32) []byte {
		k := []byte{bdbItemInline, 0, 0, 0, 0}
		order.PutUint32(k[1:], n)
		return k
	}
	put(key(0))
	put(key(uint32(len(headers)) + 1))
	for i, h := range headers {
		put(key(uint32(i + 1)))
		if i%2 == 1 && len(h) < 1500 {
			put(append([]byte{bdbItemInline}, h...))
			continue
		}
		item := make([]byte, bdbOffpageLen)
		item[0] = bdbItemOffpage
		order.PutUint32(item[4:], uint32(2+len(rest)))
		order.PutUint32(item[8:], uint32(len(h)))
		put(item)
		for len(h) > 0 {
			p := page(2+len(rest), bdbPageOverflow)
			n := copy(p[bdbHeaderLen:], h)
			h = h[n:]
			order.PutUint16(p[bdbOffsetAt:], uint16(n))
			rest = append(rest, p)
			if len(h) > 0 {
				order.PutUint32(p[bdbNextAt:], uint32(2+len(rest)))
			}
		}
	}
	order.PutUint16(hash[bdbEntriesAt:], uint16(entries))
	order.PutUint16(hash[bdbOffsetAt:], uint16(free))
	order.PutUint32(meta[bdbLastAt:], uint32(1+len(rest)))
	return slices.Concat(append([][]byte{meta, hash}, rest...)...)
}

func openRoot(t testing.TB, dir string) *file.Root {
	t.Helper()
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func open(t testing.TB, dir string) *Database {
	t.Helper()
	d, err := Open(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// noProblems fails the test if the database has met a defect.
func noProblems(t *testing.T, d *Database) {
	t.Helper()
	if p := d.Problems(); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
}
