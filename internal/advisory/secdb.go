package advisory

import (
	"fmt"
	"strings"
)

// maxSecfixes bounds what the database says of one package, in bytes; real ones have up
// to 40 KiB. maxFixedVersions bounds its versions.
const (
	maxSecfixes      = 1 << 20
	maxFixedVersions = 10_000
)

// secfixes mirrors an entry of "packages" in Alpine's security database (secdb.alpinelinux.org,
// one file for each release and repository): of a source package, what each version fixed.
type secfixes struct {
	Pkg struct {
		Name     string              `json:"name"`
		Secfixes map[string][]string `json:"secfixes"`
	} `json:"pkg"`
}

// readSecDB reads one file, package by package. Its error is that the rest of it cannot be
// read, or one of the sinks.
func readSecDB(s *stream, to sinks) error {
	if err := s.open('{'); err != nil {
		return err
	}
	release := ""
	for {
		key, more, err := s.key()
		if err != nil || !more {
			return err
		}
		switch key {
		case "distroversion":
			s.allow(maxName)
			if err = s.Decode(&release); err == nil && (!strings.HasPrefix(release, "v") || !validID(release)) {
				to.problem(key, s.InputOffset(), fmt.Errorf("release %.64q is not like v3.20", release))
				release = ""
			}
		case "packages":
			if release == "" {
				return fmt.Errorf("%q comes before a %q that names the release", key, "distroversion")
			}
			err = readSecfixes(s, "Alpine:"+release, to)
		default:
			err = s.skip()
		}
		if mismatch(err) {
			to.problem(key, s.InputOffset(), err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

func readSecfixes(s *stream, ecosystem string, to sinks) error {
	if err := s.open('['); err != nil {
		return err
	}
	for {
		s.allow(maxSecfixes)
		if !s.More() {
			break
		}
		offset := s.InputOffset()
		var f secfixes
		s.allow(maxSecfixes)
		err := s.Decode(&f)
		if err != nil && !mismatch(err) {
			return err
		}
		records, convertErr := f.records(ecosystem)
		if err == nil {
			err = convertErr
		}
		if err != nil {
			to.problem(f.Pkg.Name, offset, err)
		}
		for _, r := range records {
			if err := to.record(r); err != nil {
				return err
			}
		}
	}
	_, err := s.Token()
	return err
}

// records are what can be understood of a package. Of what a version fixes only CVEs
// count; behind one a remark may stand. Version 0 stands for "was never affected".
func (f secfixes) records(ecosystem string) ([]*record, error) {
	name := f.Pkg.Name
	if name == "" || len(name) > maxName || !lineOfText(name) || len(f.Pkg.Secfixes) > maxFixedVersions {
		return nil, fmt.Errorf("package %.64q with fixes in %d versions", name, len(f.Pkg.Secfixes))
	}
	var list []*record
	var problem error
	for version, fixes := range f.Pkg.Secfixes {
		if !validVersionText(version) {
			problem = fmt.Errorf("version %.64q", version)
			continue
		}
		for _, fix := range fixes {
			word, _, _ := strings.Cut(strings.TrimSpace(fix), " ")
			cve, ok := cveOf(word)
			if !ok || cve != word {
				continue // another list's number: nothing is told of it
			}
			p := affectedPackage{ecosystem: ecosystem, name: name}
			if version != "0" {
				p.spans = []span{{kind: byEcosystem, events: []event{{introduced, "0"}, {fixed, version}}}}
			}
			list = append(list, &record{id: cve, rank: rankTracker, cves: []string{cve}, packages: []affectedPackage{p}})
		}
	}
	return list, problem
}
