package distros

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The tests in this file run one at a time, so that what a report says of package
// databases it says of theirs.

// warned are the warnings of a report that are about package databases.
func warned(r *sensor.Report) []string {
	var said []string
	for _, w := range r.Warnings {
		if strings.Contains(w.Message, "/rpm/") || strings.Contains(w.Message, "/apk/") {
			said = append(said, w.Message)
		}
	}
	return said
}

// spoilt is a case in which nothing but the database could name a version.
type spoilt struct {
	*box
	food, plain *lab.Daemon
}

// plugin is a file that its program can start without, as those are that programs
// make for themselves.
const plugin = "/usr/libexec/plugins/plugin.so"

// newSpoilt starts a daemon whose library was upgraded, as far as upgrade does, and one
// of which a file is gone that its package has.
func newSpoilt(t *testing.T, d *distro, upgrade func(b *box)) spoilt {
	t.Helper()
	d.evidence = sensor.EvidenceUnknown
	s := spoilt{box: newBox(t, d)}
	s.Install(t, s.build(t, pkg{name: "zplugin", history: s.first(), files: map[string]string{plugin: s.library(t, "plugin.so", "1")}}))
	s.food = s.box.food()
	s.plain = s.start("/usr/sbin/plain", "open", plugin)
	upgrade(s.box)
	s.change(func() { must(t, os.Remove(s.Path(plugin))) })
	return s
}

// stale is the finding for the daemon, with its package if that is known.
func (s *spoilt) stale(known bool) lab.Finding {
	s.t.Helper()
	newer := s.libfoo(s.t, s.second(), "2")
	f := s.box.stale(s.food, sensor.Replaced, s.lib(), s.fooLibrary(s.t, s.first(), "1"), newer.files[s.lib()])
	if known {
		return s.of(f, newer, "")
	}
	return f
}

// gone is the finding for the other one: that it is not known whether a package has the
// file, or that one has it.
func (s *spoilt) gone(known bool) lab.Finding {
	s.t.Helper()
	id := lab.BuildID(s.t, s.library(s.t, "plugin.so", "1"))
	if !known {
		return finding(s.plain, sensor.Unknown, sensor.Unreadable, plugin, id, "")
	}
	return s.of(finding(s.plain, sensor.Missing, sensor.MissingFile, plugin, id, ""), pkg{name: "zplugin", history: s.first()}, "")
}

// check asserts the findings, and that what is said of databases is said of one file; that
// nothing is said if its name is empty.
func (s *spoilt) check(t *testing.T, file string, want ...lab.Finding) {
	t.Helper()
	r := sensorAt.Stale(t)
	lab.Check(t, &r.Report, s.pids, want...)
	said := warned(&r.Report)
	others := slices.ContainsFunc(said, func(w string) bool { return !strings.HasPrefix(w, file+": ") })
	if others || (len(said) > 0) != (file != "") {
		t.Errorf("warnings are %q, want those of %q", said, file)
	}
}

// A copy of the database that ends too early: what it does not tell is not known, and
// that there is something newer is told all the same.
func TestTruncatedDatabase(t *testing.T) {
	lab.Root(t)
	for _, c := range []struct {
		distro *distro
		name   string
	}{
		{rpmDistro("rpm", sqlite), "/var/lib/rpm/rpmdb.sqlite"},
		{apkDistro("apk", lab.APKTool(), sensor.EvidenceUnknown), "/lib/apk/db/installed"},
	} {
		t.Run(c.distro.name, func(t *testing.T) {
			s := newSpoilt(t, c.distro, func(b *box) { b.upgrade(b.libfoo(t, b.second(), "2")) })
			file := s.Path(c.name)
			info, err := os.Stat(file)
			must(t, err)
			s.check(t, "", s.stale(true), s.gone(true))
			must(t, os.Truncate(file, info.Size()-20)) // within the last package, or what is free
			s.check(t, c.name, s.stale(true), s.gone(true))
			for _, size := range []int64{100, 0} {
				must(t, os.Truncate(file, size))
				s.check(t, c.name, s.stale(false), s.gone(false))
			}
		})
	}
}

