package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/patchsensor/patchsensor/internal/advisory"
	"github.com/patchsensor/patchsensor/sensor"
)

// dumpDir is a directory with one advisory, about a CVE of that number.
func dumpDir(t *testing.T, number string) string {
	t.Helper()
	dir := t.TempDir()
	text := `{"schema_version": "1.6.0", "id": "CVE-2026-` + number + `", "modified": "2026-01-02T00:00:00Z"}`
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The dumps are imported when they are asked for, and everything is judged anew by the
// options of now when there are others.
func TestAdvise(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	logs, seen := observer.New(zapcore.DebugLevel)
	hangups := make(chan os.Signal, 1)
	index := filepath.Join(t.TempDir(), "advisories.db")
	now := runOptions{dumps: dumpDir(t, "0001"), run: sensor.Options{Advisories: index, Live: sensor.LiveOptions{Sweep: time.Minute}}}
	anew := now
	s := newService(zap.New(logs), hangups, func() (runOptions, error) { return anew, nil }, now)
	live := &patient{got: make(chan sensor.LiveOptions)}
	asked := make(chan string, 1)
	var results []error
	load := func(ctx context.Context, dumps, index string) (advisory.Stats, error) {
		stats, err := importDumps(ctx, dumps, index)
		results = append(results, err)
		asked <- dumps
		return stats, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { s.tend(ctx, live); done <- struct{}{} }()
	go func() { s.advise(ctx, load); done <- struct{}{} }()
	s.renew(&now)
	<-asked
	if o := <-live.got; o.Sweep != time.Minute {
		t.Errorf("judged with %+v", o)
	}

	// Nothing new: the reload is all that there is to look at.
	anew.run.Live.Sweep = time.Hour
	hangups <- syscall.SIGHUP
	if o := <-live.got; o.Sweep != time.Hour {
		t.Errorf("judged with %+v", o)
	}
	<-asked

	// Others, which the options of the last reload go with.
	second := dumpDir(t, "0002")
	anew.dumps = second
	hangups <- syscall.SIGHUP
	<-live.got
	if dir := <-asked; dir != anew.dumps {
		t.Errorf("imported %s", dir)
	}
	if o := <-live.got; o.Sweep != time.Hour {
		t.Errorf("judged with %+v", o)
	}

	// What cannot be imported leaves all as it is, and is logged.
	anew.dumps = filepath.Join(t.TempDir(), "nowhere")
	hangups <- syscall.SIGHUP
	<-live.got
	<-asked

	// An index that the sensor does not use is not made.
	anew.dumps, anew.run.Advisories = now.dumps, "/elsewhere/advisories.db"
	hangups <- syscall.SIGHUP
	<-live.got
	cancel()
	<-done
	<-done
	if len(results) != 4 || results[3] == nil || len(asked) > 0 {
		t.Errorf("imported with %v", results)
	}
	if list := seen.FilterMessage("these keys take effect when the sensor is started again").All(); len(list) != 1 {
		t.Errorf("logged %v", seen.All())
	}
	x, err := advisory.Open(index)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	status, err := x.Status(t.Context())
	if err != nil || len(status.Sources) != 1 || filepath.Dir(status.Sources[0].File) != second {
		t.Errorf("%+v, %v", status, err)
	}
}

// An index that was made from elsewhere is not replaced for the sake of one question.
func TestMadeFrom(t *testing.T) {
	dir := dumpDir(t, "0001")
	index := filepath.Join(t.TempDir(), "advisories.db")
	if _, err := advisory.Import(t.Context(), []string{dir}, index); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(foreign, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		index, dir string
		want       bool
	}{
		{index, dir, true},
		{index, filepath.Dir(dir), true},
		{index, dir + "x", false},
		{index, filepath.Join(dir, "sub"), false},
		{index + ".none", dir, true},
		{foreign, dir, true},
	} {
		if got, err := madeFrom(t.Context(), c.index, c.dir); got != c.want || err != nil {
			t.Errorf("%s from %s: %v, %v", c.index, c.dir, got, err)
		}
	}
}

// The cache directory has to be this user's own, and all above it root's or theirs.
func TestCachedIndex(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(base, "cache"))
	index, err := cachedIndex()
	if err != nil || index != filepath.Join(base, "cache", "sensor", "advisories.db") {
		t.Fatalf("%s, %v", index, err)
	}
	if info, err := os.Stat(filepath.Dir(index)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	var helped *helpedError
	if _, err := cachedIndex(); !errors.As(err, &helped) {
		t.Errorf("without a home: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root can make another user's directory")
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(base, "cache"))
	if err := os.Chown(filepath.Join(base, "cache"), 1000, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := cachedIndex(); !errors.As(err, &helped) || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("another user's: %v", err)
	}
}
