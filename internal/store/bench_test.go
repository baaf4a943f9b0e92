package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// rows are like those of a distribution's libraries.
func rows(n, from int) []Knowledge {
	list := make([]Knowledge, n)
	for i := range list {
		id := from + i
		list[i] = Knowledge{File: FileKey{Dev: 2049, Ino: uint64(id), Birth: int64(id), Mtime: int64(id), Size: int64(id)}, Root: "/",
			Path: fmt.Sprintf("/usr/lib/x86_64-linux-gnu/libexample%d.so.1.2.3", id), BuildID: fmt.Sprintf("%040x", id*104729),
			Manager: "dpkg", Name: fmt.Sprintf("libexample%d", id), Arch: "amd64", Version: "1.2.3-4+deb12u1", Source: "example",
			SourceVersion: "1.2.3-4+deb12u1", SeenAt: at(id)}
	}
	return list
}

// BenchmarkWrite writes 1000 rows in a batch: new ones, and the same ones again.
// The floor is the same content as one file that is written and synced.
func BenchmarkWrite(b *testing.B) {
	ctx := context.Background()
	b.Run("new", func(b *testing.B) {
		s := open(b, newPath(b), Options{})
		for i := 0; b.Loop(); i++ {
			batch := &Batch{Learned: rows(1000, i*1000)}
			if err := s.Write(ctx, batch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		s := open(b, newPath(b), Options{})
		for i := 0; b.Loop(); i++ {
			batch := &Batch{Learned: rows(1000, 0)}
			for j := range batch.Learned {
				batch.Learned[j].SeenAt = at(i)
			}
			if err := s.Write(ctx, batch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("beat", func(b *testing.B) {
		s := open(b, newPath(b), Options{})
		for i := 1; b.Loop(); i++ {
			if err := s.Write(ctx, &Batch{Beat: at(i)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		content, err := json.Marshal(rows(1000, 0))
		if err != nil {
			b.Fatal(err)
		}
		path := newPath(b)
		for b.Loop() {
			f, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.Write(content); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
		b.SetBytes(int64(len(content)))
	})
}

// BenchmarkKnown asks for 1000 keys in a store of 50,000. The floor reads and
// decodes 1000 rows from one file.
func BenchmarkKnown(b *testing.B) {
	ctx := context.Background()
	const all = 50_000
	list := rows(all, 0)
	b.Run("store", func(b *testing.B) {
		s := open(b, newPath(b), Options{})
		write(b, s, &Batch{Learned: list})
		keys := make([]FileKey, 1000)
		for i := 0; b.Loop(); i++ {
			for j := range keys {
				keys[j] = list[(i*31+j*47)%all].File
			}
			known, err := s.Known(ctx, keys)
			if err != nil || len(known) != len(keys) {
				b.Fatal(len(known), err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		content, err := json.Marshal(list[:1000])
		path := newPath(b)
		if err != nil || os.WriteFile(path, content, 0o600) != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			var got []Knowledge
			content, err := os.ReadFile(path)
			if err != nil || json.Unmarshal(content, &got) != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen opens a store of 50,000 files and 20,000 events, which checks it.
func BenchmarkOpen(b *testing.B) {
	path := newPath(b)
	s := open(b, path, Options{})
	batch := &Batch{Learned: rows(50_000, 0)}
	for i := range 20_000 {
		batch.Events = append(batch.Events, Event{At: at(i), Type: "stale", Body: make([]byte, 1000)})
	}
	write(b, s, batch)
	s.Close()
	for b.Loop() {
		s, _, err := Open(context.Background(), path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
