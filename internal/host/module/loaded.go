package module

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Limits of what the kernel says of its modules.
const (
	maxModules = 16384    // loaded; a desktop has 200
	maxLine    = 1 << 20  // bytes of one line, with the names of all holders
	maxName    = 128      // bytes; MODULE_NAME_LEN is below 64
	maxListing = 32 << 20 // bytes of /proc/modules
	maxAttr    = 4096     // bytes of a file of sysfs: one page
	maxHolders = 1 << 16  // of all modules together
)

// Loaded is one loaded module as the kernel tells of it. What it does not tell is
// empty.
type Loaded struct {
	Name string // as the kernel spells it, with _ for -
	Size uint64 // bytes of memory
	// Refcount counts its users, the modules in Holders among them; -1 if the
	// kernel cannot unload modules, or is just unloading this one.
	Refcount int
	// Holders are the modules that use it, sorted.
	Holders []string
	// State is "live", "coming" or "going".
	State string
	// Taint are the letters by which it taints the kernel: P proprietary, O out of
	// tree, E unsigned and others (Documentation/admin-guide/tainted-kernels.rst).
	Taint string
	// Permanent: it has no exit function, so the kernel refuses to unload it. Only
	// /proc/modules tells.
	Permanent  bool
	Srcversion string // hash of the module's sources
	Version    string // MODULE_VERSION
	BuildID    string // lower-case hex
}

// ReadLoaded lists the loaded modules, sorted by name, from procfs and sysfs at the
// roots proc and sys. A kernel without loadable modules has none. The error joins
// what could not be read; the list is what could.
func ReadLoaded(proc, sys Root) ([]Loaded, error) {
	var list []Loaded
	var errs []error
	f, err := proc.Open("modules")
	switch {
	case err == nil:
		list, err = ParseModules(f)
		f.Close()
	case errors.Is(err, fs.ErrNotExist):
		list, err = listSysfs(sys)
	}
	if err != nil {
		errs = append(errs, defect("modules", -1, err))
	}
	holders := maxHolders
	for i := range list {
		if err := readSysfs(sys, &list[i], &holders); err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(list, func(a, b Loaded) int { return strings.Compare(a.Name, b.Name) })
	return list, errors.Join(errs...)
}

// ParseModules parses /proc/modules (m_show of kernel/module/procfs.c):
//
//	NAME SIZE REFCOUNT HOLDER,HOLDER,[permanent], Live 0xADDRESS (TAINT)
//
// with - for no holders, and - for the count if modules cannot be unloaded. The
// error is an *Error; what stands before the bad line is returned, too.
func ParseModules(r io.Reader) ([]Loaded, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	var list []Loaded
	var start, next uint64
	in.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, token, err := bufio.ScanLines(data, atEOF)
		next += uint64(n)
		return n, token, err
	})
	holders := maxHolders
	for ; in.Scan(); start = next {
		switch {
		case len(list) == maxModules:
			return list, formatErrorf(start, "more than %d modules", maxModules)
		case next > maxListing:
			return list, formatErrorf(start, "more than %d bytes", maxListing)
		}
		l, err := parseModule(in.Text())
		if err != nil {
			return list, formatErrorf(start, "%w", err)
		}
		if holders -= len(l.Holders); holders < 0 {
			return list, formatErrorf(start, "more than %d holders", maxHolders)
		}
		list = append(list, l)
	}
	if err := in.Err(); err != nil {
		return list, formatErrorf(start, "%w", err)
	}
	return list, nil
}

