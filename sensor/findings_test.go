package sensor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// TestArrange holds that findings are put in order and that none is lost or doubled.
func TestArrange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 60 {
		var list []Finding
		for i := range n {
			f := Finding{
				ID: fmt.Sprint(i), State: []State{Stale, Missing, Unknown}[r.IntN(3)], Exploited: r.IntN(4) == 0,
				Severity: []string{"", "low", "critical"}[r.IntN(3)], Workload: Workload{Name: fmt.Sprint(r.IntN(3))},
			}
			if r.IntN(2) == 0 {
				at := time.Unix(int64(r.IntN(3)), 0)
				f.Since = &at
			}
			list = append(list, f)
		}
		want := slices.Clone(list)
		slices.SortFunc(want, func(a, b Finding) int {
			x, y := weightOf(&a, 0), weightOf(&b, 0)
			return x.compare(&y)
		})
		arrange(list)
		for i := range list {
			if list[i].ID != want[i].ID {
				t.Fatalf("of %d findings the one at %d is %+v, want %+v", n, i, list[i], want[i])
			}
		}
	}
}

// Whatever must not be restarted comes first, then what is worst, then what is oldest.
func TestArrangeOrder(t *testing.T) {
	at := func(s int64) *time.Time { t := time.Unix(s, 0); return &t }
	list := []Finding{
		{ID: "unknown", State: Unknown},
		{ID: "no time", State: Stale},
		{ID: "young", State: Stale, Since: at(9)},
		{ID: "old", State: Stale, Since: at(3)},
		{ID: "old too", State: Stale, Since: at(3)},
		{ID: "named", State: Stale, Since: at(3), Workload: Workload{Name: "a"}},
		{ID: "severe", State: Stale, Severity: "high"},
		{ID: "exploited", State: Stale, Exploited: true},
		{ID: "missing", State: Missing},
	}
	arrange(list)
	var got []string
	for _, f := range list {
		got = append(got, f.ID)
	}
	want := []string{"missing", "exploited", "severe", "old", "old too", "named", "young", "no time", "unknown"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestTallyLoads holds that each version of a package is told once, however many there
// are.
func TestTallyLoads(t *testing.T) {
	for _, n := range []int{0, 1, fewLoads, fewLoads + 1, 5 * fewLoads} {
		tl := newTally(nil)
		layer := &Layer{Index: 3}
		for range 3 {
			for i := range n {
				p := owner.Package{Manager: "dpkg", Name: fmt.Sprint(i), Version: "2", State: owner.StateInstalled}
				tl.add(nil, p, "", Embedded, Unknown)
				tl.place(layer, p, "", Embedded)
				tl.place(&Layer{}, p, "", Embedded)
			}
		}
		list := tl.packages(t.Context(), nil)
		if len(list) != n {
			t.Fatalf("%d packages became %d", n, len(list))
		}
		for _, p := range list {
			if p.Layer != layer {
				t.Errorf("package %s is of layer %v", p.Name, p.Layer)
			}
		}
	}
}
