package kernel

import (
	"errors"
	"fmt"
	"slices"
)

// Livepatch is one patch of the running kernel's code.
type Livepatch struct {
	Name       string // the module that brought it
	Enabled    bool   // it is applied, or being applied; else it is being taken back
	Transition bool   // some tasks still run the other code: not yet effective everywhere
	Objects    []PatchedObject
}

// PatchedObject is something that a patch changes: "vmlinux" or a module.
type PatchedObject struct {
	Name    string
	Patched bool // false for a module that is not loaded; and for kernels before 6.1, which do not tell
}

// Limits of the patches of a machine, which has one or a few.
const (
	maxPatches = 256
	maxObjects = 1024 // of all patches together; a patch changes a few modules
)

// ReadLivepatches lists the live patches that the running kernel has, sorted by
// name; sys is a mount of sysfs. A kernel without any, or without the feature,
// has none. A patch whose state cannot be read is left out and is in the error;
// the others are returned beside it.
func ReadLivepatches(sys Root) ([]Livepatch, error) {
	const dir = "kernel/livepatch"
	names, err := readDirUpTo(sys, dir, maxPatches)
	var patches []Livepatch
	left := maxObjects
	for _, name := range names {
		p, patchErr := readLivepatch(sys, dir+"/"+name, name, &left)
		if left < 0 {
			return patches, errors.Join(err, patchErr)
		}
		if patchErr != nil {
			if !absent(patchErr) { // it has gone meanwhile
				err = errors.Join(err, patchErr)
			}
			continue
		}
		patches = append(patches, p)
	}
	return patches, err
}

func readLivepatch(sys Root, dir, name string, left *int) (Livepatch, error) {
	p := Livepatch{Name: name}
	var err error
	if p.Enabled, err = readFlag(sys, dir+"/enabled"); err != nil {
		return p, err
	}
	if p.Transition, err = readFlag(sys, dir+"/transition"); err != nil {
		return p, err
	}
	objects, err := readDirUpTo(sys, dir, maxObjects)
	if err != nil {
		return p, err
	}
	for _, object := range objects {
		// An object is a directory of functions; the rest are attributes and,
		// on a few kernels, links.
		if slices.Contains([]string{"power", "holders"}, object) {
			continue
		}
		if _, err := sys.ReadDir(dir+"/"+object, 1); err != nil {
			continue
		}
		if *left--; *left < 0 {
			return p, &Error{File: "/" + dir, Offset: -1, Err: fmt.Errorf("more than %d patched objects", maxObjects)}
		}
		patched, err := readFlag(sys, dir+"/"+object+"/patched")
		if err != nil && !absent(err) {
			return p, err
		}
		p.Objects = append(p.Objects, PatchedObject{Name: object, Patched: patched})
	}
	return p, nil
}

func readFlag(root Root, name string) (bool, error) {
	switch line, err := readLine(root, name); {
	case err != nil:
		return false, err
	case line == "0":
		return false, nil
	case line == "1":
		return true, nil
	default:
		return false, inFile(name, errorAt(0, "%.20q is neither 0 nor 1", line))
	}
}

// String is for messages: "livepatch_x (enabled)".
func (p Livepatch) String() string {
	state := "disabled"
	switch {
	case p.Transition && p.Enabled:
		state = "being applied"
	case p.Transition:
		state = "being taken back"
	case p.Enabled:
		state = "enabled"
	}
	return fmt.Sprintf("%s (%s)", p.Name, state)
}
