package pacman

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

func TestBusy(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	busy := func(want bool) {
		t.Helper()
		if got, err := Busy(root); got != want || err != nil {
			t.Errorf("busy %v, %v, want %v", got, err, want)
		}
	}
	busy(false) // there is not even a database
	write(t, dir, local+"ALPM_DB_VERSION", "9\n")
	busy(false)
	lock := filepath.Join(dir, lockName)
	// As pacman does it: nobody may read it.
	f, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	busy(true)
	f.Close()
	busy(true) // a pacman that was killed
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	busy(false) // it was killed before the machine was started
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	busy(false)
}

func TestBusyHostile(t *testing.T) {
	plant := map[string]func(name string) error{
		"fifo":      func(name string) error { return unix.Mkfifo(name, 0o640) },
		"directory": func(name string) error { return os.Mkdir(name, 0o750) },
	}
	for what, mk := range plant {
		dir := t.TempDir()
		write(t, dir, local+"ALPM_DB_VERSION", "9\n")
		if err := mk(filepath.Join(dir, lockName)); err != nil {
			t.Fatal(err)
		}
		held, err := Busy(openRoot(t, dir))
		var oe *owner.Error
		if held || !errors.Is(err, file.ErrNotRegular) || !errors.As(err, &oe) || oe.File != "/"+lockName {
			t.Errorf("%s: busy %v, %v", what, held, err)
		}
	}
	// A link out of the root leads to nothing.
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "lock")
	write(t, "/", outside, "")
	link(t, dir, lockName, outside)
	if held, err := Busy(openRoot(t, dir)); held || err != nil {
		t.Errorf("busy %v, %v", held, err)
	}
}

func TestAlive(t *testing.T) {
	boot := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		made time.Duration
		want bool
	}{{time.Hour, true}, {0, true}, {-time.Minute, true}, {-time.Hour, false}, {-1e4 * time.Hour, false}, {1e4 * time.Hour, true}} {
		if got := alive(boot.Add(tt.made), boot); got != tt.want {
			t.Errorf("made %v after the boot: %v", tt.made, got)
		}
	}
}
