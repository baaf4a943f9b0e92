package distros

import (
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// What rpm did by itself is in no history: the version that it brought is not taken for
// the one that ran before.
func TestHistoryWithGaps(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	b := newBox(t, dnfDistro())
	one := b.food()
	ran, byRPM, byDNF := b.libfoo(t, b.first(), "1"), b.libfoo(t, b.second(), "2"), b.libfoo(t, b.third(), "3")
	file := b.build(t, byRPM)
	b.change(func() { b.tree.(dnfTree).RPMTree.Install(t, file) })
	lab.NextSecond() // what is no more than a second away counts as the same
	lab.NextSecond()
	b.upgrade(byDNF)
	b.expect(b.of(b.stale(one, sensor.Replaced, b.lib(), ran.files[b.lib()], byDNF.files[b.lib()]), byDNF, ""))
}
