package dpkg

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

const (
	// maxChangelog bounds one changelog, in uncompressed bytes.
	maxChangelog = 64 << 20
	// maxEntries bounds the entries and maxCVEs the CVE ids per entry that
	// are kept.
	maxEntries = 10_000
	maxCVEs    = 20_000
)

var (
	errEntries = errors.New("changelog has more entries than allowed")
	errCVEs    = errors.New("changelog entry has more CVE ids than allowed")
	errHeader  = errors.New("changelog entry has no valid version")
)

// changelogReader reads the entries of a changelog (deb-changelog(5)) from the
// top, which is the newest, down.
type changelogReader struct {
	name string
	in   *lines.Reader
	// next is the entry whose header has been read already.
	next *owner.Entry
	seen map[string]struct{}
	end  error // why reading ended
}

func newChangelogReader(name string, r io.Reader) *changelogReader {
	return &changelogReader{name: name, in: lines.New(r, maxChangelog), seen: make(map[string]struct{})}
}

// header returns the version of the next entry, so that a caller can stop
// before its text is read. The error is io.EOF at the end and an *owner.Error
// for what cannot be read.
func (c *changelogReader) header() (string, error) {
	for c.next == nil && c.end == nil {
		line, err := c.line()
		if err != nil {
			continue
		}
		e, is, ok := parseHeader(line)
		switch {
		case is && !ok:
			c.fail(errHeader)
		case is:
			c.next = &e
		}
	}
	if c.next == nil {
		return "", c.end
	}
	return c.next.Version, nil
}

// entry returns the next entry; header must have returned its version. Damage
// in its text ends the reading, but not before the entry is returned.
func (c *changelogReader) entry() owner.Entry {
	e := *c.next
	c.next = nil
	clear(c.seen)
	for c.end == nil {
		line, err := c.line()
		if err != nil {
			break
		}
		next, is, ok := parseHeader(line)
		if is && ok {
			c.next = &next
			break
		}
		if is {
			c.fail(errHeader)
			break
		}
		e.CVEs = c.appendCVEs(e.CVEs, line)
	}
	return e
}

func (c *changelogReader) line() ([]byte, error) {
	line, err := c.in.Read()
	if err == io.EOF {
		c.end = io.EOF
	} else if err != nil {
		c.fail(err)
	}
	return line, err
}

func (c *changelogReader) fail(err error) { c.end = owner.Defect(c.name, c.in.Start, err) }

// parseHeader parses "source (version) distributions; urgency=medium, k=v".
// is says that the line is meant as a header, ok that it is one.
func parseHeader(line []byte) (e owner.Entry, is, ok bool) {
	if len(line) == 0 || !validName(line[:1]) {
		return e, false, false
	}
	name, rest, found := bytes.Cut(line, []byte(" ("))
	if !found || !validName(name) {
		return e, false, false
	}
	ver, rest, found := bytes.Cut(rest, []byte(")"))
	_, keys, semicolon := bytes.Cut(rest, []byte(";"))
	if !found || !semicolon {
		return e, false, false
	}
	e.Version = string(ver)
	if !validVersion(e.Version) {
		return e, true, false
	}
	for key := range bytes.SplitSeq(keys, []byte(",")) {
		k, v, _ := bytes.Cut(bytes.TrimSpace(key), []byte("="))
		if bytes.EqualFold(k, []byte("urgency")) {
			e.Urgency = urgency(v)
		}
	}
	return e, true, true
}

// urgency returns the urgency of a header, without the comment that may follow
// it, and empty if it is none of the known ones.
func urgency(v []byte) string {
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(string(v))), " ")
	switch word {
	case "low", "medium", "high", "emergency", "critical":
		return word
	}
	return ""
}

// appendCVEs adds the ids in a line that the entry does not have yet.
func (c *changelogReader) appendCVEs(ids []string, line []byte) []string {
	for {
		id, rest := owner.NextCVE(line)
		if id == nil {
			return ids
		}
		line = rest
		var buf [owner.MaxCVE]byte
		upper := append(buf[:0], "CVE"...)
		upper = append(upper, id[3:]...)
		if _, have := c.seen[string(upper)]; have {
			continue
		}
		if len(ids) == maxCVEs {
			c.fail(errCVEs)
			return ids
		}
		s := string(upper)
		c.seen[s] = struct{}{}
		ids = append(ids, s)
	}
}
