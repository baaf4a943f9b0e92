package kernel

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
)

// GrubChoice is the entry that GRUB would start.
type GrubChoice struct {
	Title string
	Path  string // of the kernel, on the file system that GRUB reads, without a device
	Once  bool   // it was chosen for the next boot only
}

// Choose finds the entry that GRUB starts with the environment block env and
// the boot loader specification's entries bls, if nobody chooses another one. The
// error is ErrUncertain with the reason.
func (c *GrubConfig) Choose(env map[string]string, bls []BLSEntry) (GrubChoice, error) {
	if c.strange != "" {
		return GrubChoice{}, uncertain("%s", c.strange)
	}
	name, once, err := c.defaultEntry(env)
	if err != nil {
		return GrubChoice{}, err
	}
	sorted := slices.Clone(bls)
	slices.SortStableFunc(sorted, func(a, b BLSEntry) int { return -compareVersions(a.ID, b.ID) })
	menu := make([]grubEntry, 0, len(c.entries)+len(sorted))
	for _, e := range c.entries {
		if !e.bls {
			menu = append(menu, e)
			continue
		}
		for _, b := range sorted {
			entry := grubEntry{title: b.Title, id: b.ID, maybe: e.maybe}
			if b.Linux != "" {
				entry.linux = []grubWord{{text: b.Linux, vars: strings.Contains(b.Linux, "$")}}
			}
			menu = append(menu, entry)
		}
	}
	choice, err := chooseEntry(menu, name)
	choice.Once = once
	return choice, err
}

// defaultEntry follows the assignments to default in their order.
func (c *GrubConfig) defaultEntry(env map[string]string) (name string, once bool, err error) {
	known := true
	for _, d := range c.defaults {
		value, isOnce, ok := expand(d.value, env)
		switch holds(d.when, env) {
		case yes:
			name, once, known = value, isOnce, ok
		case perhaps:
			known = known && ok && value == name
		}
	}
	if !known {
		return "", false, uncertain("the default entry depends on what is known at boot only")
	}
	return name, once, nil
}

// expand gives the value of what is assigned to default: plain text, or one of
// the two variables that grub-mkconfig(8) writes.
func expand(w grubWord, env map[string]string) (value string, once, ok bool) {
	switch w.text {
	case "${next_entry}", "$next_entry":
		return env["next_entry"], true, true
	case "${saved_entry}", "$saved_entry":
		return env["saved_entry"], false, true
	}
	return w.text, false, !w.vars
}

type truth int

const (
	no truth = iota
	perhaps
	yes
)

// holds is whether all conditions hold.
func holds(when []grubCondition, env map[string]string) truth {
	all := yes
	for _, c := range when {
		t := perhaps
		if !c.any {
			t = test(c.words, env)
			if c.not {
				t = yes - t
			}
		}
		all = min(all, t)
	}
	return all
}

// test knows the tests of grub-mkconfig(8) for variables of the environment
// block, [ "${next_entry}" ] and the like, and nothing else.
func test(words []grubWord, env map[string]string) truth {
	if len(words) < 3 || words[0].text != "[" || words[len(words)-1].text != "]" {
		return perhaps
	}
	args := words[1 : len(words)-1]
	want := true
	if len(args) > 1 && (args[0].text == "-n" || args[0].text == "-z") {
		want = args[0].text == "-n"
		args = args[1:]
	}
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(args[0].text, "$"), "{"), "}")
	if !args[0].vars || !slices.Contains([]string{"next_entry", "saved_entry", "prev_saved_entry", "boot_counter"}, name) {
		return perhaps
	}
	holds := (env[name] != "") == want
	switch {
	case len(args) == 1 && holds:
		return yes
	case len(args) == 1:
		return no
	case args[1].text == "-a" && !holds && !slices.ContainsFunc(args, func(w grubWord) bool { return w.text == "-o" }):
		return no
	}
	return perhaps
}

