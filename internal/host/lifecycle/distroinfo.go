package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Root is the root directory of the machine whose distribution data are read: a
// *file.Root. Names cannot lead outside it.
type Root interface {
	ReadFile(name string, limit int64) ([]byte, error)
}

// The distributions that the data package knows, by their ID of os-release(5).
const (
	debian = "debian"
	ubuntu = "ubuntu"
)

// Limits of a file of the distribution data. Real ones have 3 KiB, 45 releases and
// 9 columns.
const (
	maxData    = 1 << 20
	maxEntries = 4096
	maxColumns = 64
)

// Entry is one release in the distribution data.
type Entry struct {
	Version  string    // "12", "24.04"; empty for releases without a number
	Series   string    // "bookworm"
	Released time.Time // midnight UTC; zero if no day is set
	// Phases are in the order of the columns.
	Phases []Phase
}

// Data are the distribution data of one machine. The zero value has none.
type Data struct {
	byID map[string][]Entry
}

// NewData makes data of what ParseDistroInfo returned, by the IDs of the
// distributions.
func NewData(byID map[string][]Entry) Data { return Data{byID} }

func (d Data) knows(id string) bool { return len(d.byID[id]) > 0 }

// find returns the entry of a release. A distribution that is derived from one of
// those here has another life than that one, so ID_LIKE does not count.
func (d Data) find(r Release) (Entry, bool) {
	if r.ID == debian && r.VersionID == "" {
		// Testing and unstable: they have the code name of the next release, which
		// they keep until they are upgraded.
		return Entry{}, false
	}
	for _, e := range d.byID[r.ID] {
		// An image may name one of the two only.
		series := r.Codename == "" || r.Codename == e.Series
		version := r.VersionID == "" || r.VersionID == e.Version
		if series && version && (r.Codename != "" || r.VersionID != "") {
			return e, true
		}
	}
	return Entry{}, false
}

// ReadData reads the distribution data of a machine. A machine without them, and
// most have none that are not Debian or Ubuntu, has empty data and no error. What
// could be read is returned beside an error.
func ReadData(root Root) (Data, error) {
	data := NewData(make(map[string][]Entry))
	var errs []error
	for _, id := range []string{debian, ubuntu} {
		name := "/usr/share/distro-info/" + id + ".csv"
		b, err := root.ReadFile(name, maxData)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		entries, err := ParseDistroInfo(bytes.NewReader(b))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		data.byID[id] = entries
	}
	return data, errors.Join(errs...)
}

// ParseDistroInfo reads a file of the distribution data: a heading with the names
// of columns and a line for each release, with commas between the fields and no
// quoting, as distro-info's own readers take it. Columns at the end of a line may
// be missing. Dates are YYYY-MM-DD, or YYYY-MM for the last day of a month.
//
// A line that does not fit is left out, and the first of them is the error, with
// its byte offset; all else is returned beside it.
func ParseDistroInfo(r io.Reader) ([]Entry, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxData+1))
	if err == nil && len(data) > maxData {
		err = fmt.Errorf("more than %d bytes", maxData)
	}
	if err != nil {
		// The last line may be cut, which would make a wrong date.
		data = data[:bytes.LastIndexByte(data, '\n')+1]
		err = fmt.Errorf("distribution data: offset %d: %w", len(data), err)
	}
	var entries []Entry
	var heading []string
	offset := 0
	for line := range bytes.Lines(data) {
		at := offset
		offset += len(line)
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			continue
		}
		fields := strings.SplitN(text, ",", maxColumns+1)
		if heading == nil {
			if len(fields) > maxColumns || !slices.Contains(fields, "series") || !slices.Contains(fields, "eol") {
				return nil, errors.Join(err, fmt.Errorf("distribution data: offset %d: no heading", at))
			}
			heading = fields
			continue
		}
		if len(entries) == maxEntries {
			return entries, errors.Join(err, fmt.Errorf("distribution data: offset %d: more than %d releases", at, maxEntries))
		}
		e, lineErr := parseEntry(heading, fields)
		if lineErr == nil {
			entries = append(entries, e)
		} else if err == nil {
			err = fmt.Errorf("distribution data: offset %d: %w", at, lineErr)
		}
	}
	return entries, err
}

func parseEntry(heading, fields []string) (Entry, error) {
	var e Entry
	if len(fields) > len(heading) {
		return e, errors.New("more fields than columns")
	}
	for i, value := range fields {
		if value == "" {
			continue
		}
		column := heading[i]
		kind, isEnd := strings.CutPrefix(column, "eol-")
		var err error
		switch {
		case column == "version":
			e.Version, _, _ = strings.Cut(value, " ") // "24.04 LTS"
		case column == "series":
			e.Series = value
		case column == "release":
			e.Released, err = parseDate(value)
		case column == "eol":
			kind = string(Standard)
			isEnd = true
		}
		if isEnd && kind != "" {
			p := Phase{Kind: Kind(kind)}
			p.Last, err = parseDate(value)
			e.Phases = append(e.Phases, p)
		}
		if err != nil {
			return e, fmt.Errorf("%.20q: %w", column, err)
		}
	}
	if e.Series == "" {
		return e, errors.New("no series")
	}
	return e, nil
}

var errDate = errors.New("no date")

func parseDate(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return time.Time{}, errDate
	}
	return t.AddDate(0, 1, -1), nil
}
