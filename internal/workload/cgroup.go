package workload

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of one /proc/PID/cgroup. The kernel prints a line per mounted
// hierarchy, at most PATH_MAX bytes of path each; real machines have up to 15.
const (
	maxCgroupBytes = 1 << 20
	maxCgroups     = 256
)

// deleted is what the kernel adds to the path of a removed cgroup, in the
// version 2 hierarchy only (kernel/cgroup/cgroup.c, proc_cgroup_show).
const deleted = " (deleted)"

// ParseCgroups reads a /proc/PID/cgroup: lines "HIERARCHY:CONTROLLERS:PATH"
// (cgroups(7)), in the order of the file. The path is raw: it is not escaped,
// it may hold colons and any bytes but newlines, which cgroup_mkdir and
// cgroup1_rename refuse for the sake of this file. The mark " (deleted)" of a
// removed version 2 cgroup is taken off; a cgroup whose own name ends so
// cannot be told from it.
//
// Lines that do not fit are left out, and the first of them is the error, with
// its byte offset; what fits is returned beside it.
func ParseCgroups(r io.Reader) ([]Cgroup, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxCgroupBytes+1))
	if err == nil && len(data) > maxCgroupBytes {
		err = fmt.Errorf("more than %d bytes", maxCgroupBytes)
	}
	text := string(data)
	if err != nil {
		// The last line may be cut, and a cut path names another cgroup.
		text = text[:strings.LastIndexByte(text, '\n')+1]
		err = fmt.Errorf("cgroup: offset %d: %w", len(text), err)
	}

	var cgroups []Cgroup
	for at := 0; at < len(text); {
		line := text[at:]
		if end := strings.IndexByte(line, '\n'); end >= 0 {
			line = line[:end]
		}
		if len(cgroups) == maxCgroups {
			return cgroups, errors.Join(err, fmt.Errorf("cgroup: offset %d: more than %d lines", at, maxCgroups))
		}
		c, lineErr := parseCgroup(line)
		if lineErr == nil {
			cgroups = append(cgroups, c)
		} else if err == nil {
			err = fmt.Errorf("cgroup: offset %d: %w", at, lineErr)
		}
		at += len(line) + 1
	}
	return cgroups, err
}

func parseCgroup(line string) (Cgroup, error) {
	id, rest, ok := strings.Cut(line, ":")
	if !ok {
		return Cgroup{}, errors.New("no hierarchy")
	}
	hierarchy, err := strconv.ParseUint(id, 10, 31)
	if err != nil {
		return Cgroup{}, errors.New("hierarchy is not a number")
	}
	controllers, path, ok := strings.Cut(rest, ":")
	if !ok || !strings.HasPrefix(path, "/") {
		return Cgroup{}, errors.New("no absolute path")
	}
	if hierarchy == 0 {
		path = strings.TrimSuffix(path, deleted)
	}
	return Cgroup{Hierarchy: int(hierarchy), Controllers: controllers, Path: path}, nil
}

// SystemdPath returns the cgroup path in which systemd would keep its units:
// that of the hierarchy "name=systemd" where there is one (version 1 and
// hybrid) and it says more than "/", else that of version 2. It is empty when
// there is neither.
//
// A reader in a cgroup namespace sees everything relative to the namespace's
// root, so the path of a process outside begins with as many "/.." as that
// root is deep or less (cgroup_namespaces(7)). They are taken off, because what
// follows them is below a directory that is an ancestor of the reader, for a
// sensor in a container mostly the root or system.slice. Where what follows
// can only be a part of a user's service manager, the path is returned as it
// is: whose manager it is cannot be told.
func SystemdPath(cgroups []Cgroup) string {
	unified := ""
	for _, c := range cgroups {
		path := fromNamespace(c.Path)
		switch {
		case c.Hierarchy == 0:
			unified = path
		case c.Controllers == "name=systemd" && path != "/":
			return path
		}
	}
	return unified
}

// fromNamespace takes the leading ".." components off, which are no names: a
// directory cannot be called so.
func fromNamespace(path string) string {
	rest := path
	for rest == "/.." || strings.HasPrefix(rest, "/../") {
		rest = rest[len("/.."):]
	}
	if rest == "" {
		return "/"
	}
	if len(rest) == len(path) {
		return path
	}
	// The slices of systemd.special(7) that only a user's manager has.
	first, _, _ := strings.Cut(rest[1:], "/")
	switch first {
	case "app.slice", "session.slice", "background.slice":
		return path
	}
	return rest
}
