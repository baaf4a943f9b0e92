package file

import (
	"bytes"
	"context"
	"crypto"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// source is a file of a test whose openings are counted.
type source struct {
	Ref
	path   string
	opened *atomic.Int64
}

func newSource(t testing.TB, path string) source {
	t.Helper()
	info, err := StatAt(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	opened := new(atomic.Int64)
	return source{Ref{KeyOf(info), func() (*os.File, error) {
		opened.Add(1)
		return os.Open(path)
	}}, path, opened}
}

func write(t testing.TB, data []byte) source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return newSource(t, path)
}

// tick waits until the file system gives a new change time, which before
// Linux 6.13 it does every few milliseconds.
func tick(t testing.TB, path string) {
	t.Helper()
	before, err := StatAt(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(t.TempDir(), "probe")
	for {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		now, err := StatAt(unix.AT_FDCWD, probe)
		if err != nil {
			t.Fatal(err)
		}
		if now.Ctime.After(before.Ctime) {
			return
		}
		if err := os.Remove(probe); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestCacheHashes(t *testing.T) {
	ctx := t.Context()
	for _, size := range []int{0, 1, hashBuffer - 1, hashBuffer, 2*hashBuffer + 1} {
		data := bytes.Repeat([]byte("sensor"), size/6+1)[:size]
		c, s := NewCache(0), write(t, data)
		for range 3 {
			sum, err := c.SHA256(ctx, s.Key, s.Open)
			if err != nil || sum != sha256.Sum256(data) {
				t.Errorf("SHA-256 of %d bytes: %x, %v", size, sum, err)
			}
			want := md5.Sum(data)
			if sum, err := c.Sum(ctx, crypto.MD5, s.Key, s.Open); err != nil || sum != hex.EncodeToString(want[:]) {
				t.Errorf("MD5 of %d bytes: %s, %v", size, sum, err)
			}
		}
		if files, n := c.Stats(); files != 2 || n != int64(2*size) || s.opened.Load() != 2 {
			t.Errorf("%d bytes: %d files, %d bytes hashed, %d opened", size, files, n, s.opened.Load())
		}
	}
}

func TestCacheFacts(t *testing.T) {
	ctx := t.Context()
	t.Run("ELF", func(t *testing.T) {
		c, s := NewCache(0), newSource(t, "testdata/libanswer.so")
		for range 3 {
			if e, err := c.Facts(ctx, s.Key, s.Open); err != nil || e.Soname != "libanswer.so.42" {
				t.Errorf("%+v, %v", e, err)
			}
		}
		if files, _ := c.Stats(); files != 0 || s.opened.Load() != 1 {
			t.Errorf("%d hashed, %d opened", files, s.opened.Load())
		}
	})
	t.Run("not ELF", func(t *testing.T) {
		c, s := NewCache(0), write(t, []byte("#!/bin/sh\n"))
		for range 3 {
			if _, err := c.Facts(ctx, s.Key, s.Open); !errors.Is(err, ErrNotELF) {
				t.Error(err)
			}
		}
		if s.opened.Load() != 1 {
			t.Errorf("%d opened", s.opened.Load())
		}
	})
	t.Run("malformed", func(t *testing.T) {
		m := elfMaker{bits: 64, order: binary.LittleEndian, interp: "/lib/ld.so"}
		m.noteSegments = []noteSegment{{4, m.note(4, "FDO\x00", notePackage, []byte("{"))}}
		c, s := NewCache(0), write(t, m.bytes())
		for range 3 {
			e, err := c.Facts(ctx, s.Key, s.Open)
			if _, ok := errors.AsType[*FormatError](err); !ok || e.Interp != "/lib/ld.so" {
				t.Errorf("%+v, %v", e, err)
			}
		}
		if s.opened.Load() != 1 {
			t.Errorf("%d opened", s.opened.Load())
		}
	})
	t.Run("refused", func(t *testing.T) {
		c, s := NewCache(0), newSource(t, "testdata/libanswer.so")
		refuse := func() (*os.File, error) { return nil, fs.ErrPermission }
		if _, err := c.Facts(ctx, s.Key, refuse); !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
		if _, err := c.Facts(ctx, s.Key, s.Open); err != nil {
			t.Errorf("the refusal was remembered: %v", err)
		}
	})
}

func TestCacheConcurrent(t *testing.T) {
	c, s := NewCache(0), newSource(t, "testdata/libanswer.so")
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			<-start
			if _, err := c.Facts(t.Context(), s.Key, s.Open); err != nil {
				t.Error(err)
			}
			if _, err := c.SHA256(t.Context(), s.Key, s.Open); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	if files, n := c.Stats(); files != 1 || n != s.Key.Size || s.opened.Load() != 2 {
		t.Errorf("%d files, %d bytes hashed, %d opened", files, n, s.opened.Load())
	}
}

func TestCacheLimit(t *testing.T) {
	c, s := NewCache(8), newSource(t, "testdata/libanswer.so")
	key := s.Key
	for i := range 1000 {
		key.ID.Ino = uint64(i)
		if _, err := c.Facts(t.Context(), key, s.Open); err != nil {
			t.Fatal(err)
		}
		if n := len(c.young) + len(c.old); n > 8 {
			t.Fatalf("%d contents after %d", n, i+1)
		}
		// What is asked for again and again is not forgotten.
		if _, err := c.Facts(t.Context(), s.Key, s.Open); err != nil {
			t.Fatal(err)
		}
	}
	if s.opened.Load() != 1001 {
		t.Errorf("%d opened", s.opened.Load())
	}
}

func TestCacheChanged(t *testing.T) {
	ctx := t.Context()
	data := make([]byte, 3*hashBuffer)
	overwrite := func(t *testing.T, path string) {
		tick(t, path)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("new"), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("before", func(t *testing.T) {
		c, s := NewCache(0), write(t, data)
		overwrite(t, s.path)
		if _, err := c.SHA256(ctx, s.Key, s.Open); !errors.Is(err, ErrChanged) {
			t.Error(err)
		}
		if _, err := c.Facts(ctx, s.Key, s.Open); !errors.Is(err, ErrChanged) {
			t.Error(err)
		}
		now := newSource(t, s.path)
		if _, err := c.SHA256(ctx, now.Key, now.Open); err != nil {
			t.Error(err)
		}
	})
	// The context is asked between two chunks: a place to change the file at.
	while := func(change func(t *testing.T, path string)) func(*testing.T) {
		return func(t *testing.T) {
			c, s := NewCache(0), write(t, data)
			looks := 0
			ctx := hookContext{ctx, func() {
				if looks++; looks == 3 {
					change(t, s.path)
				}
			}}
			if _, err := c.SHA256(ctx, s.Key, s.Open); !errors.Is(err, ErrChanged) {
				t.Error(err)
			}
			if looks < 3 {
				t.Fatal("the file was never changed")
			}
			if _, err := c.SHA256(t.Context(), s.Key, s.Open); !errors.Is(err, ErrChanged) {
				t.Errorf("the hash of a changing file was remembered: %v", err)
			}
		}
	}
	t.Run("overwritten", while(overwrite))
	t.Run("truncated", while(func(t *testing.T, path string) {
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
	}))
	t.Run("grown", while(func(t *testing.T, path string) {
		if err := os.Truncate(path, 10*hashBuffer); err != nil {
			t.Fatal(err)
		}
	}))
}

type hookContext struct {
	context.Context
	hook func()
}

func (h hookContext) Err() error {
	h.hook()
	return h.Context.Err()
}

func TestCacheCancelled(t *testing.T) {
	c, s := NewCache(0), write(t, make([]byte, 3*hashBuffer))
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	_, err := c.SHA256(hookContext{ctx, func() {
		if looks++; looks == 3 {
			cancel()
		}
	}}, s.Key, s.Open)
	if _, n := c.Stats(); !errors.Is(err, context.Canceled) || n != hashBuffer {
		t.Errorf("%v after %d bytes", err, n)
	}
	if _, err := c.SHA256(t.Context(), s.Key, s.Open); err != nil {
		t.Errorf("the cancellation was remembered: %v", err)
	}

	// Who waits for another's reading can be cancelled too.
	c = NewCache(0)
	opened, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := c.SHA256(context.Background(), s.Key, func() (*os.File, error) {
			close(opened)
			<-release
			return s.Open()
		})
		done <- err
	}()
	<-opened
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.SHA256(ctx, s.Key, s.Open); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCacheRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Run("FIFO", func(t *testing.T) {
		path := filepath.Join(dir, "fifo")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSource(t, path)
		open := func() (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) }
		if _, err := NewCache(0).SHA256(t.Context(), s.Key, open); !errors.Is(err, ErrNotRegular) {
			t.Error(err)
		}
		if _, err := NewCache(0).Facts(t.Context(), s.Key, open); !errors.Is(err, ErrNotRegular) {
			t.Error(err)
		}
	})
	t.Run("directory", func(t *testing.T) {
		s := newSource(t, dir)
		if _, err := NewCache(0).Sum(t.Context(), crypto.MD5, s.Key, s.Open); !errors.Is(err, ErrNotRegular) {
			t.Error(err)
		}
	})
	t.Run("huge sparse file", func(t *testing.T) {
		path := filepath.Join(dir, "huge")
		elf, err := os.ReadFile("testdata/libanswer.so")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, elf, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, MaxHashSize+1); err != nil {
			t.Fatal(err)
		}
		c, s := NewCache(0), newSource(t, path)
		if _, err := c.SHA256(t.Context(), s.Key, s.Open); !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
		if files, n := c.Stats(); files != 0 || n != 0 {
			t.Errorf("%d files, %d bytes hashed", files, n)
		}
		if e, err := c.Facts(t.Context(), s.Key, s.Open); err != nil || e.BuildID == "" {
			t.Errorf("facts of a huge file: %+v, %v", e, err)
		}
	})
}

const benchmarkSize = 16 << 20

// BenchmarkSHA256 is to be read beside its floor: hashing the same bytes in
// memory.
func BenchmarkSHA256(b *testing.B) {
	data := make([]byte, benchmarkSize)
	s := write(b, data)
	b.Run("floor", func(b *testing.B) {
		b.SetBytes(benchmarkSize)
		for b.Loop() {
			sha256.Sum256(data)
		}
	})
	b.Run("cache", func(b *testing.B) {
		b.SetBytes(benchmarkSize)
		for b.Loop() {
			if _, err := NewCache(0).SHA256(b.Context(), s.Key, s.Open); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("MD5", func(b *testing.B) {
		b.SetBytes(benchmarkSize)
		for b.Loop() {
			if _, err := NewCache(0).Sum(b.Context(), crypto.MD5, s.Key, s.Open); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFacts(b *testing.B) {
	s := newSource(b, "testdata/libanswer.so")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewCache(0).Facts(b.Context(), s.Key, s.Open); err != nil {
			b.Fatal(err)
		}
	}
}