// rpm is in the midst of an upgrade: the files are new, and the database may name the old
// package, the new one or both.
func TestTransaction(t *testing.T) {
	lab.Root(t)
	const hold = "/hold"
	var end func()
	s := newSpoilt(t, rpmDistro("rpm", sqlite), func(b *box) {
		p := b.libfoo(t, b.second(), "2")
		p.hold = hold
		must(t, os.WriteFile(b.Path(hold), nil, 0o644))
		rpm := b.tree.(lab.RPMTree).Command(t, "-U", b.build(t, p))
		said := new(lab.Log)
		rpm.Stdout, rpm.Stderr = said, said
		must(t, rpm.Start())
		ended := false
		end = func() {
			if !ended {
				ended = true
				must(t, os.Remove(b.Path(hold)))
				if err := rpm.Wait(); err != nil {
					t.Errorf("rpm: %v\n%s", err, said)
				}
			}
		}
		t.Cleanup(end)
		lab.Until(t, "rpm is in the midst of it", func() bool {
			_, err := os.Stat(b.Path(hold + ".held"))
			return err == nil
		})
	})
	s.check(t, "/var/lib/rpm/.rpm.lock", s.stale(true), s.gone(true))
	end()
	s.check(t, "", s.stale(true), s.gone(true))
}

// A lock is held and nothing changes. That of rpm means that the database may be about
// to; apk replaces its database whole.
func TestLocked(t *testing.T) {
	lab.Root(t)
	for _, c := range []struct {
		distro        *distro
		name, warning string
		lock          func(fd uintptr) error
	}{
		{rpmDistro("rpm", sqlite), "/var/lib/rpm/.rpm.lock", "/var/lib/rpm/.rpm.lock", func(fd uintptr) error {
			return unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}},
		{apkDistro("apk", lab.APKTool(), sensor.EvidenceUnknown), "/lib/apk/db/lock", "", func(fd uintptr) error {
			return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
		}},
	} {
		t.Run(c.distro.name, func(t *testing.T) {
			s := newSpoilt(t, c.distro, func(b *box) { b.upgrade(b.libfoo(t, b.second(), "2")) })
			lock, err := os.OpenFile(s.Path(c.name), os.O_RDWR|os.O_CREATE, 0o644)
			must(t, err)
			defer lock.Close()
			must(t, c.lock(lock.Fd()))
			s.check(t, c.warning, s.stale(true), s.gone(true))
		})
	}
}

// One look after the other while packages are installed that have nothing to do with
// what runs: whatever state the database is found in, nobody is told that all is well.
func TestLooksWhileInstalling(t *testing.T) {
	lab.Root(t)
	for _, d := range []*distro{rpmDistro("rpm", sqlite), apkDistro("apk", lab.APKTool(), sensor.EvidenceUnknown)} {
		t.Run(d.name, func(t *testing.T) {
			s := newSpoilt(t, d, func(b *box) { b.upgrade(b.libfoo(t, b.second(), "2")) })
			var files []string
			for _, name := range []string{"other1", "other2"} {
				files = append(files, s.build(t, pkg{name: name, history: s.first(), files: map[string]string{"/srv/" + name: s.library(t, name, "1")}}))
			}
			var ended atomic.Bool
			t.Run("both", func(t *testing.T) {
				t.Run("installing", func(t *testing.T) {
					t.Parallel()
					defer ended.Store(true)
					for range 6 {
						for _, file := range files {
							s.Install(t, file)
						}
					}
				})
				t.Run("looking", func(t *testing.T) {
					t.Parallel()
					for !ended.Load() {
						s.look(t)
					}
				})
			})
			if !s.look(t) {
				t.Error("now that nobody installs anything, not all is known")
			}
		})
	}
}

// look asserts that each finding is the right one or says that something is not known,
// and reports whether all is known. What is not is warned of.
func (s *spoilt) look(t *testing.T) bool {
	t.Helper()
	r := sensorAt.Stale(t, "--source", "maps")
	if lab.Matches(&r.Report, s.pids, s.stale(true), s.gone(true)) {
		return true
	}
	if len(warned(&r.Report)) == 0 {
		t.Error("something is not known, and no warning tells why")
	}
	for _, f := range []lab.Finding{s.stale(true), s.gone(true)} {
		if lab.Matches(&r.Report, []int{f.PID}, f) {
			continue
		}
		less := s.stale(false)
		if f.PID == s.plain.PID {
			less = s.gone(false)
		}
		lab.Check(t, &r.Report, []int{f.PID}, less)
	}
	return false
}
