package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/inventory"
)

// scan is one look at the machine. It is used by one goroutine and thrown away.
type scan struct {
	*Sensor
	fs     proc.FS
	root   *file.Root // the host's
	host   *view      // of root, once asked for
	source string
	boot   snapshot.BootTime
	// exeProtected says that this kernel refuses writes to a running
	// executable.
	exeProtected bool

	processes []*process
	byPID     map[int]*process
	views     map[viewKey]*view
	// dirsLeft is how many directories all views may still hold open together.
	dirsLeft  int
	files     map[*snapshot.File]*loaded
	order     []*class // classes as they were met
	databases map[databaseID]*packages
	parsed    int // package databases
	warnings  warnings
	// inventory is what the container runtimes say; nil if none is asked.
	inventory  *inventory.Inventory
	containers containers
	advisories advisories
	// allOwners says that the owner of everything that is loaded is wanted.
	allOwners bool
	// modules stands for the package database of what no package ships.
	modules packages
	whose   *actors // of processes, once asked for
	// itself is the machine, about what is to be said of it; pageWanted says that this is
	// to be all that there is.
	itself     *machine
	about      *itself
	pageWanted bool
	// fresh is when the readings were made that are not to be doubted, on
	// CLOCK_BOOTTIME, and doubts are the processes whose older readings do not
	// fit what is seen now. A scan on its own doubts nothing.
	fresh  time.Duration
	doubts map[int]bool
	// stale is one judgement for each class of which one is stale.
	stale map[*class]*judgement
	// mem is what a running sensor remembers; nil in a scan on its own. evident is
	// what it is to remember of the loads that were looked into.
	mem     *memory
	evident map[evidenceKey]evidence
}

// process is one process of the snapshot with what was made of it.
type process struct {
	*snapshot.Process
	view *view
	// started is the earliest moment at which its code can have been mapped,
	// by today's clock; born is the moment of its own fork.
	started, born time.Time
	// inherited says that the code was mapped by an ancestor that is gone, so
	// that started may be too late.
	inherited bool
	names     *loadNames
	key       nameKey   // of a running sensor
	recent    bool      // see remembered.recently
	files     []*loaded // of Mappings, same order
	classes   []*class  // of Mappings, same order
	gone      bool
	workload  *workload.Workload // once asked for
	needs     *needs             // what its objects need, once asked for
	copies    *ownCopies         // what it has of its files, once asked for
}

// maxHeldDirs bounds the directories that a scan holds open: anybody who may make
// namespaces makes views.
const maxHeldDirs = 256

func newScan(s *Sensor, fs proc.FS, root *file.Root, source string, boot snapshot.BootTime) *scan {
	return &scan{
		Sensor: s, fs: fs, root: root, source: source, boot: boot,
		exeProtected: host.WriteProtectsExecutables(host.KernelRelease()),
		views:        make(map[viewKey]*view),
		dirsLeft:     maxHeldDirs,
		files:        make(map[*snapshot.File]*loaded),
		databases:    make(map[databaseID]*packages),
		stale:        make(map[*class]*judgement),
		modules:      *newPackages("", manager{}),
	}
}

func (sc *scan) close() {
	for _, v := range sc.views {
		v.close()
	}
	if sc.host != nil {
		sc.host.closeDirs() // its root is not its own
	}
	sc.containers.close()
	if sc.mem == nil {
		sc.root.Close()
		sc.advisories.close()
		if sc.inventory != nil {
			sc.inventory.Close()
		}
	}
}

// doubt notes that the reading of a process does not fit what is seen now, if it
// is one that was remembered: it is to be read again before it counts.
func (sc *scan) doubt(p *process) bool {
	if p.key.read >= sc.fresh || sc.ended(p) {
		return false
	}
	if sc.doubts == nil {
		sc.doubts = make(map[int]bool)
	}
	sc.doubts[p.PID] = true
	return true
}

// ended reports whether a process is not there any more, whatever became of the
// thread by which it was read.
func (sc *scan) ended(p *process) bool {
	return errors.Is(sc.fs.Verify(p.PID, p.Start), proc.ErrGone)
}

