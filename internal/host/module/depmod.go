package module

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Limits of depmod's configuration.
const (
	maxConfigFiles = 256
	maxConfig      = 64 << 10 // bytes of one file
	maxRules       = 256      // of one kind, in all files
)

// configDirs hold depmod.d(5)'s files, those that win first: a file hides others of its
// name in later directories.
var configDirs = [...]string{"etc/depmod.d", "run/depmod.d", "usr/local/lib/depmod.d", "usr/lib/depmod.d", "lib/depmod.d"}

// builtinWord stands for the kernel's own directories in a search line.
const builtinWord = "built-in"

// order says which of several files of one module depmod takes (depmod.d(5)).
type order struct {
	search    []string        // directories, the best first, builtinWord among them
	overrides map[string]bool // DIRECTORY/NAME, without .ko, - as _
	exclude   []string        // names of directories that are not looked at
}

// readOrder reads depmod.d(5) for one kernel release. The error joins what could not
// be read.
func readOrder(root Root, release string) (order, error) {
	o := order{overrides: make(map[string]bool)}
	files, errs := configFiles(root)
	for _, name := range files {
		b, err := root.ReadFile(name, maxConfig)
		if err != nil {
			errs = append(errs, defect(name, -1, err))
			continue
		}
		if err := o.parse(b, release); err != nil {
			errs = append(errs, defect(name, -1, err))
		}
	}
	if len(o.search) == 0 {
		o.search = []string{"updates", builtinWord}
	}
	return o, errors.Join(errs...)
}

// configFiles names the files that count, in the order of their names.
func configFiles(root Root) ([]string, []error) {
	var errs []error
	found := make(map[string]string)
	for _, dir := range configDirs {
		names, err := root.ReadDir(dir, maxConfigFiles+1)
		if len(names) > maxConfigFiles {
			names, err = names[:maxConfigFiles], fmt.Errorf("more than %d entries", maxConfigFiles)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, defect(dir, -1, err))
		}
		for _, name := range names {
			if found[name] == "" && strings.HasSuffix(name, ".conf") && name[0] != '.' {
				found[name] = path.Join(dir, name)
			}
		}
	}
	var files []string
	for _, name := range found {
		files = append(files, name)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return files, errs
}

// parse adds the rules of one file that hold for release. The error is an *Error
// without a file name.
func (o *order) parse(b []byte, release string) error {
	text := strings.ReplaceAll(string(b), "\\\n", "  ") // a continued line; offsets stay
	var start uint64
	for line := range strings.Lines(text) {
		err := o.rule(strings.Fields(line), release)
		if err != nil {
			return formatErrorf(start, "%w", err)
		}
		start += uint64(len(line))
	}
	return nil
}

func (o *order) rule(words []string, release string) error {
	if len(words) == 0 || words[0][0] == '#' {
		return nil
	}
	switch words[0] {
	case "search":
		if len(o.search)+len(words) > maxRules {
			return fmt.Errorf("more than %d directories to search", maxRules)
		}
		for _, dir := range words[1:] {
			o.search = append(o.search, strings.Trim(dir, "/"))
		}
	case "override":
		if len(words) != 4 {
			return fmt.Errorf("override of %d words", len(words)-1)
		}
		if len(o.overrides) == maxRules {
			return fmt.Errorf("more than %d overrides", maxRules)
		}
		if ok, err := matches(words[2], release); err != nil || !ok {
			return err
		}
		o.overrides[path.Join(words[3], normal(words[1]))] = true
	case "exclude":
		if len(o.exclude)+len(words) > maxRules {
			return fmt.Errorf("more than %d directories to exclude", maxRules)
		}
		o.exclude = append(o.exclude, words[1:]...)
	}
	// Others, and external, which names directories that are only looked at when an
	// index is made, and are in it then by their absolute names.
	return nil
}

// matches says whether a rule for the kernels of pattern, * or a POSIX expression
// that matches anywhere in it, holds for release. The matcher takes linear time.
func matches(pattern, release string) (bool, error) {
	if pattern == "*" {
		return true, nil
	}
	if len(pattern) > 256 {
		return false, fmt.Errorf("expression of %d bytes", len(pattern))
	}
	re, err := regexp.CompilePOSIX(pattern)
	if err != nil {
		return false, fmt.Errorf("expression: %w", err)
	}
	return re.MatchString(release), nil
}

// rank orders files of one module, given relative to the release's directory: the
// lowest wins (depmod_module_is_higher_priority of kmod's tools/depmod.c).
func (o *order) rank(name string) int {
	if o.overrides[path.Join(path.Dir(name), moduleName(name))] {
		return -1
	}
	builtin := len(o.search)
	for i, dir := range o.search {
		if dir == builtinWord {
			builtin = i
		} else if strings.HasPrefix(name, dir+"/") {
			return i
		}
	}
	return builtin
}

// moduleName returns the name of the module that a file holds, empty if it is none
// by its name.
func moduleName(file string) string {
	base := path.Base(file)
	for _, ext := range [...]string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"} {
		if name, ok := strings.CutSuffix(base, ext); ok && validName(name) {
			return normal(name)
		}
	}
	return ""
}
