package sensor

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// packages is the package database of one root, with what was asked of it.
type packages struct {
	name    string // of the root, for people
	manager manager
	release host.OSRelease // of the root
	db      database       // nil if the root has none
	err     error          // why it could not be read
	// owned are the owners that were asked for so far; nil where there is none.
	owned map[string]*owner.Owned
	// history holds each package's changes, by name and architecture; nil
	// until it was read.
	history map[nameArch][]owner.Change

	// classes are those whose files' owners matter.
	classes []*class
	cves    map[span]changes
	// tree is that of an image's database.
	tree tree
	// installed are the packages by name and architecture, once asked for.
	installed map[nameArch]owner.Package
}

func newPackages(name string, m manager) *packages {
	return &packages{name: name, manager: m, owned: make(map[string]*owner.Owned), cves: make(map[span]changes)}
}

type nameArch struct{ name, arch string }

// span is a package with the version that runs; what changed since is the same
// for every process.
type span struct {
	pkg    owner.Package
	loaded string
}

// packagesOf opens the package database that a view shows. Views of the same
// database share it: it is known by the identity of the files that stand for it.
func (sc *scan) packagesOf(v *view) *packages {
	if v.dbOpened {
		return v.db
	}
	v.dbOpened = true
	v.db = newPackages("", manager{})
	if v.root == nil {
		v.db.err = v.err
		return v.db
	}
	if m, ok := managersOf(v.root); ok {
		id := m.identity(v.root)
		if shared := sc.databases[id]; shared != nil {
			v.db = shared
			return v.db
		}
		chain := sc.chainOf(v, m)
		if shared := sc.sharedPackages(chain, v); shared != nil {
			v.db = shared
			sc.databases[id] = v.db
			return v.db
		}
		v.db = newPackages(sc.nameOf(v), m)
		v.db.release = releaseOf(v.root)
		sc.databases[id] = v.db
		var root tree = v.root
		if chain != "" {
			root = sc.share(chain, v.db, root)
		}
		db, err := m.open(root)
		sc.parsed++
		switch {
		case noDatabase(err): // it has just gone
		case err != nil:
			v.db.err = err
			sc.warnings.add(v.db.name, err, "")
			return v.db
		default:
			v.db.db = db
			return v.db
		}
	}
	if sc.hidesDatabase(v) {
		v.db = sc.packagesOf(sc.hostView())
	}
	return v.db
}

// nameOf is what people call the root of a view.
func (sc *scan) nameOf(v *view) string {
	c := sc.containerOf(v.first)
	switch {
	case c == nil && v.first != nil && v.link != "" && v.link != "/":
		return v.link // as chroot(2) left it
	case c == nil && v.first != nil && !sc.isHost(v):
		return fmt.Sprintf("root of process %d", v.first.PID)
	case c == nil:
		return v.root.Name()
	case c.Name == "":
		return subjectContainer + fmt.Sprintf("%.12s", c.ID)
	}
	return subjectContainer + c.Name
}

// sharesHost reports whether a view has the package database of the host, of which
// a running sensor keeps what was asked.
func (sc *scan) sharesHost(v *view) bool {
	if v.hosts == NotKnown && v.root != nil && sc.mem.host != nil {
		m, ok := managersOf(v.root)
		v.hosts = answer(ok && sc.databases[m.identity(v.root)] == sc.mem.host)
	}
	return v.hosts == Yes
}

// isHost reports whether a view shows the root directory of the host itself, so that
// its names and the host's package database belong together.
func (sc *scan) isHost(v *view) bool {
	if v.sameRoot == NotKnown && v.root != nil {
		mine, err1 := v.root.Stat("/")
		hosts, err2 := sc.root.Stat("/")
		v.sameRoot = answer(err1 == nil && err2 == nil && mine.ID == hosts.ID)
	}
	return v.sameRoot == Yes
}

// hidesDatabase reports whether a view without a package database has its programs
// from the host: a service may be kept from seeing /var/lib.
func (sc *scan) hidesDatabase(v *view) bool {
	if v == sc.host {
		return false
	}
	mine, err1 := v.root.Stat("/usr")
	hosts, err2 := sc.root.Stat("/usr")
	return err1 == nil && err2 == nil && mine.ID == hosts.ID
}

// hostView is the host's own root as a view.
func (sc *scan) hostView() *view {
	if sc.host == nil {
		sc.host = &view{root: sc.root, link: "/", left: &sc.dirsLeft}
	}
	return sc.host
}

// identity tells the databases of one root from those of another: by all files that stand
// for them, since a part of them may be mounted from elsewhere.
func (m *manager) identity(root tree) databaseID {
	id := m.name
	for _, mark := range m.marks {
		if info, err := root.Stat(mark); err == nil {
			id += fmt.Sprintf(" %d:%d", info.ID.Dev, info.ID.Ino)
		}
	}
	return databaseID(id)
}

// databaseID is what the package databases of a root are known by.
type databaseID string

// present reports whether a root has any of the marks of a database.
func present(root tree, marks []string) bool {
	return slices.ContainsFunc(marks, func(mark string) bool { _, err := root.Stat(mark); return err == nil })
}

// own asks the package databases about every class whose verdict or report needs
// an owner, in one pass over each database.
func (sc *scan) own(ctx context.Context) error {
	var asked []*packages
	began := time.Now()
	observe := sc.mem.wants(began)
	for _, c := range sc.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.base == nil || c.facts.Kernel || !sc.allOwners && !sc.needsOwner(c) && !(observe && sc.sharesHost(c.base)) {
			continue
		}
		pk := sc.packagesOf(c.base)
		c.owners = pk
		if len(pk.classes) == 0 {
			asked = append(asked, pk)
		}
		pk.classes = append(pk.classes, c)
	}
	for _, pk := range asked {
		sc.askOwners(ctx, pk)
	}
	if observe {
		sc.mem.asked(began, time.Now())
	}
	for _, c := range sc.order {
		if sc.changedInPlace(c) && c.shownOwner != nil {
			sc.checksum(ctx, c)
		}
	}
	return nil
}