// open opens a process of the snapshot, or fails with proc.ErrGone when its
// number now belongs to another.
func (sc *scan) open(p *process) (*proc.Process, error) {
	if p.TID != p.PID {
		return sc.openThread(p)
	}
	dir, err := sc.fs.Process(p.PID)
	if err != nil {
		return nil, err
	}
	if err := dir.Verify(p.Start); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// openThread opens a process whose main thread has ended, through the thread by
// which it was read or, if that has ended too, through another one.
func (sc *scan) openThread(p *process) (*proc.Process, error) {
	main, err := sc.fs.Process(p.PID)
	if err != nil {
		return nil, err
	}
	defer main.Close()
	if err := main.Verify(p.Start); err != nil {
		return nil, err
	}
	thread := func(tid int) (*proc.Process, error) {
		dir, err := sc.fs.Process(tid)
		if err != nil {
			return nil, err
		}
		if err := dir.VerifyThread(p.PID); err != nil {
			dir.Close()
			return nil, err
		}
		return dir, nil
	}
	dir, gone := thread(p.TID)
	if gone == nil {
		return dir, nil
	}
	tids, err := main.Threads()
	if err != nil {
		return nil, err
	}
	for _, tid := range tids {
		if tid == p.PID {
			continue
		}
		if dir, err := thread(tid); err == nil {
			p.TID = tid
			return dir, nil
		}
	}
	return nil, gone
}

// run judges a snapshot: who mapped what, what stands there now, who owns it.
func (sc *scan) run(ctx context.Context, list []remembered) error {
	sc.adopt(list)
	sc.meetContainers(ctx)
	for i, p := range sc.processes {
		if i%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			sc.opts.Progress(i, 2*len(sc.processes), "examining files")
		}
		sc.examine(p)
	}
	sc.fallBack()
	if err := sc.readNames(ctx); err != nil {
		return err
	}
	for i, p := range sc.processes {
		if i%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			sc.opts.Progress(len(sc.processes)+i, 2*len(sc.processes), "comparing with disk")
		}
		sc.classify(ctx, p)
	}
	sc.opts.Progress(2*len(sc.processes), 2*len(sc.processes), "reading package databases")
	return sc.own(ctx)
}

// adopt takes over the snapshot, which is the scan's from now on, and finds out since when
// each process can have had its mappings.
func (sc *scan) adopt(list []remembered) {
	processes := make([]process, len(list))
	sc.processes, sc.byPID = make([]*process, 0, len(list)), make(map[int]*process, len(list))
	pairs, now := 0, bootNow()
	for i := range list {
		pairs += len(list[i].Mappings)
	}
	files, classes := make([]*loaded, pairs), make([]*class, pairs)
	for i := range list {
		p := &processes[i]
		n := len(list[i].Mappings)
		p.files, p.classes = files[:n:n], classes[:0:n]
		files, classes = files[n:], classes[n:]
		p.Process, p.names, p.key, p.recent = &list[i].Process, list[i].names, list[i].key, list[i].recently(now)
		p.born = sc.boot.Wall(p.Start + p.Uncertainty)
		sc.processes = append(sc.processes, p)
		sc.byPID[p.PID] = p
	}
	for _, p := range sc.processes {
		sc.settle(p)
	}
}

// settle finds out since when a process can have had its mappings: since its own
// fork or, as long as nobody on the way called execve, an ancestor's.
func (sc *scan) settle(p *process) {
	if !p.started.IsZero() {
		return
	}
	p.started = p.born // also ends a circle of parents, which a hostile /proc may have
	if !p.ForkNoExec {
		return
	}
	if parent := sc.byPID[p.PPID]; parent != nil && parent != p && sc.inherits(p, parent) {
		sc.settle(parent)
		p.started, p.inherited = parent.started, parent.inherited
	} else {
		p.inherited = true
	}
}

// inherits reports whether p can have got its memory from parent, by fork
// without exec: the same executable at the same address.
func (sc *scan) inherits(p, parent *process) bool {
	return p.Aux == parent.Aux && p.Start >= parent.Start
}

