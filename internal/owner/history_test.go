package owner

import (
	"slices"
	"testing"
	"time"
)

// at is a moment in minutes.
func at(minutes float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(minutes * float64(time.Minute)))
}

func step(name, from, to string, begin, end float64) Change {
	c := Change{Name: name, Arch: "amd64", From: from, To: to, Begin: at(begin)}
	if end > 0 {
		c.End = at(end)
	}
	return c
}

func TestLoadedVersion(t *testing.T) {
	// The log begins at 0 with another package.
	other := step("b", "", "1", 0, 1)
	chain := []Change{other, step("a", "1", "2", 10, 11), step("a", "2", "3", 20, 21), step("a", "3", "4", 30, 31)}
	gap := []Change{other, step("a", "1", "2", 10, 11), step("a", "3", "4", 30, 31)}
	rolled := append(slices.Clone(chain), step("a", "4", "2", 40, 41))
	again := []Change{other, step("a", "2", "2", 10, 11)}
	fresh := []Change{other, step("a", "", "1", 10, 11), step("a", "1", "2", 20, 21)}
	reinstalled := []Change{other, step("a", "1", "", 10, 11), step("a", "", "2", 20, 21)}
	quick := []Change{other, step("a", "1", "2", 10, 10.02), step("a", "2", "3", 10.01, 10.03)}
	running := []Change{other, step("a", "1", "2", 10, 0)}
	crossed := []Change{other, {Name: "a", Arch: "all", From: "1", To: "2", Begin: at(10), End: at(11)}}

	tests := []struct {
		name              string
		changes           []Change
		installed         string
		started, replaced float64 // -1 for not known
		want              string  // empty for not told
	}{
		{"replaced by the first change", chain, "4", 5, 10.5, "1"},
		{"replaced by a later change", chain, "4", 5, 20.5, "2"},
		{"replaced just before the log says", chain, "4", 5, 9.99, "1"},
		{"replaced just after the log says", chain, "4", 5, 31.01, "3"},
		{"replaced outside any change", chain, "4", 5, 15, ""},
		{"replaced outside any change, started after the last one", chain, "4", 25, 27, "3"},
		{"replaced before the package's first change", chain, "4", 2, 5, "1"},
		{"replaced before the log", chain, "4", -20, -10, ""},
		{"replaced now, by no change", chain, "4", 35, 50, "4"},
		{"started before all", chain, "4", 5, -1, "1"},
		{"started before the log", chain, "4", -20, -1, "1"},
		{"started between", chain, "4", 15, -1, "2"},
		{"started within", chain, "4", 20.5, -1, "2"},
		{"started after all", chain, "4", 35, -1, "4"},
		{"log of another root", chain, "3", 15, 20.5, ""},
		{"log of another root, no version", chain, "", 15, 20.5, ""},
		{"gap after the start", gap, "4", 5, -1, ""},
		{"gap before the start", gap, "4", 25, -1, "3"},
		{"gap, but the change is there", gap, "4", 5, 10.5, "1"},
		{"rolled back", rolled, "2", 25, -1, "3"},
		{"rolled back, replaced then", rolled, "2", 35, 40.5, "4"},
		{"same version again", again, "2", 5, 10.5, "2"},
		{"not installed at the start", fresh, "2", 5, -1, "1"},
		{"replaced by its installation", fresh, "2", 5, 10.5, ""},
		{"removed and installed", reinstalled, "2", 5, -1, "1"},
		{"started while removed", reinstalled, "2", 15, -1, "2"},
		{"two changes at once", quick, "3", 5, 10.015, ""},
		{"two changes nearly at once", quick, "3", 5, 10.005, "1"},
		{"two changes at once, started between", quick, "3", 10.025, 10.028, "2"},
		{"not finished", running, "2", 5, 12, "1"},
		{"became independent of architecture", crossed, "2", 5, 10.5, "1"},
		{"never changed", []Change{other}, "1", 5, -1, ""},
		{"no log", nil, "1", 5, 7, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var replaced time.Time
			if tt.replaced != -1 {
				replaced = at(tt.replaced)
			}
			got, ok := LoadedVersion(tt.changes, "a", "amd64", tt.installed, at(tt.started), replaced)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("%q, %v; want %q", got, ok, tt.want)
			}
		})
	}
	if got, ok := LoadedVersion(chain, "a", "i386", "4", at(5), at(10.5)); ok {
		t.Errorf("another architecture's version %q", got)
	}
}
