package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/advisory"
	"github.com/patchsensor/patchsensor/sensor"
)

// defaultStateDir is where the running sensor keeps what it knows.
const defaultStateDir = "/var/lib/sensor"

// parseAdvisories takes an index of advisories or a directory with dumps of them;
// empty is the usual index.
func parseAdvisories(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if strings.IndexByte(s, 0) >= 0 {
		return "", errors.New("want a path")
	}
	return filepath.Abs(s)
}

// parseAdvisoriesKey is parseAdvisories for the configuration file, which is read from
// any directory.
func parseAdvisoriesKey(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parseAbsolute(s)
}

// addAdvisories declares --advisories.
func addAdvisories(cmd *cobra.Command, f *typed[string]) {
	*f = typed[string]{"", "", parseAdvisories, "PATH"}
	cmd.Flags().Var(f, "advisories", "index of advisories, or directory of dumps to import first (default "+sensor.DefaultAdvisories+" if it exists)")
	_ = cmd.MarkFlagFilename("advisories")
}

// advice is where the advisories are that a look at the machine uses.
type advice struct {
	// named is an index or a directory with dumps, "" for the usual index.
	named    string
	stateDir string
}

// place tells which index is used, "" for the usual one, and the directory with the
// dumps that it is made from, "" if it is there already.
func (a advice) place() (index, dumps string) {
	if info, err := os.Stat(a.named); err != nil || !info.IsDir() {
		return a.named, ""
	}
	return filepath.Join(a.stateDir, filepath.Base(sensor.DefaultAdvisories)), a.named
}

// ready imports what has changed, and returns the index to use, "" for the usual one.
// Dumps go to the running sensor's index if that is made from them or is not there yet,
// so that all use one; else to one in the user's cache directory.
func (a advice) ready(ctx context.Context, log *zap.Logger) (string, error) {
	index, dumps := a.place()
	if dumps == "" {
		return index, nil
	}
	ours, err := madeFrom(ctx, index, dumps)
	if err != nil {
		return "", err
	}
	if ours {
		stats, err := advisory.Import(ctx, []string{dumps}, index)
		if err == nil {
			logImport(log, index, &stats)
			return index, nil
		}
		if !closed(err) {
			return "", importFailed(err)
		}
	}
	if index, err = cachedIndex(); err != nil {
		return "", err
	}
	stats, err := advisory.Import(ctx, []string{dumps}, index)
	if err != nil {
		return "", importFailed(err)
	}
	logImport(log, index, &stats)
	return index, nil
}

// closed reports whether an error says that a file cannot be made where it should be.
func closed(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EROFS)
}

// madeFrom reports whether an index may be made anew from a directory: then nothing is
// lost that was imported from elsewhere.
func madeFrom(ctx context.Context, index, dir string) (bool, error) {
	x, err := advisory.Open(index)
	if err != nil {
		return true, nil // Whatever it is, it is of no use to anybody, or cannot be written.
	}
	defer x.Close()
	status, err := x.Status(ctx)
	if err != nil {
		return ctx.Err() == nil, ctx.Err()
	}
	for _, s := range status.Sources {
		if rel, err := filepath.Rel(dir, s.File); err != nil || !filepath.IsLocal(rel) {
			return false, nil
		}
	}
	return true, nil
}

// cachedIndex is the place of an index that is this user's alone.
func cachedIndex() (string, error) {
	instead := `import them with "sensor advisories import --index FILE", and name FILE with --advisories`
	base, err := os.UserCacheDir()
	if err != nil {
		return "", &helpedError{fmt.Errorf("no place for an index of advisories: %w", err), instead}
	}
	dir := filepath.Join(base, "sensor")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", &helpedError{fmt.Errorf("no place for an index of advisories: %w", err), instead}
	}
	// sudo may leave HOME as it was, and whoever owns a directory can put anything there.
	for d := dir; ; d = filepath.Dir(d) {
		var st unix.Stat_t
		if err := unix.Stat(d, &st); err != nil {
			return "", fmt.Errorf("%s: %w", d, err)
		}
		if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return "", &helpedError{fmt.Errorf("no place for an index of advisories: %s belongs to another user", d), instead}
		}
		if d == filepath.Dir(d) {
			return filepath.Join(dir, filepath.Base(sensor.DefaultAdvisories)), nil
		}
	}
}

// importFailed adds to an error of an import what to do about it.
func importFailed(err error) error {
	switch {
	case errors.Is(err, advisory.ErrBusy):
		return &helpedError{err, "try again when it has ended"}
	case errors.Is(err, advisory.ErrNoSource):
		return &helpedError{err, "name files or directories with OSV records, Debian's security tracker or CISA's catalogue, as JSON, .zip, .gz or .zst"}
	}
	return err
}

// logImport says what was imported.
func logImport(log *zap.Logger, index string, stats *advisory.Stats) {
	fields := []zap.Field{zap.String("index", index), zap.Int("files", stats.Files), zap.Int("advisories", stats.Entries)}
	if stats.Unchanged {
		log.Info("the advisories are those of the last import", fields...)
		return
	}
	if stats.Malformed == 0 {
		log.Info("advisories were imported", fields...)
		return
	}
	fields = append(fields, zap.Int("malformed", stats.Malformed))
	if len(stats.Problems) > 0 {
		fields = append(fields, zap.String("first", stats.Problems[0].Error()))
	}
	log.Warn("advisories were imported, and some could not be understood", fields...)
}
