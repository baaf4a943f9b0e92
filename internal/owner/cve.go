package owner

import "bytes"

// MaxCVE is the length of the longest CVE id: 19 digits after the year (CVE record
// format, cveId).
const MaxCVE = len("CVE-2026-") + 19

// NextCVE finds the first CVE id in b, "CVE-", four digits, "-" and four to nineteen
// digits, whatever the case, and what follows it; nil if there is none.
func NextCVE(b []byte) (id, rest []byte) {
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
			if n := digits(b[end:]); n >= 4 && end+n <= MaxCVE {
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
