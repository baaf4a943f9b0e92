package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// TestAgainstOverlay makes layers by working in real overlays, one upon the other, and
// holds that the stack shows what a real overlay over all of them does, from the right
// directory. Without the right to read marks it may say that it does not know, and
// nothing wrong.
func TestAgainstOverlay(t *testing.T) {
	needRoot(t)
	var known, unknown int
	kinds := []string{"redirect_dir=on,metacopy=on", "redirect_dir=on,metacopy=off", "redirect_dir=off,metacopy=off", "userxattr"}
	for seed := range uint64(60) {
		kind := kinds[seed%uint64(len(kinds))]
		t.Run(fmt.Sprintf("%d %s", seed, kind), func(t *testing.T) {
			w := newWorld(t, seed, kind)
			// Unlike the kernel's, this overlay follows what earlier ones left.
			options := "redirect_dir=on,metacopy=on"
			if kind == "userxattr" {
				options = kind
			}
			upper, lower := w.layers[0], w.layers[1:]
			if seed%3 == 0 {
				upper, lower = "", w.layers
			}
			real, err := file.OpenRoot(overlay(t, options, upper, lower))
			must(t, err)
			defer real.Close()
			open := Open
			if kind == "userxattr" {
				open = OpenUser
			}
			s, err := open(hostRoot(t), upper, lower)
			must(t, err)
			defer s.Close()
			names := w.names(real)
			for _, name := range names {
				if w.compare(t, s, real, name) {
					t.Errorf("%s: not known", name)
				}
			}
			withoutSysAdmin(t, func() {
				for _, name := range names {
					if w.compare(t, s, real, name) {
						unknown++
					} else {
						known++
					}
				}
			})
			if t.Failed() {
				w.show(t)
			}
		})
	}
	t.Logf("without CAP_SYS_ADMIN: %d known, %d not", known, unknown)
}

// withoutSysAdmin runs f on a thread without CAP_SYS_ADMIN, which ends with it.
func withoutSysAdmin(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			done <- err
			return
		}
		data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		err := unix.Capset(&header, &data[0])
		if err == nil {
			f()
		}
		done <- err
	}()
	must(t, <-done)
}

// world is a stack of layers, made at random.
type world struct {
	rand    *rand.Rand
	layers  []string // topmost first
	written int
	log     []string
}

const contentSize = 16

func newWorld(t *testing.T, seed uint64, kind string) *world {
	w := &world{rand: rand.New(rand.NewPCG(seed, 1))}
	for n := range 2 + w.rand.IntN(4) {
		dir := shortTemp(t)
		must(t, os.Chmod(dir, 0o755))
		if n == 0 {
			w.work(t, dir, 60)
		} else {
			at := overlay(t, kind+",index=off", dir, w.layers)
			w.work(t, at, 25)
			must(t, unix.Unmount(at, 0))
		}
		w.layers = append([]string{dir}, w.layers...)
	}
	for i, dir := range w.layers {
		sign(t, dir, i)
	}
	return w
}

// sign writes the number of the layer into each file that has data there.
func sign(t *testing.T, dir string, number int) {
	must(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if n, err := unix.Getxattr(name, "trusted.overlay.metacopy", nil); err == nil && n >= 0 {
			return nil
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = fmt.Fprintf(f, "L%03d", number)
		return err
	}))
}

var components = []string{"a", "b", "c", "dd", "e"}

func (w *world) name() string {
	parts := make([]string, 1+w.rand.IntN(4))
	for i := range parts {
		parts[i] = components[w.rand.IntN(len(components))]
	}
	return path.Join(parts...)
}

// work does things in a root; many are impossible, which is fine.
func (w *world) work(t *testing.T, dir string, steps int) {
	t.Helper()
	r, err := os.OpenRoot(dir)
	must(t, err)
	defer r.Close()
	for range steps {
		name, other := w.name(), w.name()
		var err error
		what := ""
		switch k := w.rand.IntN(20); k {
		case 0, 1, 2, 3:
			what, err = "mkdir", r.MkdirAll(name, 0o755)
		case 4, 5, 6, 7:
			w.written++
			_ = r.MkdirAll(path.Dir(name), 0o755)
			what, err = "write", write(r, name, fmt.Sprintf("new-%0*d", contentSize-4, w.written))
		case 8, 9:
			what, err = "remove", r.RemoveAll(name)
		case 10, 11, 12, 13:
			what, err = "rename", r.Rename(name, other)
		case 14, 15:
			target := w.name()
			switch w.rand.IntN(4) {
			case 0:
				target = "/" + target
			case 1:
				target = "../" + target
			case 2:
				target = "../../../.."
			}
			other = target
			what, err = "symlink", r.Symlink(target, name)
		case 16:
			what, err = "chmod", r.Chmod(name, os.FileMode(0o700+w.rand.IntN(64)))
		case 17:
			what, err = "link", r.Link(name, other)
		case 18: // what was a directory becomes a new one, or a file
			if err = r.RemoveAll(name); err == nil {
				what, err = "again", r.MkdirAll(name, 0o755)
			}
		case 19:
			what = "fifo"
			if f, e := r.OpenFile(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0); e == nil {
				err = unix.Mkfifoat(int(f.Fd()), path.Base(name), 0o644)
				f.Close()
			}
		}
		if err == nil {
			w.log = append(w.log, fmt.Sprint(len(w.layers), " ", what, " ", name, " ", other))
		}
	}
}

