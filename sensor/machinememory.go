package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/kernel"
	kmod "github.com/patchsensor/patchsensor/internal/host/module"
)

// machineMemory is what a running sensor keeps of the machine itself.
type machineMemory struct {
	caches machineCaches
	facts  *machine
	// names are those that were looked at, with what stood there before.
	names map[seenName]nameStamp
	// moving is what no stamp tells of: procfs and sysfs.
	moving string
	// checked is when it was last held against the file systems, and cost what that
	// took.
	checked time.Time
	cost    time.Duration
}

// seenName is a name, or the symbolic link of that name.
type seenName struct {
	name string
	link bool
}

// nameStamp tells one state of what a name leads to from another; it is the zero value
// where that is nothing.
type nameStamp struct {
	id     file.ID
	ctime  int64 // ns since 1970
	size   int64
	target string // of a symbolic link
}

// machineShare is how much longer than it takes the machine is left alone before it is
// held against the file systems again.
const machineShare = 20

// recall is the machine as it is now.
func (m *machineMemory) recall(ctx context.Context, sc *scan) *machine {
	began := time.Now()
	if m.facts != nil && began.Sub(m.checked) < machineShare*m.cost {
		return m.facts
	}
	moving := movingFacts(sc)
	if m.facts == nil || moving != m.moving || m.changed(sc) {
		w := &witness{tree: sc.root, names: make(map[seenName]nameStamp)}
		facts := sc.readMachine(ctx, &m.caches, func(tree) tree { return w })
		if ctx.Err() != nil || facts.transient() {
			// What went wrong may go well the next time.
			m.facts = nil
			return facts
		}
		m.facts, m.names, m.moving = facts, w.names, moving
		m.caches.trim(facts)
		began = time.Now()
		m.changed(sc) // to know its cost
	}
	m.checked = time.Now()
	m.cost = m.checked.Sub(began)
	return m.facts
}

// changed reports whether anything that was looked at is not as it was.
func (m *machineMemory) changed(sc *scan) bool {
	for n, was := range m.names {
		if stampOf(sc.root, n) != was {
			return true
		}
	}
	return false
}

// transient reports whether something could not be read for a reason that passes.
func (m *machine) transient() bool {
	if slices.ContainsFunc(m.errs, transient) || transient(m.nextErr) {
		return true
	}
	return slices.ContainsFunc(m.images, func(i bootImage) bool { return transient(i.Err) }) ||
		slices.ContainsFunc(m.modules, func(r kmod.Result) bool { return transient(r.Err) }) ||
		slices.ContainsFunc(m.microcode, func(c cpuMicrocode) bool { return transient(c.installedErr) || transient(c.earlyErr) })
}

// transient reports whether an error says anything else than that something is not there,
// must not be read, or is damaged.
func transient(err error) bool {
	switch e := err.(type) {
	case nil:
		return false
	case syscall.Errno:
		return !slices.Contains([]syscall.Errno{syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.EPERM, syscall.ELOOP, syscall.EXDEV}, e)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), transient)
	case interface{ Unwrap() error }:
		return transient(e.Unwrap())
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// trim drops builds of images that are not there any more.
func (c *machineCaches) trim(m *machine) {
	there := make(map[buildKey]bool)
	for _, k := range m.images {
		there[buildKey{k.Info.ID, k.Info.Ctime, k.Info.Size}] = true
	}
	for key := range c.builds {
		if !there[key] {
			delete(c.builds, key)
		}
	}
}

// movingFacts are those parts of procfs and sysfs that change without a boot: the loaded
// modules, live patches, and the microcode, of which all processors get the same.
func movingFacts(sc *scan) string {
	const most = 4 << 20
	var modules, revision []byte
	var patches []kernel.Livepatch
	if proc, err := file.OpenRoot(sc.fs.Dir()); err == nil {
		modules, _ = proc.ReadFile("modules", most)
		proc.Close()
	}
	if sys, err := file.OpenRoot(sc.opts.Sys); err == nil {
		revision, _ = sys.ReadFile("devices/system/cpu/cpu0/microcode/version", most)
		patches, _ = kernel.ReadLivepatches(sys)
		sys.Close()
	}
	// Clocks are set while a machine boots, and after.
	booted := time.Time(sc.boot).Round(time.Minute).Unix()
	return fmt.Sprintf("%s\x00%s\x00%d\x00%+v", modules, revision, booted, patches)
}

// witness is a tree that takes note of what is looked at, and how that was before.
type witness struct {
	tree
	names map[seenName]nameStamp
}

func (w *witness) note(name string, link bool) {
	n := seenName{name, link}
	if _, ok := w.names[n]; !ok {
		w.names[n] = stampOf(w.tree, n)
	}
}

func stampOf(root tree, n seenName) nameStamp {
	if n.link {
		text, err := root.Readlink(n.name)
		if err != nil {
			return nameStamp{}
		}
		return nameStamp{target: text}
	}
	info, err := root.Stat(n.name)
	if err != nil {
		return nameStamp{}
	}
	return nameStamp{info.ID, info.Ctime.UnixNano(), info.Size, ""}
}

func (w *witness) Open(name string) (*os.File, error) {
	w.note(name, false)
	return w.tree.Open(name)
}

func (w *witness) Stat(name string) (file.Info, error) {
	w.note(name, false)
	return w.tree.Stat(name)
}

func (w *witness) ReadFile(name string, limit int64) ([]byte, error) {
	w.note(name, false)
	return w.tree.ReadFile(name, limit)
}

func (w *witness) ReadDir(name string, limit int) ([]string, error) {
	w.note(name, false)
	return w.tree.ReadDir(name, limit)
}

func (w *witness) Readlink(name string) (string, error) {
	w.note(name, true)
	return w.tree.Readlink(name)
}
