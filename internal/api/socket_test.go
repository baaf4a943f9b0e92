package api

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// TestListen looks at what Listen makes, whatever the umask.
func TestListen(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o177, 0o777} {
		dir := filepath.Join(filepath.Dir(socketPath(t)), "made")
		s := New(Options{Socket: filepath.Join(dir, "s"), Group: "0"})
		was := unix.Umask(umask)
		err := s.Listen()
		unix.Umask(was)
		if err != nil {
			t.Fatalf("umask %o: %v", umask, err)
		}
		for name, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o755, s.opts.Socket: fs.ModeSocket | 0o660} {
			if info, err := os.Lstat(name); err != nil || info.Mode() != want {
				t.Errorf("umask %o: %s: %v, %v, want %v", umask, name, info, err, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Errorf("left behind: %v, %v", names, err)
		}
	}
}

// TestClosedSocket holds that nobody else can connect while a socket is made.
func TestClosedSocket(t *testing.T) {
	was := unix.Umask(0)
	s, err := closedSocket(t.Context(), socketPath(t))
	unix.Umask(was)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Lstat(s.path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// abandon leaves a socket as a killed sensor does.
func abandon(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestListenOverWhatIsThere(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		// want is part of the error; there is none if it is empty.
		want string
		is   error
	}{
		{"nothing", func(*testing.T, string) {}, "", nil},
		{"an abandoned socket", abandon, "", nil},
		{"an abandoned socket, half made", func(t *testing.T, path string) { abandon(t, path+".new") }, "", nil},
		{"a sensor", func(t *testing.T, path string) {
			other := New(Options{Socket: path})
			if err := other.Listen(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { other.Close() })
		}, "", ErrInUse},
		{"a file", func(t *testing.T, path string) { os.WriteFile(path, []byte("precious"), 0o600) }, "not a socket", nil},
		{"a directory", func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, "not a socket", nil},
		{"a link to a socket", func(t *testing.T, path string) {
			abandon(t, path+".target")
			os.Symlink(path+".target", path)
		}, "not a socket", nil},
		{"a link where it is made", func(t *testing.T, path string) { os.Symlink("/dev/null", path+".new") }, "not a socket", nil},
		{"a directory for everybody", func(t *testing.T, path string) { os.Chmod(filepath.Dir(path), 0o777) }, "changed by other users", nil},
		{"a directory of its group", func(t *testing.T, path string) { os.Chmod(filepath.Dir(path), 0o775) }, "changed by other users", nil},
		{"a sticky directory", func(t *testing.T, path string) { os.Chmod(filepath.Dir(path), 0o777|fs.ModeSticky) }, "", nil},
		{"a stranger's directory", func(t *testing.T, path string) {
			if os.Chown(filepath.Dir(path), stranger, stranger) != nil {
				t.Skip("giving a directory away needs root")
			}
		}, "changed by other users", nil},
		{"no directory to make one in", func(t *testing.T, path string) { os.Remove(filepath.Dir(path)) }, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := socketPath(t)
			test.make(t, path)
			before, _ := os.Lstat(path)
			s := New(Options{Socket: path})
			err := s.Listen()
			if test.want == "" && test.is == nil {
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				c, err := net.Dial("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if after, _ := os.Lstat(path); before != nil && (after == nil || !os.SameFile(before, after)) {
				t.Error("what was there is gone")
			}
		})
	}
	if err := New(Options{Socket: "/no/such/directory/s"}).Listen(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory in none: %v", err)
	}
	if err := New(Options{Socket: filepath.Join(filepath.Dir(socketPath(t)), strings.Repeat("x", 120))}).Listen(); err == nil {
		t.Error("a name that is too long for a socket")
	}
}

// TestSuccessor holds that a sensor that ends leaves the socket of the next one.
func TestSuccessor(t *testing.T) {
	first := New(Options{Socket: socketPath(t)})
	if err := first.Listen(); err != nil {
		t.Fatal(err)
	}
	// Somebody cleaned up below it.
	if err := os.Remove(first.opts.Socket); err != nil {
		t.Fatal(err)
	}
	second := serve(t, &sinktest.Live{}, func(s *Server) { s.opts.Socket = first.opts.Socket })
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := sensor.NewClient(second.opts.Socket).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestEnd holds that a door that has closed leaves nothing behind.
func TestEnd(t *testing.T) {
	var s *Server
	t.Run("serve", func(t *testing.T) { s = serve(t, &sinktest.Live{}, nil) })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	path := s.opts.Socket
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := sensor.NewClient(path).Status(t.Context()); !errors.Is(err, sensor.ErrNoDaemon) {
		t.Errorf("%v, want ErrNoDaemon", err)
	}
}
