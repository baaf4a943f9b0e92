package rpm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxEntries bounds the entries of a changelog and maxCVEs the CVE ids of an entry
	// that are kept.
	maxEntries = 10_000
	maxCVEs    = 20_000
)

var (
	errEntries  = errors.New("changelog has more entries than allowed")
	errCVEs     = errors.New("changelog entry has more CVE ids than allowed")
	errNumbered = errors.New("package is not numbered like its source")
	errNoNumber = errors.New("no entry has a version")
)

// Changelog returns what the changelog in p's header says of the versions newer than
// after, newest first: its entries from the top down to, and without, the first one that
// is not newer than after.
//
// The version of an entry stands at the end of its author's line, if at all; an entry
// without one belongs to the version above it. Few entries have an epoch, and most lack
// the mark of the distribution in the release (24 for 24.el9_4): what an entry lacks is
// not compared.
//
// Complete says that the entry of after's version or an older one was reached and that
// the top entry is that of p's version: changelogs are cut off when packages are built,
// and some packagers forget entries. It is also false when p and after differ in nothing
// but the mark of the distribution, and the entries have none.
//
// The error is owner.ErrNoChangelog, with the reason, if there is no changelog, if none
// of its entries has a version (SUSE's have none), or if the package has another version
// than its source, which is what entries are numbered by.
func (d *Database) Changelog(p owner.Package, after string) (owner.Changelog, error) {
	if _, err := Compare(p.Version, after); err != nil {
		return owner.Changelog{}, err
	}
	r, ok := d.find(p)
	if !ok {
		return owner.Changelog{}, owner.Defect(d.name, -1, errUnknown)
	}
	if s, v := splitVersion(r.SourceVersion), splitVersion(r.Version); s.version != v.version || s.release != v.release {
		return owner.Changelog{}, fmt.Errorf("%w: %w", owner.ErrNoChangelog, errNumbered)
	}
	var (
		out    owner.Changelog
		reason error
	)
	err := d.reread(r, func(h header) error {
		entries, err := h.changelog()
		if err != nil && len(entries) == 0 {
			return err
		}
		out, reason = window(entries, r.Version, after)
		if err != nil {
			out.Complete = false
			d.defects.Add(d.defect(r.at, err))
		}
		return nil
	})
	if err != nil {
		d.defects.Add(err)
		return owner.Changelog{}, fmt.Errorf("%w: %w", owner.ErrNoChangelog, err)
	}
	if reason != nil {
		return owner.Changelog{}, reason
	}
	out.File = "/" + d.name
	return out, nil
}

// logged is one entry of a changelog; its version is empty if it has none.
type logged struct {
	version string
	cves    []string
}

// changelog returns the entries of a header, newest first. The error may come with
// those that could be read.
func (h header) changelog() ([]logged, error) {
	names, err := h.array(tagChangelogName)
	if err != nil {
		return nil, err
	}
	texts, err := h.array(tagChangelogText)
	if err != nil {
		return nil, err
	}
	if names.count != texts.count {
		return nil, errEntry
	}
	out := make([]logged, 0, min(names.count, 256))
	for i, name := range names.all() {
		if i == maxEntries {
			err = errEntries
			break
		}
		out = append(out, logged{version: entryVersion(name)})
	}
	n := 0
	for i, text := range texts.all() {
		if i >= len(out) {
			break
		}
		var tooMany error
		if out[i].cves, tooMany = cvesIn(text); tooMany != nil {
			err = tooMany
		}
		n++
	}
	if err == nil && (len(out) != names.count || n != texts.count) {
		err = errEntry
	}
	return out[:min(n, len(out))], err
}

