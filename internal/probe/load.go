package probe

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// loader loads programs of bpf/sensor.bpf.c that share one set of maps.
type loader struct {
	spec      *ebpf.CollectionSpec
	cache     *btf.Cache
	maps      map[string]*ebpf.Map
	variables map[string]*ebpf.Variable
	mu        sync.Mutex // of programs: counters are read while others are unloaded
	programs  map[string]*ebpf.Program
}

// newLoader makes the maps and loads the programs that are run but not attached.
func newLoader(o TracerOptions) (*loader, error) {
	spec, err := loadSensor()
	if err != nil {
		return nil, err
	}
	spec.Maps[sensorMapRing].MaxEntries = uint32(o.RingBytes)
	spec.Maps[sensorMapMarks].MaxEntries = uint32(o.Marks)
	if err := spec.Variables[sensorVarRate].Set(uint32(o.Rate)); err != nil {
		return nil, err
	}
	l := &loader{spec: spec, cache: btf.NewCache(), programs: make(map[string]*ebpf.Program)}
	c, err := l.collection(sensorProgLocate, sensorProgSync)
	if err != nil {
		return nil, err
	}
	l.maps, l.variables = c.Maps, c.Variables
	maps.Copy(l.programs, c.Programs)
	return l, nil
}

func (l *loader) collection(programs ...string) (*ebpf.Collection, error) {
	spec := l.spec.Copy()
	wanted := make(map[string]*ebpf.ProgramSpec, len(programs))
	for _, name := range programs {
		wanted[name] = spec.Programs[name]
	}
	spec.Programs = wanted
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: l.maps, Cache: l.cache})
}

// load loads one program, which lives until unload or Close.
func (l *loader) load(name string) (*ebpf.Program, error) {
	c, err := l.collection(name)
	if err != nil {
		return nil, plain(err)
	}
	p := c.DetachProgram(name)
	c.Close() // its maps are duplicates
	l.mu.Lock()
	defer l.mu.Unlock()
	l.programs[name] = p
	return p, nil
}

// settle lets go of what programs are loaded from once all are: the collector of garbage
// would look through some 5 MB, mostly of the kernel's types, for as long as the sensor
// runs.
func (l *loader) settle() { l.spec, l.cache = nil, nil }

func (l *loader) unload(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.programs[name].Close()
	delete(l.programs, name)
}

// attach loads and attaches the first variant of a hook that this kernel allows.
func (l *loader) attach(h hook) (link.Link, error) {
	var errs []error
	for _, v := range h {
		p, err := l.load(v.program)
		if err != nil {
			errs = append(errs, fmt.Errorf("load %s: %w", v.program, err))
			continue
		}
		at, err := v.attach(p)
		if err != nil {
			l.unload(v.program)
			errs = append(errs, fmt.Errorf("attach %s: %w", v.program, plain(err)))
			continue
		}
		return attachedProgram{at, l, v.program}, nil
	}
	return nil, errors.Join(errs...)
}

// attachedProgram unloads the program with its link.
type attachedProgram struct {
	link.Link
	loader *loader
	name   string
}

func (a attachedProgram) Close() error {
	err := a.Link.Close()
	a.loader.unload(a.name)
	return err
}

func (l *loader) set(variable string, value uint32) error {
	if err := l.variables[variable].Set(value); err != nil {
		return fmt.Errorf("set %s: %w", variable, err)
	}
	return nil
}

// run runs a program in this process's own context (BPF_PROG_TEST_RUN) and returns
// what it does.
func (l *loader) run(name string, argument uint64) (uint32, error) {
	l.mu.Lock()
	p := l.programs[name]
	l.mu.Unlock()
	ret, err := p.Run(&ebpf.RunOptions{Context: argument})
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", name, plain(err))
	}
	return ret, nil
}

// misses is how often programs were skipped because another run of theirs on the
// same CPU was going on, which had been preempted: those of fentry everywhere, those
// of tracepoints as well on newer kernels (7.2 for one; not yet 6.18). It is known
// where it happens at all, but for kprobes only since Linux 6.7.
func (l *loader) misses() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n uint64
	for _, p := range l.programs {
		if s, err := p.Stats(); err == nil {
			n += s.RecursionMisses
		}
	}
	return n
}

func (l *loader) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, p := range l.programs {
		errs = append(errs, p.Close())
	}
	for _, m := range l.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
