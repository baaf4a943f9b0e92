package sensor

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/store"
)

// memory is what a running sensor keeps from one scan to the next: what is dear
// to find out and does not change unless something else does. Its own scans alone
// use it, one after another.
type memory struct {
	log *zap.Logger
	// host is the package database of the host's root, as it was when its files
	// had these stamps.
	host   *packages
	stamps []stamp
	opened time.Time
	// chains and images are the package databases of images: as containers show them, by
	// their layers, and at rest, by their names.
	chains, images map[string]*keptPackages
	// observed is which package files are, or were, of the files that were looked
	// for so far; nil where nothing is known.
	observed map[store.FileKey]*store.Knowledge
	// inodes are the keys of observed, by the numbers that events tell.
	inodes map[inode]store.FileKey
	// shunned are the processes that did not answer, by user.
	shunned map[uint32]map[processID]shunned
	// files are where the files of the last full scan, and since, were looked at.
	files map[*snapshot.File]*seenAt
	// evidence is what was found out about loads at the last full scan and since.
	evidence map[evidenceKey]evidence
	// learned is what was observed since it was last kept.
	learned []store.Knowledge
	// later is the earliest moment for the next question to the database that only
	// serves to observe; put off says that one was not asked for it.
	later      time.Time
	putOff     bool
	advisories advisories
	machine    machineMemory
	// keep is where older observations are; nil if there is none.
	keep knowledgeStore
}

// knowledgeStore is the part of the store that knows files.
type knowledgeStore interface {
	Known(context.Context, []store.FileKey) (map[store.FileKey]store.Knowledge, error)
	KnownBuildID(ctx context.Context, buildID string) ([]store.Knowledge, error)
}

func newMemory(log *zap.Logger, keep knowledgeStore) *memory {
	return &memory{
		log: log, keep: keep,
		chains: make(map[string]*keptPackages), images: make(map[string]*keptPackages),
		observed: make(map[store.FileKey]*store.Knowledge), inodes: make(map[inode]store.FileKey),
		files: make(map[*snapshot.File]*seenAt), evidence: make(map[evidenceKey]evidence),
	}
}

// remembered is a process with what is known of it from before.
type remembered struct {
	snapshot.Process
	names *loadNames // nil if not known
	key   nameKey    // by which the names will be remembered
	alive bool       // as was seen just now
}

// inputsOf are processes of which nothing is known from before.
func inputsOf(list []snapshot.Process) []remembered {
	inputs := make([]remembered, len(list))
	for i := range list {
		inputs[i].Process = list[i]
	}
	return inputs
}

// stamp tells one state of a file from another.
type stamp struct {
	id    file.ID
	ctime time.Time
	size  int64
}

// stampsOf are the stamps of the files that change with a package database.
func stampsOf(root *file.Root, m manager) []stamp {
	var list []stamp
	for _, names := range [][]string{m.marks, m.journals, m.logs} {
		for _, name := range names {
			info, err := root.Stat(name)
			if err != nil {
				list = append(list, stamp{})
				continue
			}
			list = append(list, stamp{info.ID, info.Ctime, info.Size})
		}
	}
	return list
}

// hostPackages opens the package database of the host's root, or takes the one at
// hand if that has not changed.
func (m *memory) hostPackages(sc *scan) {
	mgr, ok := managersOf(sc.root)
	if ok {
		id := mgr.identity(sc.root)
		stamps := stampsOf(sc.root, mgr)
		if m.host == nil || m.host.manager.name != mgr.name || !equalStamps(m.stamps, stamps) || m.host.troubled() && time.Since(m.opened) > retryAfter {
			m.opened = time.Now()
			db, err := mgr.open(sc.root)
			if noDatabase(err) {
				m.host = nil
				return
			}
			m.host, m.stamps = newPackages(sc.root.Name(), mgr), stamps
			m.host.release = releaseOf(sc.root)
			if m.host.db = db; err != nil {
				m.host.db, m.host.err = nil, err
			}
		}
		if m.host.err != nil {
			sc.warnings.add(sc.root.Name(), m.host.err, "")
		}
		m.host.classes = nil
		if len(m.host.owned) > maxOwned {
			clear(m.host.owned)
		}
		sc.databases[id] = m.host
		return
	}
	m.host = nil
}

// retryAfter is how long a database that could not be read in full is left alone:
// what was wrong may have been the sensor's own want of something.
const retryAfter = time.Minute

// maxOwned bounds the names of which the owner is remembered.
const maxOwned = 100_000

