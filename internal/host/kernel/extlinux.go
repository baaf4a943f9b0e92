package kernel

import (
	"bytes"
	"io"
	"path"
	"strings"
)

// Limits of a configuration of EXTLINUX.
const (
	maxExtlinux       = 256 << 10
	maxExtlinuxLabels = 1024
)

// ExtlinuxChoice is the label that EXTLINUX, or U-Boot with its configuration,
// would start.
type ExtlinuxChoice struct {
	Label string
	Path  string // of the kernel: relative ones start at the configuration's directory
}

type extlinuxLabel struct {
	name, kernel string
	menuDefault  bool
}

// ParseExtlinux reads an extlinux.conf and finds the label that it starts if
// nobody chooses another one (SYSLINUX wiki, "Config" and "Menu"). The error is
// ErrUncertain with the reason, or that of a configuration that is too large.
func ParseExtlinux(r io.Reader) (ExtlinuxChoice, error) {
	data, err := readAll(r, maxExtlinux)
	if err != nil {
		return ExtlinuxChoice{}, err
	}
	var labels []extlinuxLabel
	var byDefault, onTimeout string
	menu := false
	for line := range bytes.Lines(data) {
		key, value := cutSpace(string(line))
		switch key = strings.ToUpper(key); key {
		case "DEFAULT":
			byDefault = value
		case "UI":
			menu = true
		case "ONTIMEOUT":
			onTimeout = value
		case "INCLUDE":
			return ExtlinuxChoice{}, uncertain("it includes %.200q", value)
		case "LABEL":
			if len(labels) == maxExtlinuxLabels {
				return ExtlinuxChoice{}, errorAt(-1, "more than %d labels", maxExtlinuxLabels)
			}
			labels = append(labels, extlinuxLabel{name: value})
		case "LINUX", "KERNEL":
			if len(labels) > 0 {
				labels[len(labels)-1].kernel = value
			}
		case "FIT", "LOCALBOOT", "CONFIG", "BOOT", "BSS", "PXE", "FDIMAGE", "COMBOOT", "COM32":
			if len(labels) > 0 {
				labels[len(labels)-1].kernel = ""
			}
		case "MENU":
			word, rest := cutSpace(value)
			switch word = strings.ToUpper(word); {
			case word == "DEFAULT" && len(labels) > 0:
				labels[len(labels)-1].menuDefault = true
			case word == "INCLUDE", word == "BEGIN":
				return ExtlinuxChoice{}, uncertain("its menu has %s %.200q", word, rest)
			}
		}
	}
	return chooseLabel(labels, byDefault, onTimeout, menu)
}

func chooseLabel(labels []extlinuxLabel, byDefault, onTimeout string, menu bool) (ExtlinuxChoice, error) {
	find := func(command string) *extlinuxLabel {
		for i := range labels {
			if name, _ := cutSpace(command); name != "" && labels[i].name == name {
				return &labels[i]
			}
		}
		return nil
	}
	label := find(byDefault)
	if program, _ := cutSpace(byDefault); label == nil && strings.HasSuffix(program, ".c32") {
		menu = true
	}
	if menu || label == nil {
		for i := range labels {
			if labels[i].menuDefault {
				label = &labels[i]
			}
		}
	}
	if label == nil && menu && len(labels) > 0 {
		label = &labels[0]
	}
	if onTimeout != "" {
		label = find(onTimeout)
	}
	switch {
	case label == nil:
		return ExtlinuxChoice{}, uncertain("there is no label %.200q", byDefault)
	case label.kernel == "" || strings.HasSuffix(label.kernel, ".c32"):
		return ExtlinuxChoice{}, uncertain("label %.200q starts no kernel", label.name)
	}
	return ExtlinuxChoice{Label: label.name, Path: label.kernel}, nil
}

// readExtlinux is what EXTLINUX would start.
func readExtlinux(root Root) (Next, error) {
	for _, name := range []string{"boot/extlinux.conf", "boot/extlinux/extlinux.conf", "boot/syslinux/syslinux.cfg"} {
		f, err := root.Open(name)
		if absent(err) {
			continue
		}
		n := Next{Loader: LoaderExtlinux, Config: "/" + name}
		if err != nil {
			return n, err
		}
		choice, err := ParseExtlinux(f)
		f.Close()
		if err != nil {
			return n, inFile(n.Config, err)
		}
		n.Entry, n.Path = choice.Label, choice.Path
		if !strings.HasPrefix(choice.Path, "/") {
			return n, n.resolve(root, []string{path.Join("/", path.Dir(name), choice.Path)})
		}
		return n, n.resolve(root, grubFiles(choice.Path))
	}
	return Next{}, ErrNoLoader
}
