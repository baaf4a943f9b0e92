package kernel

import (
	"io"
	"strings"
)

// Limits of a configuration of GRUB.
const (
	maxGrubConfig  = 4 << 20
	maxGrubEntries = 4096
	maxGrubDepth   = 64
)

// GrubConfig is what a grub.cfg says of its menu. The script is not evaluated:
// what is here is what it would do on every machine, and on what conditions.
type GrubConfig struct {
	entries  []grubEntry
	defaults []grubDefault
	sources  []grubSource
	strange  string // why what will boot cannot be told
}

// grubEntry is one line of the menu.
type grubEntry struct {
	title, id string
	submenu   []grubEntry
	isSubmenu bool
	bls       bool // stands for the entries of boot/loader/entries
	maybe     bool // it is there only on some condition
	linux     []grubWord
	other     string // a command that starts something else
}

// grubDefault is one assignment to the variable default.
type grubDefault struct {
	value grubWord
	when  []grubCondition
}

// grubSource is another script that is read.
type grubSource struct{ path string }

// grubTitle finds the title and the ID among the words behind menuentry. The
// variable menuentry_id_option is what grub-mkconfig(8) writes for --id.
func grubTitle(args []grubWord) (title, id string) {
	named := false
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a.is("--id"), a.is("$menuentry_id_option"), a.is("${menuentry_id_option}"):
			if i++; i < len(args) {
				id = args[i].text
			}
		case strings.HasPrefix(a.text, "--id="):
			id = a.text[len("--id="):]
		case a.is("--class"), a.is("--users"), a.is("--hotkey"), a.is("--source"):
			i++
		case strings.HasPrefix(a.text, "--"):
		case !named:
			title, named = a.text, true
		}
	}
	if id == "" {
		id = title
	}
	return title, id
}

// grubCondition is what stands behind if, or not, for what stands behind else.
type grubCondition struct {
	words []grubWord
	not   bool
	any   bool // elif: not looked at
}

// grubFrame is a construct that is open.
type grubFrame struct {
	kind  string // "if", "loop", "function", "menuentry", "submenu"
	cond  grubCondition
	entry *grubEntry
}

type grubParser struct {
	config *GrubConfig
	frames []grubFrame
	count  int
}

// ParseGrub reads a grub.cfg. The error is an *Error for a script that is no
// GRUB script or is larger than any real one.
func ParseGrub(r io.Reader) (*GrubConfig, error) {
	data, err := readAll(r, maxGrubConfig)
	if err != nil {
		return nil, err
	}
	l := grubLexer{data: string(data)}
	p := grubParser{config: &GrubConfig{}}
	for {
		at := int64(l.pos)
		words, ok, err := l.command()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if problem := p.command(words); problem != "" {
			return nil, errorAt(at, "%s", problem)
		}
	}
	if len(p.frames) > 0 {
		return nil, errorAt(int64(len(data)), "%s is not closed", p.frames[len(p.frames)-1].kind)
	}
	return p.config, nil
}

// command takes one command; keywords may stand before it.
func (p *grubParser) command(words []grubWord) (problem string) {
	for len(words) > 0 {
		w := words[0]
		switch {
		case w.is("then"), w.is("do"):
			words = words[1:]
		case w.is("if"):
			return p.push(grubFrame{kind: "if", cond: grubCondition{words: words[1:]}})
		case w.is("elif"), w.is("else"):
			top := p.top()
			if top == nil || top.kind != "if" {
				return w.text + " without if"
			}
			if w.is("elif") {
				top.cond.any = true
				return ""
			}
			top.cond.not = true
			words = words[1:]
		case w.is("fi"):
			if !p.pop("if") {
				return "fi without if"
			}
			words = words[1:]
		case w.is("while"), w.is("until"), w.is("for"):
			return p.push(grubFrame{kind: "loop"})
		case w.is("done"):
			if !p.pop("loop") {
				return "done without a loop"
			}
			words = words[1:]
		case w.is("}"):
			if !p.pop("function", "menuentry", "submenu") {
				return "} without {"
			}
			words = words[1:]
		case w.is("function"), w.is("menuentry"), w.is("submenu"):
			brace := 1
			for brace < len(words) && !words[brace].is("{") {
				brace++
			}
			if brace == len(words) {
				return w.text + " without {"
			}
			if problem := p.open(w.text, words[1:brace]); problem != "" {
				return problem
			}
			words = words[brace+1:]
		default:
			p.simple(words)
			return ""
		}
	}
	return ""
}

func (p *grubParser) top() *grubFrame {
	if len(p.frames) == 0 {
		return nil
	}
	return &p.frames[len(p.frames)-1]
}

