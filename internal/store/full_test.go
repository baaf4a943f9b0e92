package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of some MiB.
func smallDisk(t *testing.T, mib int) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a full disk (mounting one needs root)")
	}
	dir = t.TempDir()
	if err := syscall.Mount("store-test", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, fmt.Sprintf("size=%dm,mode=700", mib)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space that is left.
func fill(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for block := bytes.Repeat([]byte{1}, 1<<16); len(block) > 0; {
		n, err := f.Write(block)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if n == 0 {
			block = block[:len(block)/2]
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return ballast
}

// round is a batch of about 100 KiB that tells its parts.
func round(n int) *Batch {
	b := &Batch{Meta: map[string]string{"round": fmt.Sprint(n)}}
	for i := range 100 {
		b.Events = append(b.Events, Event{At: at(n), Type: fmt.Sprint(n), Body: make([]byte, 900)})
		b.Learned = append(b.Learned, Knowledge{File: FileKey{Ino: uint64(i)}, Version: fmt.Sprint(n), SeenAt: at(n)})
		b.Opened = append(b.Opened, Exposure{Finding: fmt.Sprintf("%d/%d", n, i), Opened: at(n)})
	}
	return b
}

// whole fails unless exactly the rounds 1 to n are there.
func whole(t *testing.T, s *Store, n int) {
	t.Helper()
	ctx := context.Background()
	opened, err1 := s.OpenExposures(ctx)
	known, err2 := s.Known(ctx, []FileKey{{Ino: 0}, {Ino: 99}})
	last, _, err3 := s.Meta(ctx, "round")
	events, _, err4 := s.Events(ctx, 0, 0)
	if err := errors.Join(err1, err2, err3, err4, sound(ctx, s.db)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(n)
	if len(opened) != n*100 || len(events) != min(n*100, maxRows) || last != want || known[FileKey{Ino: 0}].Version != want || known[FileKey{Ino: 99}].Version != want {
		t.Fatalf("after %d rounds: %d exposures, %d events, last %s, known %v", n, len(opened), len(events), last, known)
	}
}

// TestFull: a write that finds no space changes nothing, reading goes on, and when
// there is space so does writing, without opening anew.
func TestFull(t *testing.T) {
	ctx := context.Background()
	dir := smallDisk(t, 24)
	path := filepath.Join(dir, "sensor.db")
	s := open(t, path, Options{})
	n := 0
	for cycle := range 4 {
		var err error
		for range 3 { // So that the log is not always at the same point.
			if err = s.Write(ctx, round(n+1)); err != nil {
				t.Fatal(err)
			}
			n++
		}
		ballast := fill(t, dir)
		b := round(n + 1)
		for range 1000 {
			if err = s.Write(ctx, b); err != nil {
				break
			}
			n++
			b = round(n + 1)
		}
		if !errors.Is(err, ErrFull) || b.Events[0].Seq != 0 || b.Opened[0].ID != 0 {
			t.Fatalf("cycle %d: %v, want ErrFull", cycle, err)
		}
		whole(t, s, n)
		if err := s.Write(ctx, b); !errors.Is(err, ErrFull) {
			t.Fatalf("again: %v", err)
		}
		whole(t, s, n)
		if cycle == 2 {
			// The daemon is restarted on a full disk: it can at least read.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path, Options{})
			whole(t, s, n)
		}
		if cycle == 3 {
			// Killed on a full disk, and started anew.
			crashed := filepath.Join(t.TempDir(), "crashed.db")
			for _, suffix := range []string{"", "-wal"} {
				content, err := os.ReadFile(path + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(crashed+suffix, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			whole(t, open(t, crashed, Options{}), n)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		write(t, s, b) // The very same batch.
		n++
		whole(t, s, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	whole(t, s, n)
	s.Close()
}

// TestFullFromTheStart: no space to make a store, then some.
func TestFullFromTheStart(t *testing.T) {
	dir := smallDisk(t, 2)
	path := filepath.Join(dir, "sensor.db")
	ballast := fill(t, dir)
	for range 2 {
		s, r, err := Open(context.Background(), path, Options{})
		if s != nil || r != nil || !errors.Is(err, ErrFull) {
			t.Fatalf("%v, %v, %v, want ErrFull", s, r, err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if usable(t, path) != nil {
		t.Error("what a failed start left was taken for a broken store")
	}
}

// TestFullPrune: pruning a full disk either works or says so, and loses nothing.
func TestFullPrune(t *testing.T) {
	ctx := context.Background()
	dir := smallDisk(t, 24)
	s := open(t, filepath.Join(dir, "sensor.db"), Options{MaxEvents: 150})
	n := 0
	for range 30 {
		write(t, s, round(n+1))
		n++
	}
	ballast := fill(t, dir)
	err := s.Prune(ctx, at(n))
	if err != nil && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	t.Logf("on a full disk: %v", err)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	before, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Prune(ctx, at(n)), sound(ctx, s.db)); err != nil {
		t.Fatal(err)
	}
	after, err := s.Size()
	events, _, err2 := s.Events(ctx, 0, 0)
	if err := errors.Join(err, err2); err != nil || len(events) != 150 || events[149].Type != fmt.Sprint(n) || after > before {
		t.Errorf("%d events, %d bytes of %d, %v", len(events), after, before, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
