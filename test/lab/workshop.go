package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Workshop compiles small programs and libraries into a directory of its own,
// each set of arguments once. It is safe for concurrent use.
type Workshop struct {
	dir   string
	mu    sync.Mutex
	built map[string]string // output by command line
}

// NewWorkshop makes an empty workshop under the system's temporary directory.
func NewWorkshop() (*Workshop, error) {
	dir, err := os.MkdirTemp("", "sensor-workshop.")
	if err != nil {
		return nil, err
	}
	return &Workshop{dir: dir, built: make(map[string]string)}, nil
}

// Close removes everything that was built.
func (w *Workshop) Close() error { return os.RemoveAll(w.dir) }

// C compiles with gcc and the given arguments, sources included, and returns
// the path of the result. Its build ID follows from its content.
func (w *Workshop) C(t testing.TB, args ...string) string {
	t.Helper()
	return w.build(t, strings.Join(args, "\x00"), func(out string) *exec.Cmd {
		fixed := []string{"-o", out, "-O1", "-Wall", "-Werror", "-pthread", "-Wl,--build-id=sha1", "-Wl,--no-as-needed"}
		return exec.Command("gcc", append(fixed, args...)...)
	})
}

// Go compiles the Go program in the file source, statically linked and with
// its variable main.version set.
func (w *Workshop) Go(t testing.TB, source, version string) string {
	t.Helper()
	return w.build(t, source+"\x00"+version, func(out string) *exec.Cmd {
		cmd := exec.Command("go", "build", "-o", out, "-ldflags=-X main.version="+version, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		return cmd
	})
}

func (w *Workshop) build(t testing.TB, key string, command func(out string) *exec.Cmd) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if out, ok := w.built[key]; ok {
		return out
	}
	out := filepath.Join(w.dir, fmt.Sprintf("%03d", len(w.built)))
	cmd := command(out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s(test/install-deps installs what the labs need)", cmd.Args, err, msg)
	}
	w.built[key] = out
	return out
}
