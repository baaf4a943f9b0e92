package dpkg

import (
	"errors"
	"io"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

// maxDiversions bounds the diversions of one root.
const maxDiversions = 1 << 16

var (
	errDiversionCut  = errors.New("diversion is not three lines long")
	errDiversionPath = errors.New("diversion of or to something that is not an absolute path")
	errDiversionTwo  = errors.New("path is in a second diversion")
)

// diversion says that where other packages ship from, dpkg installs to. The
// diverting package itself is not diverted; a local diversion has none and
// diverts every package (dpkg-divert(1)). A diversion holds for the exact
// spelling of the path, whatever directories are merged.
type diversion struct {
	from, to string
	by       string // empty for a local one
}

// parseDiversions parses triples of lines: from, to, package, where the
// package of a local diversion is ":". The diversions before and beside a
// defect are returned with the first defect, an *owner.Error naming the file.
func parseDiversions(name string, r io.Reader) ([]diversion, error) {
	var (
		out   []diversion
		first error
		seen  = make(map[string]bool)
		in    = lines.New(r, maxStatus)
	)
	for {
		var triple [3]string
		var start int64
		for i := range triple {
			line, err := in.Read()
			if i == 0 {
				start = in.Start
			}
			if err == io.EOF && i == 0 {
				return out, first
			}
			if err == io.EOF {
				err = errDiversionCut
			}
			// After any of these, what is which line of a triple is unknown.
			if err != nil {
				return out, keepFirst(first, owner.Defect(name, start, err))
			}
			triple[i] = string(line)
		}
		d := diversion{from: triple[0], to: triple[1], by: triple[2]}
		if d.by == ":" {
			d.by = ""
		}
		switch {
		case d.from == "" || d.to == "" || d.from[0] != '/' || d.to[0] != '/':
			first = keepFirst(first, owner.Defect(name, start, errDiversionPath))
			continue
		case seen[d.from] || seen[d.to]:
			first = keepFirst(first, owner.Defect(name, start, errDiversionTwo))
			continue
		case len(out) == maxDiversions:
			return out, keepFirst(first, owner.Defect(name, start, errTooMany))
		}
		seen[d.from], seen[d.to] = true, true
		out = append(out, d)
	}
}

func keepFirst(first error, err *owner.Error) error {
	if first != nil {
		return first
	}
	return err
}