// examine looks at what the process shares with others, as far as no other
// process has shown it: its root directory and the files it has mapped.
func (sc *scan) examine(p *process) {
	key := viewKey{p.RootKey, p.MntNS}
	v := sc.views[key]
	if v == nil {
		v = &view{key: key, first: p, left: &sc.dirsLeft}
		sc.views[key] = v
	}
	p.view = v
	var dir *proc.Process
	var dirErr error
	open := func() *proc.Process {
		if dir == nil && dirErr == nil {
			dir, dirErr = sc.open(p)
		}
		return dir
	}
	defer func() {
		if dir != nil {
			dir.Close()
		}
	}()
	if v.root == nil && v.tries < maxTries {
		if d := open(); d != nil {
			v.open(d)
		}
	}
	for i := range p.Mappings {
		m := &p.Mappings[i]
		l := sc.files[m.File]
		if l == nil {
			l = &loaded{id: m.File.ID, fstype: m.File.FSType, changed: m.File.Ctime, size: m.File.Size}
			if m.Exe && p.Exe != "" {
				l.shown, l.named = p.Exe, true
			}
			sc.files[m.File] = l
			sc.mem.recognise(m.File, l, p)
			if !l.known && v.root != nil {
				sc.borrow(m.File, l, v)
			}
		}
		p.files[i] = l
		if !l.known && l.tries < maxTries {
			if d := open(); d != nil {
				l.look(d, p, *m)
				sc.lend(m.File, l, v)
			} else if l.err == nil {
				l.err = dirErr
			}
			if !l.known && l.err != errFUSE {
				sc.doubt(p)
			}
		}
		if len(l.at) < maxTries {
			l.at = append(l.at, place{p, *m})
		}
	}
	sc.oneExecutable(p)
	if p.Aux == (snapshot.Aux{}) && len(p.Mappings) > 0 {
		// The BPF program reads 64-bit vectors only.
		if d := open(); d != nil {
			p.Aux, _ = d.Auxv()
		}
	}
}

// oneExecutable leaves out the mapping of the executable's own file where it goes
// by another key: on overlayfs the BPF program sees the layer's file mapped, and
// the overlay's executed.
func (sc *scan) oneExecutable(p *process) {
	if len(p.Mappings) < 2 || !p.Mappings[0].Exe {
		return
	}
	exe := p.files[0]
	if !exe.known {
		return
	}
	for i, m := range p.files {
		if m != exe && m.known && (m.info.ID == exe.info.ID || m.borrowed && m.shown == exe.shown) {
			// The layer's inode tells more: it says whether the file was copied up.
			exe.id, exe.changed, exe.size = m.id, m.changed, m.size
			p.Mappings = append(p.Mappings[:i:i], p.Mappings[i+1:]...)
			p.files = append(p.files[:i:i], p.files[i+1:]...)
			return
		}
	}
}

// fallBack gives views that no process showed the host's root, where that can
// only be the same: in the sensor's own mount namespace, or where namespaces are
// not shown at all.
func (sc *scan) fallBack() {
	var own uint32
	if self := sc.byPID[os.Getpid()]; self != nil {
		own = self.MntNS
	}
	for _, v := range sc.views {
		if v.root != nil || v.key.root != 0 || (v.key.ns != 0 && v.key.ns != own) {
			continue
		}
		if root, err := file.OpenRoot(sc.opts.Root); err == nil {
			v.root, v.link = root, "/"
		}
	}
}

// classify finds the class of each of the process's mappings.
func (sc *scan) classify(ctx context.Context, p *process) {
	p.classes = p.classes[:len(p.Mappings)]
	for i := range p.Mappings {
		m := &p.Mappings[i]
		if p.files[i].copied {
			sc.doubt(p)
		}
		name, bias := p.names.of(i, m)
		l := p.files[i]
		key := classKey{p.view, name, m.Exe}
		c := l.classes.find(key)
		if c == nil {
			c = &class{classKey: key, file: l, earliest: p.started, first: place{p, *m}}
			l.classes.add(c)
			sc.order = append(sc.order, c)
			sc.resolve(ctx, c, bias)
			c.plainUntil = plainUntil(&c.facts)
		}
		if p.started.Before(c.earliest) {
			c.earliest = p.started
		}
		p.classes[i] = c
	}
}

// compareBuildID compares by the build ID that the kernel reads from the mapped
// file, which needs no capability but Linux 6.11.
func (sc *scan) compareBuildID(ctx context.Context, c *class, theirs file.Ref) (Answer, error) {
	dir, err := sc.open(c.first.process)
	if err != nil {
		return NotKnown, err
	}
	defer dir.Close()
	if c.exe {
		return NotKnown, c.file.err
	}
	id, err := dir.BuildID(c.first.mapping.Start)
	if err != nil {
		return NotKnown, err
	}
	other, err := usable(sc.cache.Facts(ctx, theirs.Key, theirs.Open))
	if err != nil {
		return NotKnown, err
	}
	if len(id) == 0 || other.BuildID == "" {
		return NotKnown, c.file.err
	}
	return answer(fmt.Sprintf("%x", id) == other.BuildID), nil
}