// write writes a file; a FIFO does not block it.
func write(r *os.Root, name, text string) error {
	f, err := r.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// names are all that may be of interest: those in the root, those in the layers, and
// others that lead through links or nowhere.
func (w *world) names(real *file.Root) []string {
	set := map[string]bool{"/": true, "//": true, "/..": true, "/a/..": true, "/a/": true, "/b/.": true, "": true}
	add := func(dir string) {
		_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err == nil {
				rel := strings.TrimPrefix(name, dir)
				set["/"+strings.TrimPrefix(rel, "/")] = true
				set[rel+"/.."] = true
				set[rel+"/"+components[w.rand.IntN(len(components))]] = true
			}
			return nil
		})
	}
	add(real.Name())
	for _, dir := range w.layers {
		add(dir)
	}
	for range 200 {
		set["/"+w.name()+"/"+w.name()] = true
	}
	var out []string
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

var errnos = []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EINVAL, file.ErrNotRegular, unix.ENAMETOOLONG}

func class(err error) error {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return e
		}
	}
	return err
}

// view is what a stack and the overlay have in common.
type view interface {
	Lstat(name string) (file.Info, error)
	Stat(name string) (file.Info, error)
	Readlink(name string) (string, error)
	Canonical(name string) (string, error)
}

// compare reports whether something was not known, and fails if something was wrong.
func (w *world) compare(t *testing.T, s *Stack, real *file.Root, name string) (unknown bool) {
	for _, how := range []func(view) (any, error){
		func(r view) (any, error) {
			i, err := r.Lstat(name)
			return i.Mode & unix.S_IFMT, err
		},
		func(r view) (any, error) {
			i, err := r.Stat(name)
			return i.Mode & unix.S_IFMT, err
		},
		func(r view) (any, error) { return r.Readlink(name) },
		func(r view) (any, error) { return r.Canonical(name) },
	} {
		got, err := how(s)
		if errors.Is(err, ErrNotKnown) {
			unknown = true
			continue
		}
		want, wantErr := how(real)
		if class(err) != class(wantErr) || wantErr == nil && got != want {
			t.Errorf("%q: %v, %v; the overlay has %v, %v", name, got, err, want, wantErr)
		}
	}
	return w.compareContent(t, s, real, name) || w.compareNames(t, s, real, name) || unknown
}

func (w *world) compareContent(t *testing.T, s *Stack, real *file.Root, name string) (unknown bool) {
	got, err := s.ReadFile(name, contentSize)
	want, wantErr := real.ReadFile(name, contentSize)
	if errors.Is(err, ErrNotKnown) {
		return true
	}
	if class(err) != class(wantErr) || string(got) != string(want) {
		t.Errorf("%q: content %q, %v; the overlay has %q, %v", name, got, err, want, wantErr)
		return false
	}
	if err != nil {
		return false
	}
	where, info, err := s.Find(name)
	if err != nil || !info.Regular() {
		t.Errorf("%q: %+v, %v", name, info, err)
		return false
	}
	number, _ := s.number(where)
	if sign := fmt.Sprintf("L%03d", number); string(want[:4]) != sign {
		t.Errorf("%q: found in %s, but the data is of %s", name, sign, want[:4])
	}
	if !s.Is(where, name, layerID(info)) {
		t.Errorf("%q: the file in %+v is not itself", name, where)
	}
	if held, ok := s.Holder(name, layerID(info)); !ok || held != where && info.Nlink == 1 {
		t.Errorf("%q: held by %+v, %v, found in %+v", name, held, ok, where)
	}
	return false
}

func (w *world) compareNames(t *testing.T, s *Stack, real *file.Root, name string) (unknown bool) {
	got, err := s.ReadDir(name, 0)
	if errors.Is(err, ErrNotKnown) {
		return true
	}
	want, wantErr := real.ReadDir(name, 0)
	slices.Sort(got)
	slices.Sort(want)
	if class(err) != class(wantErr) || !slices.Equal(got, want) {
		t.Errorf("%q: names %q, %v; the overlay has %q, %v", name, got, err, want, wantErr)
	}
	return false
}

// layerID is the identity that the kernel side would tell of a file.
func layerID(i file.Info) file.ID {
	dev := uint64(i.ID.Dev)
	return file.LayerID(unix.Major(dev)<<20|unix.Minor(dev), i.ID.Ino)
}

func (w *world) show(t *testing.T) {
	t.Log(strings.Join(w.log, "\n"))
	for i, dir := range w.layers {
		_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			var st unix.Stat_t
			_ = unix.Lstat(name, &st)
			var buf [100]byte
			n, _ := unix.Getxattr(name, "trusted.overlay.redirect", buf[:])
			m, _ := unix.Getxattr(name, "trusted.overlay.opaque", buf[50:])
			t.Logf("%d %s %o %q %d", i, strings.TrimPrefix(name, dir), st.Mode, buf[:max(n, 0)], m)
			return nil
		})
	}
}
