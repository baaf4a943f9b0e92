package advisory

import (
	"fmt"
)

// maxTracked bounds what the tracker says of one CVE in one package, in bytes, and
// maxReleases of how many releases. Real ones have up to 10 KiB.
const (
	maxTracked  = 256 << 10
	maxReleases = 64
)

// tracked mirrors one CVE of one source package in the JSON of Debian's security
// tracker (security-team.debian.org/security_tracker.html; the tracker's
// lib/python/web_support.py and bin/tracker_service.py write it).
type tracked struct {
	Releases map[string]trackedRelease `json:"releases"`
}

type trackedRelease struct {
	Status       string `json:"status"`        // resolved, open or undetermined
	FixedVersion string `json:"fixed_version"` // "0" if the package never was affected
	Urgency      string `json:"urgency"`
}

// sinks take what a file holds: records, names of exploited CVEs, and problems with
// the entry at a byte offset.
type sinks struct {
	record    func(*record) error
	exploited func(cve string) error
	problem   func(entry string, offset int64, err error)
}

// readTracker reads source package → CVE → tracked, one CVE at a time. Its error is
// that the rest of the file cannot be read, or one of the sinks.
func readTracker(s *stream, to sinks) error {
	if err := s.open('{'); err != nil {
		return err
	}
	for {
		name, more, err := s.key()
		if err != nil || !more {
			return err
		}
		switch err := s.open('{'); {
		case mismatch(err):
			to.problem(name, s.InputOffset(), err)
			continue
		case err != nil:
			return err
		}
		for {
			cve, more, err := s.key()
			if err != nil {
				return err
			}
			if !more {
				break
			}
			offset := s.InputOffset()
			var t tracked
			s.allow(maxTracked)
			err = s.Decode(&t)
			if err != nil && !mismatch(err) {
				return err
			}
			r, convertErr := t.record(name, cve)
			if err == nil {
				err = convertErr
			}
			if err != nil {
				to.problem(name+" "+cve, offset, err)
			}
			if r == nil {
				continue
			}
			if err := to.record(r); err != nil {
				return err
			}
		}
	}
}

// record returns what can be understood. A release that cannot be is undecidable,
// and the error.
func (t tracked) record(name, cve string) (*record, error) {
	if !validID(cve) || name == "" || !lineOfText(name) || len(t.Releases) > maxReleases {
		return nil, fmt.Errorf("package %.64q, %.64q, in %d releases", name, cve, len(t.Releases))
	}
	r := &record{id: cve, rank: rankTracker, cves: []string{cve}}
	var problem error
	for codename, release := range t.Releases {
		number, ok := debianRelease(codename)
		if !ok {
			continue // A release that this program does not know can be nobody's.
		}
		p := affectedPackage{ecosystem: "Debian:" + number, name: name, severity: Severity{Rating: rating(release.Urgency)}}
		s := span{kind: byEcosystem, events: []event{{introduced, "0"}}}
		switch {
		case release.Status == "open" || release.Status == "resolved" && release.FixedVersion == "0":
		case release.Status == "undetermined":
			p.undetermined = true
		case release.Status == "resolved" && validVersionText(release.FixedVersion):
			s.events = append(s.events, event{fixed, release.FixedVersion})
		default:
			problem = fmt.Errorf("%s: status %.32q, fixed version %.64q", codename, release.Status, release.FixedVersion)
			s = span{kind: undecidable}
		}
		if release.Status != "resolved" || release.FixedVersion != "0" {
			p.spans = []span{s}
		} // Else no span at all, which nothing is in.
		r.packages = append(r.packages, p)
	}
	return r, problem
}
