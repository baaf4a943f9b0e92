package sentinel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// eachRun runs a test in a directory like /run, on the file system of the tests and
// on a tmpfs.
func eachRun(t *testing.T, test func(t *testing.T, r run)) {
	t.Run("disk", func(t *testing.T) { test(t, run{t, t.TempDir()}) })
	t.Run("tmpfs", func(t *testing.T) {
		dir, err := os.MkdirTemp("/dev/shm", "sentinel")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		test(t, run{t, dir})
	})
}

// run is such a directory.
type run struct {
	t   *testing.T
	dir string
}

func (r run) path(name string) string { return filepath.Join(r.dir, name) }

func (r run) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r run) content(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return string(b)
}

func (r run) maintain(need *Need, want Outcome) {
	r.t.Helper()
	got, err := Maintain(r.dir, need)
	if got != want || err != nil {
		r.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// names are what is there: nothing of ours may be left beside the files.
func (r run) names(want ...string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("there are %q, want %q", got, want)
	}
}

// request is what Read says of the file, at /run of a root.
func (r run) request() Request {
	r.t.Helper()
	root, err := file.OpenRoot(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer root.Close()
	got, ok, err := ReadFile(root, required)
	if !ok || err != nil {
		r.t.Fatalf("%v, %v", ok, err)
	}
	return got
}

var need = Need{
	Since:    time.Date(2026, 11, 20, 3, 4, 5, 678, time.UTC),
	Reasons:  []string{"kernel 6.1.0-41-amd64 runs, 6.1.0-44-amd64 is installed"},
	Packages: []string{"linux-image-6.1.0-44-amd64", "libc6", "libc6"},
}

const needText = `*** System restart required ***
kernel 6.1.0-41-amd64 runs, 6.1.0-44-amd64 is installed
-- patchsensor, since 2026-11-20T03:04:05Z
`

func TestMaintain(t *testing.T) {
	eachRun(t, func(t *testing.T, r run) {
		r.maintain(nil, Nothing)
		r.names()

		old := unix.Umask(0o077)
		r.maintain(&need, Written)
		unix.Umask(old)
		r.names("reboot-required", "reboot-required.pkgs")
		if got := r.content("reboot-required"); got != needText {
			t.Errorf("content %q", got)
		}
		if got := r.content("reboot-required.pkgs"); got != "libc6\nlinux-image-6.1.0-44-amd64\n" {
			t.Errorf("list %q", got)
		}
		for _, name := range []string{"reboot-required", "reboot-required.pkgs"} {
			fi, err := os.Stat(r.path(name))
			if err != nil || fi.Mode() != 0o644 {
				t.Errorf("%s: %v, %v", name, fi.Mode(), err)
			}
		}
		if got := r.request(); !got.Own || !got.Since.Equal(need.Since.Truncate(time.Second)) || len(got.Packages) != 2 {
			t.Errorf("read as %+v", got)
		}
		r.maintain(&need, Kept)

		// Another reason, another package: it is still asked for since then.
		more := Need{Since: need.Since.Add(time.Hour), Reasons: []string{"microcode"}, Packages: []string{"intel-microcode"}}
		r.maintain(&more, Written)
		if got := r.request(); !got.Own || !got.Since.Equal(need.Since.Truncate(time.Second)) || !slices.Equal(got.Packages, more.Packages) {
			t.Errorf("read as %+v", got)
		}
		r.maintain(&Need{Reasons: []string{"microcode"}}, Written)
		r.names("reboot-required")
		r.maintain(&Need{Reasons: []string{"microcode"}}, Kept)
		r.maintain(&need, Written)

		r.maintain(nil, Removed)
		r.names()
		r.maintain(nil, Nothing)
	})
}

func TestMaintainWithoutTime(t *testing.T) {
	eachRun(t, func(t *testing.T, r run) {
		r.maintain(&Need{}, Written)
		if got := r.request(); !got.Own || got.Since.Nanosecond() != 0 || got.Since.Year() < 2020 {
			t.Errorf("read as %+v", got)
		}
		r.maintain(&Need{}, Kept)
		r.maintain(nil, Removed)
		r.names()
	})
}

// What others do to ask for a reboot, before Maintain comes or after.
func TestMaintainLeavesAlone(t *testing.T) {
	const name, list = "reboot-required", "reboot-required.pkgs"
	tests := map[string]func(r run){
		"touch": func(r run) { // unattended-upgrades
			now := time.Now()
			f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_CREATE, 0o644)
			if err != nil {
				r.t.Fatal(err)
			}
			f.Close()
			if err := os.Chtimes(r.path(name), now, now); err != nil {
				r.t.Fatal(err)
			}
		},
		"notify": func(r run) { // update-notifier, reboot-notifier
			r.write(name, "*** System restart required ***\n")
			r.write(list, r.content(list)+"linux-base\n")
		},
		"replace": func(r run) {
			r.write("new", title)
			if err := os.Rename(r.path("new"), r.path(name)); err != nil {
				r.t.Fatal(err)
			}
		},
		"copy of ours": func(r run) {
			os.Remove(r.path(name))
			r.write(name, needText)
		},
		"link": func(r run) {
			os.Remove(r.path(name))
			if err := os.Symlink("/etc/hostname", r.path(name)); err != nil {
				r.t.Fatal(err)
			}
		},
		"link to nothing": func(r run) {
			os.Remove(r.path(name))
			if err := os.Symlink("victim", r.path(name)); err != nil {
				r.t.Fatal(err)
			}
		},
		"directory": func(r run) {
			os.Remove(r.path(name))
			if err := os.Mkdir(r.path(name), 0o755); err != nil {
				r.t.Fatal(err)
			}
		},
		"pipe": func(r run) {
			os.Remove(r.path(name))
			if err := unix.Mkfifo(r.path(name), 0o644); err != nil {
				r.t.Fatal(err)
			}
		},
	}
	for what, do := range tests {
		for _, after := range []bool{false, true} {
			when := " first"
			if after {
				when = " after"
			}
			t.Run(what+when, func(t *testing.T) {
				eachRun(t, func(t *testing.T, r run) {
					if after {
						r.maintain(&need, Written)
					}
					do(r)
					before := r.state()
					r.maintain(&need, Foreign)
					r.maintain(&Need{Reasons: []string{"other"}}, Foreign)
					r.maintain(nil, Foreign)
					if got := r.state(); got != before {
						t.Errorf("it was\n%s\nand is\n%s", before, got)
					}
				})
			})
		}
	}
}

// state is all that there is, with times.
func (r run) state() string {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			r.t.Fatal(err)
		}
		b.WriteString(fi.Mode().String() + " " + fi.ModTime().String() + " " + fi.Name() + " ")
		if fi.Mode().IsRegular() {
			b.WriteString(r.content(fi.Name()))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// A list beside our file that is another's: he asks too, whoever wrote what first.
func TestMaintainListOfAnother(t *testing.T) {
	eachRun(t, func(t *testing.T, r run) {
		r.write("reboot-required.pkgs", "theirs\n")
		r.maintain(nil, Nothing)
		r.maintain(&need, Written)
		if got := r.content("reboot-required.pkgs"); got != "theirs\n" {
			t.Errorf("list %q", got)
		}
		if r.request().Own {
			t.Error("read as our own alone")
		}
		r.maintain(nil, Foreign)
		r.names("reboot-required", "reboot-required.pkgs")
	})
	eachRun(t, func(t *testing.T, r run) {
		r.maintain(&need, Written)
		r.write("reboot-required.pkgs", r.content("reboot-required.pkgs")+"theirs\n")
		if r.request().Own {
			t.Error("read as our own alone")
		}
		r.maintain(nil, Foreign)
		r.names("reboot-required", "reboot-required.pkgs")
	})
}

// Another may come between a look and what follows.
func TestMaintainRaces(t *testing.T) {
	eachRun(t, func(t *testing.T, r run) {
		r.maintain(&need, Written)
		fd, err := unix.Open(r.dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		d := directory{fd, r.dir}
		seen, err := d.look(required)
		if err != nil {
			t.Fatal(err)
		}
		stamp := seen.modified

		check := func(what string, ok bool, err error, want bool) {
			t.Helper()
			if ok != want || err != nil {
				t.Errorf("%s: %v, %v", what, ok, err)
			}
		}
		r.write(required, title)
		ok, err := d.remove(required, seen)
		check("remove what was changed", ok, err, false)
		ok, err = d.replace(required, seen, "new", stamp)
		check("replace what was changed", ok, err, false)
		ok, err = d.replace(required, entry{}, "new", stamp)
		check("make what is there", ok, err, false)
		if got := r.content(required); got != title {
			t.Errorf("content %q", got)
		}
		if err := os.Remove(r.path(required)); err != nil {
			t.Fatal(err)
		}
		ok, err = d.replace(required, seen, "new", stamp)
		check("replace what has gone", ok, err, false)
		ok, err = d.remove(required, seen)
		check("remove what has gone", ok, err, true)
		r.names("reboot-required.pkgs")
	})
}

// What a run that was killed left behind is no hindrance, nor is a trap in its place.
func TestMaintainLeftovers(t *testing.T) {
	eachRun(t, func(t *testing.T, r run) {
		r.write("victim", "precious")
		if err := os.Symlink("victim", r.path(aside(required))); err != nil {
			t.Fatal(err)
		}
		r.write(aside(required+packagesSuffix), "old")
		r.maintain(&need, Written)
		r.maintain(nil, Removed)
		r.names("victim")
		if r.content("victim") != "precious" {
			t.Error("it was followed")
		}
	})
}

func TestMaintainRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{dir + "/link", dir + "/none", "/etc/hostname"} {
		if got, err := Maintain(bad, &need); err == nil || got != "" || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %q, %v", bad, got, err)
		}
	}
}

func FuzzContent(f *testing.F) {
	f.Add("kernel", "microcode", "libc6", int64(1_763_607_845))
	f.Add(marker+"2026-11-20T03:04:05Z", "\x1b[31m\nred", "a b", int64(0))
	f.Add(strings.Repeat("\u202e", 300), "--", "", int64(-1))
	f.Fuzz(func(t *testing.T, one, two, name string, seconds int64) {
		stamp := time.Unix(seconds%(1<<35), 0) // years of four digits
		n := Need{Reasons: []string{one, two}, Packages: []string{name, "x"}}
		content := n.content(stamp)
		if got, ok := stampOf(content); !ok || !got.Equal(stamp) {
			t.Fatalf("%q says %v, %v", content, got, ok)
		}
		if len(content) > maxContent || strings.Count(content, "\n") != 4 || strings.Count(content, "\n"+marker) != 1 {
			t.Fatalf("%q", content)
		}
		for _, r := range content {
			if r != '\n' && (r == '\ufffd' || r < ' ' || r == 0x7f || r == '\u202e') {
				t.Fatalf("%q", content)
			}
		}
		if _, err := ParsePackages(strings.NewReader(n.list())); err != nil {
			t.Fatal(err)
		}
		// Content that others wrote is not ours, whatever it is.
		if isOwn(strings.NewReader(one), stamp) && !strings.HasPrefix(one, title) {
			t.Fatalf("%q", one)
		}
	})
}
