package cases

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// Code that a program wrote for itself and unlinked was never installed, so no
// newer version of it can be, wherever it was written.
func TestJustInTimeCode(t *testing.T) {
	for _, parent := range []string{"/tmp", "/dev/shm", "/var/lib", "/opt"} {
		t.Run(parent, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			dir, err := os.MkdirTemp(parent, "sensor-lab.")
			must(t, err)
			t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
			b.start(lab.Command{
				Path: b.install(daemon(t, "1"), "bin/food"),
				Args: []string{"jit", filepath.Join(dir, "code")},
			})
			b.silence()
		})
	}
}

// Native libraries of Java and Python programs: extracted, loaded, unlinked.
func TestExtractedLibrary(t *testing.T) {
	for _, parent := range []string{"/tmp", "/dev/shm", "/var/lib", "/opt"} {
		t.Run(parent, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			dir, err := os.MkdirTemp(parent, "sensor-lab.")
			must(t, err)
			t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
			lib := filepath.Join(dir, "libjni123.so")
			copyFile(t, library(t, "libjni.so", "1"), lib, os.O_CREATE|os.O_EXCL)
			b.start(lab.Command{Path: b.install(daemon(t, "1"), "bin/food"), Args: []string{"open", lib}})
			must(t, os.Remove(lib))
			b.silence()
		})
	}
}

func TestMemfdExecutable(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	exe := b.install(daemon(t, "1"), "bin/food")
	b.start(lab.Command{Path: exe, Args: []string{"memfd", exe}})
	b.silence()
}