// troubled reports whether something of the database could not be read.
func (pk *packages) troubled() bool {
	return pk.err != nil || pk.db != nil && len(pk.db.Problems()) > 0
}

// forget makes the next scan read the package database anew.
func (m *memory) forget() { m.host = nil }

func equalStamps(a, b []stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].id != b[i].id || a[i].size != b[i].size || !a[i].ctime.Equal(b[i].ctime) {
			return false
		}
	}
	return true
}

// keyOfFile is what a file is known by over restarts: numbers are reused, birth
// times are not.
func keyOfFile(i file.Info) store.FileKey {
	k := store.FileKey{Dev: uint64(i.ID.Dev), Ino: i.ID.Ino, Size: i.Size}
	if !i.Birth.IsZero() {
		k.Birth = i.Birth.UnixNano()
	}
	if !i.Mtime.IsZero() {
		k.Mtime = i.Mtime.UnixNano()
	}
	return k
}

// wants reports whether the owners of everything that is loaded are to be asked
// for. It costs a pass over all file lists whatever is asked, so a scan of a few
// processes does it now and then.
func (m *memory) wants(now time.Time) bool {
	if m == nil {
		return false
	}
	if now.Before(m.later) {
		m.putOff = true
		return false
	}
	return true
}

// asked takes note of what a pass over the file lists took.
func (m *memory) asked(began, ended time.Time) {
	m.later = ended.Add(share * ended.Sub(began))
}

// recall is which package version a file was when it was observed, nil if it
// never was.
func (m *memory) recall(ctx context.Context, i file.Info) *store.Knowledge {
	key := keyOfFile(i)
	if k, ok := m.observed[key]; ok || m.keep == nil {
		return k
	}
	found, err := m.keep.Known(ctx, []store.FileKey{key})
	if err != nil {
		m.log.Warn("what was observed earlier cannot be read", zap.Error(err))
		return nil
	}
	var known *store.Knowledge
	if k, ok := found[key]; ok {
		known = &k
	}
	m.observed[key] = known
	return known
}

// learn takes note of the package version that each loaded file is, where the
// file that runs is the one which the host's database names and nobody is at work
// on that. A package in another state than installed is left out: one that is broken
// for years must not keep the others from being known.
func (m *memory) learn(ctx context.Context, sc *scan) {
	pk := m.host
	if pk == nil || pk.db == nil {
		return
	}
	if busy, err := pk.manager.busy(sc.root); busy || err != nil {
		return
	}
	if !equalStamps(m.stamps, stampsOf(sc.root, pk.manager)) {
		return
	}
	now := time.Now()
	seen := make(map[store.FileKey]bool, len(sc.order))
	for _, c := range sc.order {
		f := &c.facts
		if c.owners != pk || c.base == nil || !sc.isHost(c.base) || c.shownOwner == nil || c.shownOwner.Package.State != owner.StateInstalled {
			continue
		}
		if f.Shown != Same || !c.file.known || f.CopiedUp || f.Checksum == No {
			continue
		}
		key := keyOfFile(c.file.info)
		seen[key] = true
		p := c.shownOwner.Package
		if k := m.recall(ctx, c.file.info); k != nil && k.Name == p.Name && k.Arch == p.Arch && k.Version == p.Version {
			continue
		}
		k := store.Knowledge{
			File: key, Root: sc.root.Name(), Path: c.shown, Manager: p.Manager, Name: p.Name, Arch: p.Arch, Version: p.Version,
			Source: p.Source, SourceVersion: p.SourceVersion, SeenAt: now,
		}
		if e, err := sc.elf(ctx, c.file); err == nil {
			k.BuildID = e.BuildID
		}
		m.observed[key] = &k
		m.inodes[inode{c.file.info.ID.Dev, c.file.info.ID.Ino}] = key
		m.learned = append(m.learned, k)
	}
	m.trim(sc, seen)
}

// trim drops what is remembered of files that nothing runs any more: the store has
// it.
func (m *memory) trim(sc *scan, used map[store.FileKey]bool) {
	if len(m.observed) < 2*len(sc.files)+1024 {
		return
	}
	for _, l := range sc.files {
		if l.known {
			used[keyOfFile(l.info)] = true
		}
	}
	for key := range m.observed {
		if !used[key] {
			delete(m.observed, key)
			delete(m.inodes, inode{file.Dev(key.Dev), key.Ino})
		}
	}
}

// byInode is what was observed of a file, by the numbers alone; nil if nothing was.
func (m *memory) byInode(i inode) *store.Knowledge { return m.observed[m.inodes[i]] }