func parseModule(line string) (Loaded, error) {
	words := strings.Fields(line)
	if len(words) < 5 {
		return Loaded{}, fmt.Errorf("%d words where a module has 5", len(words))
	}
	l := Loaded{Name: words[0], Refcount: -1}
	if !validName(l.Name) {
		return Loaded{}, fmt.Errorf("%q is no name of a module", clip(l.Name))
	}
	var err error
	if l.Size, err = strconv.ParseUint(words[1], 10, 64); err != nil {
		return Loaded{}, fmt.Errorf("size %q", clip(words[1]))
	}
	if words[2] != "-" {
		if l.Refcount, err = parseCount(words[2]); err != nil {
			return Loaded{}, err
		}
	}
	if words[3] != "-" {
		for h := range strings.SplitSeq(words[3], ",") {
			switch {
			case h == "[permanent]":
				l.Permanent = true
			case h == "":
			case !validName(h):
				return Loaded{}, fmt.Errorf("%q is no list of holders", clip(words[3]))
			default:
				l.Holders = append(l.Holders, h)
			}
		}
		slices.Sort(l.Holders)
	}
	switch words[4] {
	case "Live":
		l.State = "live"
	case "Loading":
		l.State = "coming"
	case "Unloading":
		l.State = "going"
	default:
		return Loaded{}, fmt.Errorf("state %q", clip(words[4]))
	}
	if last := words[len(words)-1]; len(words) > 5 && len(last) <= 64 && last[0] == '(' {
		// + and - repeat the state.
		l.Taint = strings.Trim(last, "()+-")
	}
	return l, nil
}

// parseCount reads a count of users, which is -1 while a module goes.
func parseCount(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < -1 {
		return -1, fmt.Errorf("count of users %q", clip(s))
	}
	return int(n), nil
}

// listSysfs finds modules where /proc/modules is hidden: built-in ones have no
// initstate (kernel/params.c against kernel/module/sysfs.c). The error is an *Error.
func listSysfs(sys Root) ([]Loaded, error) {
	names, err := sys.ReadDir("module", maxModules+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if len(names) > maxModules {
		names = names[:maxModules]
		err = fmt.Errorf("more than %d entries", maxModules)
	}
	var list []Loaded
	for _, name := range names {
		if !validName(name) {
			continue
		}
		if _, err := sys.Stat("module/" + name + "/initstate"); err == nil {
			list = append(list, Loaded{Name: name, Refcount: -1})
		}
	}
	if err != nil {
		return list, defect("module", -1, err)
	}
	return list, nil
}

// readSysfs adds what /sys/module/NAME tells, and takes its holders off holders. A
// module that is being unloaded loses its directory, which is no error.
func readSysfs(sys Root, l *Loaded, holders *int) error {
	dir := "module/" + l.Name + "/"
	var errs []error
	read := func(name string) []byte {
		b, err := sys.ReadFile(dir+name, maxAttr)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, defect(dir+name, -1, err))
		}
		return b
	}
	attr := func(name string) string {
		b := bytes.TrimRight(read(name), "\n")
		if len(b) > maxWord {
			errs = append(errs, defect(dir+name, 0, fmt.Errorf("%d bytes where %d are allowed", len(b), maxWord)))
			return ""
		}
		return string(b)
	}
	l.Srcversion, l.Version = attr("srcversion"), attr("version")
	if s := attr("taint"); s != "" {
		l.Taint = s
	}
	if s := attr("initstate"); s == "live" || s == "coming" || s == "going" {
		l.State = s
	} else if s != "" {
		errs = append(errs, defect(dir+"initstate", 0, fmt.Errorf("state %q", clip(s))))
	}
	if s := attr("refcnt"); s != "" {
		n, err := parseCount(s)
		if err != nil {
			errs = append(errs, defect(dir+"refcnt", 0, err))
		}
		l.Refcount = n
	}
	switch names, err := sys.ReadDir(dir+"holders", *holders+1); {
	case err == nil && len(names) > *holders:
		errs = append(errs, defect(dir+"holders", -1, fmt.Errorf("more than %d holders of modules", maxHolders)))
		*holders = 0
	case err == nil:
		*holders -= len(names)
		l.Holders = slices.DeleteFunc(names, func(n string) bool { return !validName(n) })
		slices.Sort(l.Holders)
	}
	const note = "notes/.note.gnu.build-id"
	if b := read(note); len(b) > 0 {
		id, err := parseBuildID(b, binary.NativeEndian)
		if err != nil {
			errs = append(errs, defect(dir+note, 0, err))
		}
		l.BuildID = id
	}
	return errors.Join(errs...)
}

// validName says that name may be a module's: one component of a path, without
// anything that would be misread.
func validName(name string) bool {
	if name == "" || len(name) > maxName || name == "." || name == ".." {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ',' || r == 0x7f })
}

// normal is the spelling under which the kernel knows a module: - and _ are equal.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// clip bounds what a message quotes.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