// entryVersion finds the version in the line of an entry's author:
//
//	Jane Doe <jane@example.org> - 1:3.0.7-24
//	Jane Doe <jane@example.org> 3.0.7-24
//	Jane Doe <jane@example.org> [5.14.0-427.13.1.el9_4]
//	Jane Doe <jane@example.org>
func entryVersion(name []byte) string {
	rest := name
	if mail := bytes.LastIndexByte(name, '>'); mail >= 0 {
		rest = name[mail+1:]
	} else if dash := bytes.LastIndex(name, []byte(" - ")); dash >= 0 {
		rest = name[dash+3:]
	} else {
		return ""
	}
	for word := range bytes.FieldsSeq(rest) {
		word = bytes.Trim(word, "[]()-,:")
		if len(word) > 0 && word[0] >= '0' && word[0] <= '9' && validWord(string(word)) {
			return string(word)
		}
	}
	return ""
}

// window picks the entries between two versions. The error is owner.ErrNoChangelog with
// the reason.
func window(entries []logged, installed, after string) (owner.Changelog, error) {
	var (
		out              owner.Changelog
		numbered, topped bool
		above            = installed
	)
	if len(entries) == 0 {
		return out, owner.ErrNoChangelog
	}
	for _, e := range entries {
		if e.version != "" {
			if !numbered {
				numbered = true
				topped = compareEntry(e.version, installed) == 0
			}
			if compareEntry(e.version, after) <= 0 {
				out.Complete = topped && (after == installed || !sameButMark(e.version, installed, after))
				return out, nil
			}
			above = e.version
		}
		if n := len(out.Entries); e.version == "" && n > 0 && out.Entries[n-1].Version == above {
			out.Entries[n-1].CVEs = append(out.Entries[n-1].CVEs, e.cves...)
			slices.Sort(out.Entries[n-1].CVEs)
			out.Entries[n-1].CVEs = slices.Compact(out.Entries[n-1].CVEs)
			continue
		}
		out.Entries = append(out.Entries, owner.Entry{Version: above, CVEs: e.cves})
	}
	if !numbered {
		return owner.Changelog{}, fmt.Errorf("%w: %w", owner.ErrNoChangelog, errNoNumber)
	}
	return out, nil
}

// evr is a version taken apart.
type evr struct{ epoch, version, release string }

func splitVersion(s string) (v evr) {
	if epoch, rest, ok := strings.Cut(s, ":"); ok && epoch != "" && strings.Trim(epoch, "0123456789") == "" {
		v.epoch, s = epoch, rest
	}
	v.version, v.release, _ = strings.Cut(s, "-")
	return v
}

func (v evr) String() string {
	s := v.version
	if v.release != "" {
		s += "-" + v.release
	}
	if v.epoch != "" {
		s = v.epoch + ":" + s
	}
	return s
}

// compareEntry orders the version of an entry against that of a package by what the
// entry has of it.
func compareEntry(entry, pkg string) int {
	e, p := splitVersion(entry), splitVersion(pkg)
	if e.epoch == "" {
		e.epoch = p.epoch
	}
	if e.release == "" {
		p.release = ""
	} else if unmarked(e.release) == e.release {
		p.release = unmarked(p.release)
	}
	n, err := Compare(e.String(), p.String())
	if err != nil {
		return 1 // cannot be: both were looked at before
	}
	return n
}

// sameButMark reports whether an entry cannot tell two versions from one another.
func sameButMark(entry, a, b string) bool {
	return compareEntry(entry, a) == 0 && compareEntry(entry, b) == 0
}

// unmarked is a release without the mark of its distribution: 24.2 for 24.el9_4.2.
func unmarked(release string) string {
	parts := strings.Split(release, ".")
	out := parts[:0:0]
	for _, p := range parts {
		if strings.HasPrefix(p, "module+") || strings.HasPrefix(p, "module_") {
			break // the rest of the release is the module's
		}
		if !isMark(p) {
			out = append(out, p)
		}
	}
	return strings.Join(out, ".")
}

// isMark reports whether a part of a release names a distribution, as macro dist does.
func isMark(s string) bool {
	for _, d := range [...]string{"el", "fc", "eln", "amzn", "mga", "azl", "cm", "oe", "lp", "hs"} {
		rest, ok := strings.CutPrefix(s, d)
		if ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return true
		}
	}
	return false
}