// chooseEntry finds the entry that name leads to: numbers from 0 on, titles or
// IDs, with ">" before an entry of a submenu and ">>" for that sign itself. Where
// it leads to nothing GRUB takes the first entry (grub-core/normal/menu.c).
func chooseEntry(menu []grubEntry, name string) (GrubChoice, error) {
	if len(menu) == 0 {
		return GrubChoice{}, uncertain("the menu has no entries")
	}
	first, rest := cutEntry(name)
	at := -1
	if isDigits(first) {
		if n, err := strconv.Atoi(first); err == nil && n < len(menu) {
			at = n
		}
	} else if first != "" {
		at = slices.IndexFunc(menu, func(e grubEntry) bool { return e.title == first || e.id == first })
	}
	byName := at >= 0 && !isDigits(first)
	if at < 0 {
		at, rest = 0, ""
	}
	for i, e := range menu[:at+1] {
		if e.maybe && (i == at || !byName) {
			return GrubChoice{}, uncertain("entry %.200q is there on some condition only", e.title)
		}
	}
	e := menu[at]
	switch {
	case e.isSubmenu && rest != "":
		return chooseEntry(e.submenu, rest)
	case e.isSubmenu:
		return GrubChoice{}, uncertain("the default entry %.200q is a submenu", e.title)
	case e.other != "":
		return GrubChoice{}, uncertain("entry %.200q runs %s", e.title, e.other)
	case len(e.linux) == 0:
		return GrubChoice{}, uncertain("entry %.200q starts no kernel", e.title)
	}
	choice := GrubChoice{Title: e.title}
	for _, w := range e.linux {
		p := w.text
		if end := strings.Index(p, ")"); strings.HasPrefix(p, "(") && end > 0 {
			p = p[end+1:]
		}
		if strings.Contains(p, "$") || choice.Path != "" && p != choice.Path {
			return GrubChoice{}, uncertain("entry %.200q starts one of several kernels", e.title)
		}
		choice.Path = p
	}
	return choice, nil
}

// cutEntry cuts the first part of an entry's name.
func cutEntry(name string) (first, rest string) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '>' {
			if i+1 == len(name) || name[i+1] != '>' {
				return b.String(), name[i+1:]
			}
			i++
		}
		b.WriteByte(name[i])
	}
	return b.String(), ""
}

// efiDir has a directory for each system that is to boot. RHEL 8 and Fedora up to
// 33 have the whole grub.cfg there, others one that only leads to /boot's.
const efiDir = "boot/efi/EFI"

// maxSystems bounds the systems of a machine; each may have a long script.
const maxSystems = 32

// readGrub is what GRUB would start.
func readGrub(root Root) (Next, error) {
	next, err := Next{}, error(ErrNoLoader)
	for _, dir := range []string{"boot/grub", "boot/grub2"} {
		n, nextErr := readGrubDir(root, dir)
		next, err = agree(next, err, n, nextErr)
	}
	systems, dirErr := readDir(root, efiDir)
	if dirErr == nil && len(systems) > maxSystems {
		dirErr = &Error{File: "/" + efiDir, Offset: -1, Err: errors.New("too many systems")}
	}
	if dirErr != nil {
		return next, dirErr // the one that counts may be there
	}
	for _, system := range systems {
		n, nextErr := readGrubDir(root, efiDir+"/"+system)
		next, err = agree(next, err, n, nextErr)
	}
	return next, err
}

func readGrubDir(root Root, dir string) (Next, error) {
	name := dir + "/grub.cfg"
	f, err := root.Open(name)
	if absent(err) {
		return Next{}, ErrNoLoader
	}
	n := Next{Loader: LoaderGRUB, Config: "/" + name}
	if err != nil {
		return n, err
	}
	defer f.Close()
	config, err := ParseGrub(f)
	if err != nil {
		return n, inFile(n.Config, err)
	}
	if len(config.entries) == 0 && strings.HasPrefix(dir, efiDir) {
		return Next{}, ErrNoLoader
	}
	return n.chooseGrub(root, dir, config)
}

func (n Next) chooseGrub(root Root, dir string, config *GrubConfig) (Next, error) {
	for _, s := range config.sources {
		base := path.Base(s.path)
		if base != "custom.cfg" && base != "user.cfg" {
			return n, uncertain("%s reads %.200q", n.Config, s.path)
		}
		data, err := root.ReadFile(dir+"/"+base, maxGrubEnv)
		if absent(err) {
			continue
		}
		if err != nil {
			return n, err
		}
		// All that grub2-setpassword(8) writes.
		if line := strings.TrimSpace(string(data)); line != "" && (!strings.HasPrefix(line, "GRUB2_PASSWORD=") || strings.ContainsAny(line, "\n;")) {
			return n, uncertain("%s reads /%s/%s", n.Config, dir, base)
		}
	}
	env, err := readGrubEnv(root, dir+"/grubenv")
	if err != nil {
		return n, err
	}
	var bls []BLSEntry
	if slices.ContainsFunc(config.entries, func(e grubEntry) bool { return e.bls }) {
		if bls, err = readBLS(root, "boot/loader/entries"); err != nil {
			return n, err
		}
	}
	choice, err := config.Choose(env, bls)
	if err != nil {
		return n, inFile(n.Config, err)
	}
	n.Entry, n.Path, n.Once = choice.Title, choice.Path, choice.Once
	return n, n.resolve(root, grubFiles(choice.Path))
}

// readGrubEnv reads an environment block. One that is missing or empty is as
// good as none.
func readGrubEnv(root Root, name string) (map[string]string, error) {
	f, err := root.Open(name)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		return nil, nil
	}
	env, err := ParseGrubEnv(f)
	return env, inFile("/"+name, err)
}