func (p *grubParser) push(f grubFrame) (problem string) {
	if len(p.frames) == maxGrubDepth {
		return "too many nested constructs"
	}
	p.frames = append(p.frames, f)
	return ""
}

func (p *grubParser) pop(kinds ...string) bool {
	top := p.top()
	for _, k := range kinds {
		if top != nil && top.kind == k {
			frame := *top
			p.frames = p.frames[:len(p.frames)-1]
			if frame.entry != nil {
				p.add(*frame.entry)
			}
			return true
		}
	}
	return false
}

// open begins a function, an entry or a submenu.
func (p *grubParser) open(kind string, args []grubWord) (problem string) {
	f := grubFrame{kind: kind}
	if kind != "function" {
		if p.count++; p.count > maxGrubEntries {
			return "too many entries"
		}
		title, id := grubTitle(args)
		f.entry = &grubEntry{title: title, id: id, isSubmenu: kind == "submenu", maybe: p.conditional()}
	}
	return p.push(f)
}

// add puts an entry into the menu or submenu that is open. One inside a function
// or another entry is made when that runs, if ever.
func (p *grubParser) add(e grubEntry) {
	for i := len(p.frames) - 1; i >= 0; i-- {
		switch f := &p.frames[i]; f.kind {
		case "submenu":
			f.entry.submenu = append(f.entry.submenu, e)
			return
		case "function", "menuentry":
			p.odd("menuentry in a function or entry")
			return
		}
	}
	p.config.entries = append(p.config.entries, e)
}

// conditional reports whether what stands here runs only on some condition, in
// the menu that is open.
func (p *grubParser) conditional() bool {
	for i := len(p.frames) - 1; i >= 0; i-- {
		switch p.frames[i].kind {
		case "if", "loop":
			return true
		case "submenu", "menuentry":
			return false
		}
	}
	return false
}

// inside returns the innermost function, entry or submenu that is open, nil for
// none.
func (p *grubParser) inside() *grubFrame {
	for i := len(p.frames) - 1; i >= 0; i-- {
		if k := p.frames[i].kind; k != "if" && k != "loop" {
			return &p.frames[i]
		}
	}
	return nil
}

// simple takes a command that is no keyword.
func (p *grubParser) simple(words []grubWord) {
	name, args := words[0].text, words[1:]
	if name == "set" && len(args) > 0 {
		name, args = args[0].text, nil
		words = words[1:]
	}
	if variable, value, ok := strings.Cut(name, "="); ok {
		if variable == "default" {
			p.setDefault(grubWord{text: value, vars: words[0].vars})
		}
		return
	}
	frame := p.inside()
	inEntry := frame != nil && frame.kind == "menuentry"
	switch name {
	case "linux", "linux16", "linuxefi":
		if inEntry && len(args) > 0 {
			frame.entry.linux = append(frame.entry.linux, args[0])
			return
		}
		p.odd(name)
	case "blscfg":
		switch {
		case frame != nil || len(args) > 0:
			p.odd(name)
		default:
			p.add(grubEntry{bls: true, maybe: p.conditional()})
		}
	case "source", ".":
		if inEntry {
			frame.entry.other = name
		} else if len(args) > 0 {
			p.config.sources = append(p.config.sources, grubSource{args[0].text})
		}
	case "load_env":
		for _, a := range args {
			if strings.Contains(a.text, "/") && !strings.HasSuffix(a.text, "/grubenv") {
				p.odd("load_env of another file")
			}
		}
	case "chainloader", "multiboot", "multiboot2", "xen_hypervisor", "configfile", "legacy_configfile",
		"exit", "normal", "boot", "eval", "halt", "reboot", "fwsetup", "kfreebsd", "ntldr":
		if inEntry {
			frame.entry.other = name
		} else if name != "fwsetup" { // asked whether there is such a thing
			p.odd(name)
		}
	}
}

// setDefault notes an assignment to default and what it depends on.
func (p *grubParser) setDefault(value grubWord) {
	if f := p.inside(); f != nil {
		if f.kind == "function" {
			p.odd("an assignment to default in a function")
		}
		return // an entry's own, when it has been chosen
	}
	if len(p.config.defaults) == maxGrubEntries {
		p.odd("too many assignments to default")
		return
	}
	d := grubDefault{value: value}
	for _, f := range p.frames {
		f.cond.any = f.cond.any || f.kind != "if"
		d.when = append(d.when, f.cond)
	}
	p.config.defaults = append(p.config.defaults, d)
}

// odd notes a command that may change everything.
func (p *grubParser) odd(name string) {
	if p.config.strange == "" {
		p.config.strange = "the script has, where it may count, " + name
	}
}
