package sensor

import "fmt"

// warnings are what could not be read or trusted, each once.
type warnings struct {
	list []Warning
	seen map[Warning]bool
	of   map[string]int // by subject
	lost int
}

// maxWarnings bounds the list: a hostile tree can hold any number of defects.
// maxOfOne those about one subject: they must not push out all others.
const (
	maxWarnings = 200
	maxOfOne    = 50
)

func (w *warnings) add(subject string, err error, help string) {
	one := Warning{Subject: text(subject), Message: text(err.Error()), Help: help}
	if w.seen == nil {
		w.seen = make(map[Warning]bool)
	}
	if w.seen[one] {
		return
	}
	if w.of == nil {
		w.of = make(map[string]int)
	}
	if w.of[one.Subject]++; len(w.list) == maxWarnings || w.of[one.Subject] > maxOfOne {
		w.lost++
		return
	}
	w.seen[one] = true
	w.list = append(w.list, one)
}

// all returns the warnings, never nil, with a last one for those left out.
func (w *warnings) all() []Warning {
	list := append([]Warning{}, w.list...)
	if w.lost > 0 {
		list = append(list, Warning{Subject: "warnings", Message: fmt.Sprintf("%d more were left out", w.lost)})
	}
	return list
}
