package advisory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// suffixAside names the file in which an index is built.
const suffixAside = ".new"

// own tells the index from the files that are its sources: it may lie among them.
func own(file, index string) bool {
	index, err := filepath.Abs(index)
	return err == nil && (file == index || file == index+suffixAside)
}

// maxProblems is how many problems Stats lists.
const maxProblems = 64

// Import reads the files at and below the paths into one index, which it builds
// beside the path `to` and renames: a reader sees the old one or the new one, whole.
// If every file is as it was at the last import (size and time of modification, else
// SHA-256), nothing is done.
//
// What is malformed in a file is in Stats; the rest of the file is imported. Errors
// are those that leave the old index as it was: [ErrNoSource] if there is nothing to
// import, [ErrBusy], a path that cannot be read, no space, the end of the context.
func Import(ctx context.Context, from []string, to string) (Stats, error) {
	if stats, ok := unchanged(ctx, from, to); ok {
		return stats, nil
	}
	aside := to + suffixAside
	lock, err := occupy(aside)
	if err != nil {
		return Stats{}, err
	}
	defer lock.Close()
	stats, err := build(ctx, from, aside)
	if err == nil && stats.Files == 0 {
		err = ErrNoSource
	}
	if err == nil {
		err = publish(lock, aside, to)
	}
	if err != nil {
		return stats, errors.Join(err, os.Remove(aside))
	}
	return stats, nil
}

// occupy makes the file in which the index is built, or empties what a killed import
// left, and locks it. The kernel drops the lock with the process.
func occupy(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("index of advisories: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err == nil {
		// The one who had the lock may have renamed or removed the file since it was opened.
		var mine, there fs.FileInfo
		if mine, err = f.Stat(); err == nil {
			if there, err = os.Lstat(path); err != nil || !os.SameFile(mine, there) {
				err = ErrBusy
			}
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("index of advisories: %w", err)
	}
	return f, nil
}

// publish puts the index in its place, so that a power cut leaves the old or the
// new one.
func publish(f *os.File, aside, to string) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("index of advisories: %w", err)
	}
	if err := os.Rename(aside, to); err != nil {
		return fmt.Errorf("index of advisories: %w", err)
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return nil // It is renamed; only that it lasts could not be made sure.
	}
	defer dir.Close()
	_ = dir.Sync()
	return nil
}

func build(ctx context.Context, from []string, path string) (Stats, error) {
	var stats Stats
	b, err := newBuilder(path)
	if err != nil {
		return stats, fmt.Errorf("index of advisories: %w", err)
	}
	begun := time.Now()
	err = walk(ctx, from, func(file string) error {
		if own(file, strings.TrimSuffix(path, suffixAside)) {
			return nil
		}
		known, err := b.number(`SELECT 1 FROM sources WHERE file = ?`, file)
		if err != nil || known != 0 {
			return err
		}
		return b.source(ctx, file, &stats)
	})
	if err != nil {
		return stats, errors.Join(err, b.close())
	}
	if err := b.finish(ctx, begun); err != nil {
		return stats, fmt.Errorf("index of advisories: %w", err)
	}
	return stats, nil
}

// source imports one file. Its error is one of the index, or the context's.
func (b *builder) source(ctx context.Context, path string, stats *Stats) error {
	var (
		kinds                         reading
		newest                        time.Time
		entries, withdrawn, malformed int
		first                         string
		size, mtime                   int64
		sum                           = []byte{}
	)
	problem := func(entry string, offset int64, err error) {
		p := &Problem{File: path, Entry: entry, Offset: offset, Err: err}
		if malformed++; malformed == 1 {
			first = fmt.Sprintf("%.1000s", p.Error())
		}
		if len(stats.Problems) < maxProblems {
			stats.Problems = append(stats.Problems, p)
		}
	}
	to := sinks{
		record: func(r *record) error {
			if entries++; r.withdrawn {
				withdrawn++
			}
			if r.modified.After(newest) {
				newest = r.modified
			}
			return b.add(r)
		},
		exploited: func(cve string) error {
			entries++
			return b.exploit(cve)
		},
		problem: problem,
	}
	err := func() error {
		f, info, err := openPlain(path)
		if err != nil {
			return err
		}
		defer f.Close()
		size, mtime = info.Size(), info.ModTime().UnixNano()
		if sum, err = hashOf(ctx, f); err != nil {
			return err
		}
		if err := readFile(ctx, f, size, to, &kinds); err != nil {
			return err
		}
		if after, err := f.Stat(); err != nil || after.Size() != size || after.ModTime().UnixNano() != mtime {
			mtime = 0 // Never as it was: the next import reads it again.
			return errors.New("it changed while it was read")
		}
		return nil
	}()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var fatal *fatalError
	if errors.As(err, &fatal) {
		return err
	}
	complete := err == nil
	ignored := errors.Is(err, errForeign) && !claims(path)
	if err != nil && !ignored {
		offset, err := place(err)
		problem("", offset, err)
	}
	if kinds.released.After(newest) {
		newest = kinds.released
	}
	if ignored {
		stats.Ignored++
	} else if len(kinds.names) > 0 {
		stats.Files++
	}
	stats.Entries += entries - withdrawn
	stats.Withdrawn += withdrawn
	stats.Malformed += malformed
	return b.exec(`INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, path, size, mtime, sum,
		strings.Join(kinds.names, ","), ignored, entries-withdrawn, withdrawn, malformed, first, complete, millis(newest))
}

// claims tells whether a file says by its name that it belongs here; a README does
// not.
func claims(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".json", ".jsonl", ".zip", ".gz", ".zst":
		return true
	}
	return false
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func hashOf(ctx context.Context, r io.Reader) ([]byte, error) {
	h := sha256.New()
	buffer := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buffer)
		h.Write(buffer[:n])
		if err == io.EOF {
			return h.Sum(nil), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// unchanged compares the files with those of an index. Whatever goes wrong is a
// reason to import.
func unchanged(ctx context.Context, from []string, to string) (Stats, bool) {
	index, err := Open(to)
	if err != nil {
		return Stats{}, false
	}
	defer index.Close()
	imported, err := index.importedAt(ctx)
	if err != nil {
		return Stats{}, false
	}
	differs := errors.New("differs")
	seen := 0
	err = walk(ctx, from, func(path string) error {
		if own(path, to) {
			return nil
		}
		var size, mtime int64
		var sum []byte
		row := index.db.QueryRowContext(ctx, `SELECT size, mtime, sum FROM sources WHERE file = ?`, path)
		if err := row.Scan(&size, &mtime, &sum); err != nil {
			return err
		}
		f, info, err := openPlain(path)
		if err != nil {
			return err
		}
		defer f.Close()
		seen++
		if info.Size() != size || mtime == 0 {
			return differs
		}
		// A change right after the import may leave the time as it was: clocks of file
		// systems are coarse.
		if info.ModTime().UnixNano() == mtime && info.ModTime().Before(imported.Add(-2*time.Second)) {
			return nil
		}
		now, err := hashOf(ctx, f)
		if err == nil && !bytes.Equal(now, sum) {
			err = differs
		}
		return err
	})
	if err != nil {
		return Stats{}, false
	}
	stats, files, err := index.stats(ctx)
	// Paths that were given twice are seen twice, and are imported again: no harm.
	return stats, err == nil && files == seen
}
