package dpkg

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

const (
	logDir = "var/log"
	// maxLog bounds one log and maxLogs all of a root, in uncompressed bytes.
	// A busy machine writes some megabytes a year.
	maxLog  = 32 << 20
	maxLogs = 128 << 20
)

var (
	errLogsSize = errors.New("logs are larger than allowed in all: older ones are ignored")
	errNoLogs   = errors.New("not one log could be read")
)

// History returns what the logs tell of packages that changed, oldest first:
// dpkg.log, dpkg.log.N and dpkg.log-DATE, plain or gzipped; other compressions
// are passed over. None is returned for a root without logs.
//
// Stamps are local time of whole seconds. They are taken to be in the root's
// present time zone (etc/localtime), so they are wrong where TZ was set
// otherwise or the zone has been changed since. In the hour that is repeated
// when daylight saving ends, Begin is the earlier meaning and End the later.
//
// The log of a dpkg run with --root is the one of the machine that ran it: the
// changes need not be this root's. owner.LoadedVersion makes sure.
//
// Damage is told by Problems and costs only what it hit; the error says that
// there are logs and not one could be read.
func (d *Database) History() ([]owner.Change, error) {
	d.historyOnce.Do(func() { d.changes, d.historyErr = d.readLogs() })
	return slices.Clone(d.changes), d.historyErr
}

func (d *Database) readLogs() ([]owner.Change, error) {
	names, err := d.list(logDir)
	if err != nil {
		return nil, err
	}
	logs := orderLogs(names)
	if len(logs) == 0 {
		return nil, nil
	}
	zone, err := clock.Read(d.root)
	if err != nil {
		d.defects.Add(err)
	}
	var (
		byLog  [][]owner.Change // newest first, so that old bulk cannot hide what is new
		budget = int64(maxLogs)
		read   int
		last   error
	)
	for _, n := range logs {
		name := logDir + "/" + n
		if budget <= 0 {
			d.defects.Add(owner.Defect(name, -1, errLogsSize))
			break
		}
		r, err := d.openText(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // rotated meanwhile
		}
		if err != nil {
			last = owner.Defect(name, -1, err)
			d.defects.Add(last)
			continue
		}
		changes, size, err := parseLog(name, r, zone, min(budget, maxLog))
		r.Close()
		if err != nil {
			d.defects.Add(err)
		}
		byLog = append(byLog, changes)
		budget -= size
		read++
	}
	if read == 0 && last != nil {
		return nil, fmt.Errorf("%w: %w", errNoLogs, last)
	}
	slices.Reverse(byLog)
	return slices.Concat(byLog...), nil
}

// orderLogs returns those of the names that are dpkg logs, newest first, as
// logrotate(8) names them.
func orderLogs(names []string) []string {
	type log struct {
		name   string
		number int    // rotations since it was written, dated ones after all numbered
		date   string // of dateext, "" if not dated
	}
	var logs []log
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "dpkg.log")
		if !ok {
			continue
		}
		rest = strings.TrimSuffix(rest, ".gz")
		switch {
		case rest == "":
			logs = append(logs, log{name, 0, ""})
		case rest[0] == '.':
			if n, err := strconv.Atoi(rest[1:]); err == nil && n > 0 {
				logs = append(logs, log{name, n, ""})
			}
		case rest[0] == '-' && strings.Trim(rest[1:], "0123456789-") == "":
			logs = append(logs, log{name, math.MaxInt, rest[1:]})
		}
	}
	slices.SortFunc(logs, func(a, b log) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(b.date, a.date), cmp.Compare(a.name, b.name))
	})
	// A rotation under way leaves a log beside its compressed self, which
	// sorts after it.
	logs = slices.CompactFunc(logs, func(a, b log) bool { return a.number == b.number && a.date == b.date })
	out := make([]string, len(logs))
	for i, l := range logs {
		out[i] = l.name
	}
	return out
}

// openText opens a text file that is gzipped if its name ends in .gz.
func (d *Database) openText(name string) (io.ReadCloser, error) {
	f, err := d.root.Open(name)
	if err != nil || !strings.HasSuffix(name, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return gzipFile{z, f}, nil
}

// gzipFile closes the file together with its decompressor.
type gzipFile struct {
	*gzip.Reader
	f *os.File
}

func (g gzipFile) Close() error {
	return errors.Join(g.Reader.Close(), g.f.Close())
}
