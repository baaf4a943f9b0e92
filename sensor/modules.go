package sensor

import (
	"context"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// Managers of what no package database has, but a program says itself that it was built
// from: the names by which these ecosystems' tools are known.
const (
	managerGo    = "go"
	managerCargo = "cargo"
	managerNote  = "note" // a package note, whatever kind of package it claims
)

// module is something that a file says it was built from, or that it is.
type module struct {
	manager, name, version string
	itself                 bool
}

// modulesOf lists what a file says it was built from, itself first; none if it says
// nothing. It is the file's own claim.
func (sc *scan) modulesOf(ctx context.Context, r file.Ref) []module {
	var list []module
	if e, err := usable(sc.cache.Facts(ctx, r.Key, r.Open)); err == nil && e.PackageNote != nil && e.PackageNote.Name != "" {
		n := e.PackageNote
		if len(n.Name) <= maxNoteWord && len(n.Version) <= maxNoteWord {
			list = append(list, module{managerNote, n.Name, n.Version, true})
		}
	}
	// What could be read of a list that contradicts itself counts.
	m, _ := sc.cache.Modules(ctx, r.Key, r.Open)
	for i, one := range append([]file.Module{m.Main}, m.Deps...) {
		if one.Path == "" {
			continue
		}
		manager := managerCargo
		if one.Ecosystem == file.EcosystemGo {
			manager = managerGo
		}
		list = append(list, module{manager, one.Path, one.Version, i == 0})
	}
	return list
}

// maxNoteWord bounds what a note says, in bytes.
const maxNoteWord = 256

// noteManager is the manager of the packages that a note of a type is about (systemd's
// "Package Metadata for Executable Files").
func noteManager(kind string) string {
	switch kind {
	case "deb":
		return "dpkg"
	case "alpm":
		return "pacman"
	}
	return kind
}

// moduleLoad is a module in the version that runs, and as the file on disk has it.
type moduleLoad struct {
	pkg    owner.Package
	loaded string
}

// maxModuleLoads bounds the modules of one file that are reported.
const maxModuleLoads = 100

// moduleLoads are the modules of a file that no package ships: the program itself, and
// what of it has another version in the file that would be loaded now.
func (sc *scan) moduleLoads(ctx context.Context, j *judgement) []moduleLoad {
	c := j.class
	if !c.file.known || j.verdict.Reason == Overwritten {
		return nil // what it was is lost
	}
	if c.modules == nil {
		list := sc.moduleLoadsOf(ctx, c)
		c.modules = &list
	}
	return *c.modules
}

func (sc *scan) moduleLoadsOf(ctx context.Context, c *class) []moduleLoad {
	loaded := sc.modulesOf(ctx, sc.ref(c.file))
	if len(loaded) == 0 {
		return nil
	}
	type name struct{ manager, name string }
	now := make(map[name]string)
	if c.otherOK && c.other.Regular() {
		for _, m := range sc.modulesOf(ctx, file.Ref{Key: keyOf(c), Open: opener(c)}) {
			now[name{m.manager, m.name}] = m.version
		}
	}
	var list []moduleLoad
	for _, m := range loaded {
		version, there := now[name{m.manager, m.name}]
		if !m.itself && (!there || version == m.version) || len(list) == maxModuleLoads {
			continue
		}
		list = append(list, moduleLoad{owner.Package{
			Manager: m.manager, Name: m.name, Source: m.name, Version: version, SourceVersion: version, State: owner.StateInstalled,
		}, m.version})
	}
	return list
}

// explainModules says what a file that no package ships was built from.
func (sc *scan) explainModules(ctx context.Context, l *loaded) []string {
	if !l.known {
		return nil
	}
	r := sc.ref(l)
	var list []string
	for _, m := range sc.modulesOf(ctx, r) {
		list = append(list, text(m.manager+" "+m.name+" "+m.version))
	}
	return list
}
