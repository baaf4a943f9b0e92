package distros

import (
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// Fedora's builds and those of its descendants leave the epoch out of what they write
// into files (redhat-rpm-config's redhat-package-notes). The version that runs is that
// of the package all the same, and the CVEs are those fixed since.
func TestNoteWithoutEpoch(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	b := newBox(t, rpmDistro("rpm", sqlite))
	fedoras := func(history []release, version, content string) pkg {
		return pkg{name: "libfoo1", source: "foo", history: history, files: map[string]string{
			b.lib(): b.library(t, "libfoo.so.1", content, b.noted("foo", version)...),
		}}
	}
	old, newer := fedoras(b.first(), "1.0-8.el9", "1"), fedoras(b.second(), "1.0-9.el9", "2")
	b.Install(t, b.build(t, old))
	food := b.food()
	b.upgrade(newer)
	b.expect(b.of(b.stale(food, sensor.Replaced, b.lib(), old.files[b.lib()], newer.files[b.lib()]), newer, b.first()[0].version))
}
