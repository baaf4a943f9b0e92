package rpm

import (
	"bytes"
	"slices"
	"strings"
)

// maxID is the length of the longest CVE id: 19 digits after the year (CVE record
// format, cveId).
const maxID = len("CVE-2026-") + 19

// cvesIn returns the CVE ids in a text, upper case, in order and each once.
func cvesIn(text []byte) (ids []string, err error) {
	for {
		id, rest := nextCVE(text)
		if id == nil {
			break
		}
		text = rest
		if len(ids) == maxCVEs {
			err = errCVEs
			break
		}
		ids = append(ids, strings.ToUpper(string(id)))
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// nextCVE finds the first CVE id in b, "CVE-", four digits, "-" and four to nineteen
// digits, whatever the case, and what follows it; nil if there is none.
func nextCVE(b []byte) (id, rest []byte) {
	for {
		i := bytes.IndexByte(b, '-')
		if i < 0 {
			return nil, nil
		}
		if i < 3 || !bytes.EqualFold(b[i-3:i], []byte("CVE")) {
			b = b[i+1:]
			continue
		}
		b = b[i-3:]
		end := len("CVE-2026-")
		if digits(b[len("CVE-"):]) == 4 && len(b) > end && b[end-1] == '-' {
			if n := digits(b[end:]); n >= 4 && end+n <= maxID {
				return b[:end+n], b[end+n:]
			}
		}
		b = b[len("CVE-"):]
	}
}

func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}
