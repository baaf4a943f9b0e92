package cases

import (
	"os"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// Without a log the version that the ELF file itself names is believed.
func TestVersionEmbedded(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	note := []string{"-Xlinker", `--package-metadata={"type":"deb","name":"foo","version":"` + first + `"}`}
	p.upgrade(p.libfoo(first, "noted", changesFirst, note...))
	d := p.food()
	p.upgrade(p.libfoo(second, "2", changesSecond))
	must(t, os.Remove(p.Tree.Path("/var/log/dpkg.log")))
	f := p.upgraded(d)
	f.Files[0].LoadedBuildID = lab.BuildID(t, library(t, "libfoo.so.1", "noted", note...))
	f.Packages[0].Loaded.Evidence = sensor.Embedded
	p.expect(f)
}

// Without a log and without a note nobody knows the version that runs, nor
// which CVEs were fixed since; that it is stale is known all the same.
func TestVersionNotKnown(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	p.upgrade(p.libfoo(second, "2", changesSecond))
	must(t, os.Remove(p.Tree.Path("/var/log/dpkg.log")))
	f := p.upgraded(d)
	f.Packages[0] = p.pkg("", sensor.EvidenceUnknown, second, "")
	p.expect(f)
}

// Slim images leave /usr/share/doc out: the CVEs are then not known, which is
// not the same as none.
func TestNoChangelog(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	p.upgrade(p.libfoo(second, "2", ""))
	f := p.upgraded(d)
	f.Packages[0] = p.pkg(first, sensor.History, second, "")
	p.expect(f)
}

// The log was rotated and compressed after the upgrade.
func TestRotatedLog(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	p.upgrade(p.libfoo(second, "2", changesSecond))
	p.RotateLog(t)
	p.expect(p.upgraded(d))
}

// The package's own checksum, written down before the daemon began, proves
// that a touched file still holds what was loaded.
func TestPackagedFileTouched(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	p.food()
	p.change(func() { must(t, os.Chtimes(p.Tree.Path(p.lib()), time.Now(), time.Now())) })
	p.silence()
}

// And it proves that an overwritten one does not.
func TestPackagedFileOverwritten(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	v2 := library(t, "libfoo.so.1", "2")
	p.change(func() { copyFile(t, v2, p.Tree.Path(p.lib()), 0) })
	f := want(d, sensor.Stale, sensor.Overwritten, p.lib(), "", lab.BuildID(t, v2))
	f.Files[0].Package = "libfoo1"
	f.Packages = []sensor.Package{p.pkg(first, sensor.History, first, "")}
	f.Packages[0].CVEs = []string{}
	p.expect(f)
}