// needsOwner reports whether the file is not plainly the same as ever.
func (sc *scan) needsOwner(c *class) bool {
	f := &c.facts
	if f.ByName == Same || (f.ByName == Unnamed && f.Shown == Same) {
		return sc.changedInPlace(c)
	}
	return f.Content != Yes
}

// changedInPlace reports whether the same file changed after the first process
// can have mapped it, and nothing yet says how.
func (sc *scan) changedInPlace(c *class) bool {
	f := &c.facts
	return f.MappedKnown && (f.ByName == Same || f.Shown == Same && f.ByName != Other) &&
		!f.WriteProtected && f.Mapped.Ctime.After(c.earliest)
}

func (sc *scan) askOwners(ctx context.Context, pk *packages) {
	if pk.db == nil {
		if pk.err == nil {
			for _, c := range pk.classes {
				c.facts.ShownOwned, c.facts.OtherOwned = No, No
			}
		}
		return
	}
	paths := make([]string, 0, 2*len(pk.classes))
	for _, c := range pk.classes {
		paths = append(paths, c.shown)
		if c.otherOK {
			paths = append(paths, c.otherPath)
		}
	}
	if err := pk.ask(paths); err != nil {
		pk.err = err
		sc.warnings.add(pk.name, err, "")
		return
	}
	// A list that could not be read may have named the owner.
	damaged := len(pk.db.Problems()) > 0
	missing := func(found bool) Answer {
		if !found && damaged {
			return NotKnown
		}
		return answer(found)
	}
	for _, c := range pk.classes {
		c.shownOwner = pk.owned[c.shown]
		c.facts.ShownOwned = missing(c.shownOwner != nil)
		if c.otherOK {
			c.otherOwner = pk.owned[c.otherPath]
			c.facts.OtherOwned = missing(c.otherOwner != nil)
		}
	}
	sc.askProviders(ctx, pk)
}

// ask finds the owners of those paths that were not asked for before.
func (pk *packages) ask(paths []string) error {
	paths = slices.DeleteFunc(paths, func(path string) bool { _, known := pk.owned[path]; return known })
	if len(paths) == 0 {
		return nil
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	found, err := pk.db.Owners(paths)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if o, ok := found[path]; ok {
			pk.owned[path] = &o
		} else {
			pk.owned[path] = nil
		}
	}
	return nil
}

// askProviders looks for packages that ship, under another name, what a file
// that is gone was: the same soname.
func (sc *scan) askProviders(ctx context.Context, pk *packages) {
	sonames := make(map[*class]string)
	var bases []string
	for _, c := range pk.classes {
		if c.facts.Shown != Gone || c.facts.ByName == Other || c.facts.ByName == Same {
			continue
		}
		e, err := sc.elf(ctx, c.file)
		if err != nil || e.Soname == "" || e.Soname != path.Base(e.Soname) {
			continue
		}
		sonames[c] = e.Soname
		bases = append(bases, e.Soname)
	}
	if len(bases) == 0 {
		return
	}
	slices.Sort(bases)
	providers, err := pk.db.Providers(slices.Compact(bases))
	if err != nil {
		sc.warnings.add(pk.name, err, "")
		return
	}
	for c, soname := range sonames {
		for _, o := range providers[soname] {
			if sc.provide(ctx, c, o) {
				break
			}
		}
	}
}

// provide takes a package's file as the successor of one that is gone, if it is
// really there and of the same kind.
func (sc *scan) provide(ctx context.Context, c *class, o owner.Owned) bool {
	if !searched(c.shown) || !searched(o.Path) {
		return false
	}
	canonical, err := c.base.root.Canonical(o.Path)
	if err != nil {
		return false
	}
	info, err := c.base.root.Stat(canonical)
	if err != nil || !info.Regular() || !sc.sameKind(ctx, c, info, canonical) {
		return false
	}
	c.provider, c.facts.Provided = &o, true
	c.other, c.otherPath, c.otherOK = info, canonical, true
	c.otherOwner = &o
	sc.compare(ctx, c)
	c.facts.ProvidedContent, c.facts.Content = c.facts.Content, NotKnown
	return true
}

// searched reports whether the dynamic loader finds libraries in the directory of
// name without being told (ld.so(8), and the multiarch directories of Debian): a
// program's private copy is not what another package's library replaces.
func searched(name string) bool {
	dir := strings.TrimPrefix(path.Dir(name), "/usr")
	for _, d := range []string{"/lib", "/lib32", "/lib64", "/libx32", "/local/lib"} {
		if dir == d {
			return true
		}
	}
	triplet, ok := strings.CutPrefix(dir, "/lib/")
	return ok && !strings.Contains(triplet, "/") && strings.Contains(triplet, "-linux-gnu")
}

// checksum compares the file with what its package recorded.
func (sc *scan) checksum(ctx context.Context, c *class) {
	sum, ok, err := c.owners.db.Checksum(*c.shownOwner)
	if err != nil || !ok {
		return
	}
	r := sc.ref(c.file)
	have, err := sc.cache.Sum(ctx, sum.Hash, r.Key, r.Open)
	if err != nil {
		c.err = err
		return
	}
	c.facts.Checksum, c.facts.ChecksumRecorded = answer(have == sum.Sum), sum.RecordedAt
}
