package sentinel

import (
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Need is why this machine should be rebooted.
type Need struct {
	// Since is when it began, in whole seconds; if zero, when the file is written.
	Since time.Time
	// Reasons are one line each, for people: Ubuntu shows the file at every login.
	Reasons []string
	// Packages are the names of the packages that are not in effect.
	Packages []string
}

// Limits of what is written.
const (
	maxReasons = 64
	maxReason  = 512  // bytes
	maxListed  = 1024 // packages
	maxContent = 64 << 10
)

// title is what Debian's and Ubuntu's scripts write.
const title = "*** System restart required ***\n"

// marker begins the last line of a file that Maintain wrote. The time behind it is
// the one that the file was given as its time of modification. Whoever touches,
// changes or replaces the file gives it another one and makes it his own: what
// unattended-upgrades does to ask for a reboot is no more than that.
const marker = "-- patchsensor, since "

// content is what the file holds for a need that began at stamp.
func (n Need) content(stamp time.Time) string {
	var b strings.Builder
	b.WriteString(title)
	for i, reason := range n.Reasons {
		if i == maxReasons {
			break
		}
		b.WriteString(plain(reason) + "\n")
	}
	b.WriteString(marker + stamp.UTC().Format(time.RFC3339) + "\n")
	return b.String()
}

// list is what the list of packages holds, empty if there are none.
func (n Need) list() string {
	names := slices.DeleteFunc(slices.Clone(n.Packages), func(name string) bool { return !isName(name) })
	slices.Sort(names)
	names = slices.Compact(names)
	var b strings.Builder
	for _, name := range names[:min(len(names), maxListed)] {
		b.WriteString(name + "\n")
	}
	return b.String()
}

// plain makes one line of text that nothing on its way to a terminal acts upon.
func plain(s string) string {
	s = s[:min(len(s), maxReason)]
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, s)
	// A reason is not to be taken for the last line.
	return strings.TrimLeft(s, "- ")
}

// stampOf finds the time in a content that Maintain wrote.
func stampOf(content string) (time.Time, bool) {
	body, ok := strings.CutSuffix(content, "\n")
	if !ok || !strings.HasPrefix(content, title) {
		return time.Time{}, false
	}
	last, ok := strings.CutPrefix(body[strings.LastIndexByte(body, '\n')+1:], marker)
	if !ok {
		return time.Time{}, false
	}
	stamp, err := time.Parse(time.RFC3339, last)
	return stamp, err == nil
}

// isOwn reports whether a file of the given time of modification is as Maintain
// wrote it.
func isOwn(r io.Reader, modified time.Time) bool {
	b, err := io.ReadAll(io.LimitReader(r, maxContent+1))
	if err != nil || len(b) > maxContent {
		return false
	}
	stamp, ok := stampOf(string(b))
	return ok && stamp.Equal(modified)
}
