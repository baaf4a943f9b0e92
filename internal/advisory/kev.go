package advisory

import (
	"fmt"
	"time"
)

// exploit mirrors an entry of known_exploited_vulnerabilities.json
// (cisa.gov/known-exploited-vulnerabilities-catalog, its JSON schema).
type exploit struct {
	CVE string `json:"cveID"`
}

// maxExploit bounds an entry of the catalogue, in bytes. Real ones have 2 KiB.
const maxExploit = 64 << 10

// readKEV reads the catalogue one entry at a time, and returns when it was released
// if it says so. Its error is that the rest of the file cannot be read, or one of
// the sinks.
func readKEV(s *stream, to sinks) (released time.Time, err error) {
	if err := s.open('{'); err != nil {
		return released, err
	}
	for {
		key, more, err := s.key()
		if err != nil || !more {
			return released, err
		}
		switch key {
		case "dateReleased":
			var text string
			s.allow(maxExploit)
			if err = s.Decode(&text); err == nil {
				// In the format of the schema, date-time; only for show.
				released, _ = time.Parse(time.RFC3339, text)
				released = released.UTC()
			}
		case "vulnerabilities":
			err = readExploits(s, to)
		default:
			err = s.skip()
		}
		if mismatch(err) {
			to.problem(key, s.InputOffset(), err)
			err = nil
		}
		if err != nil {
			return released, err
		}
	}
}

func readExploits(s *stream, to sinks) error {
	if err := s.open('['); err != nil {
		return err
	}
	for {
		s.allow(maxExploit)
		if !s.More() {
			break
		}
		offset := s.InputOffset()
		var e exploit
		s.allow(maxExploit)
		err := s.Decode(&e)
		if err != nil && !mismatch(err) {
			return err
		}
		cve, ok := cveOf(e.CVE)
		if err == nil && (!ok || cve != e.CVE) {
			err = fmt.Errorf("not a CVE: %.64q", e.CVE)
		}
		if err != nil {
			to.problem("", offset, err)
			continue
		}
		if err := to.exploited(cve); err != nil {
			return err
		}
	}
	_, err := s.Token()
	return err
}
