package sensor

import (
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

// untouched is a file as it was an hour before the process started.
func untouched() file.Info {
	return file.Info{Nlink: 1, Ctime: at(-time.Hour), Mtime: at(-2 * time.Hour), Birth: at(-time.Hour)}
}

// touched is the same file, changed at c and written at m, relative to the start.
func touched(c, m, born time.Duration) file.Info {
	return file.Info{Nlink: 1, Ctime: at(c), Mtime: at(m), Birth: at(born)}
}

func same(i file.Info) Facts {
	return Facts{Mapped: i, MappedKnown: true, Started: start, ByName: Same, Shown: Same}
}

func TestDecide(t *testing.T) {
	with := func(f Facts, change func(*Facts)) Facts { change(&f); return f }
	mapped := Facts{Mapped: untouched(), MappedKnown: true, Started: start}
	gone := with(mapped, func(f *Facts) { f.Shown, f.ShownOwned, f.OtherOwned = Gone, No, No })
	const hour = time.Hour

	for _, c := range []struct {
		name   string
		facts  Facts
		state  State
		reason Reason
		sure   Certainty
	}{
		// The same file.
		{"unchanged", same(untouched()), Effective, Current, Certain},
		{"changed at the very start", same(touched(0, 0, -hour)), Effective, Current, Certain},
		{"no name known, still there", with(same(untouched()), func(f *Facts) { f.ByName = Unnamed }), Effective, Current, Likely},
		{"written after the start", same(touched(hour, hour, -hour)), Stale, Overwritten, Likely},
		{"written, inode born after the start but long before", same(touched(2*hour, 2*hour, hour)), Unknown, Unverified, CertaintyUnknown},
		{"the same, but not what the process loaded", with(same(touched(2*hour, 2*hour, hour)), func(f *Facts) { f.Rewritten = Yes }), Stale, Overwritten, Certain},
		{"made and written once after the start", same(touched(hour, hour, hour-time.Second)), Effective, Current, Likely},
		{"unpacked after the start, then loaded", same(touched(hour, -24*hour, hour)), Effective, Current, Likely},
		{"attributes changed, not truncated", with(same(touched(hour, -hour, -2*hour)), func(f *Facts) { f.Truncated, f.Rewritten = No, No }), Effective, Current, Likely},
		{"attributes changed, content not compared", with(same(touched(hour, -hour, -2*hour)), func(f *Facts) { f.Truncated = No }), Unknown, Unverified, CertaintyUnknown},
		{"written in place, times put back", with(same(touched(hour, -hour, -2*hour)), func(f *Facts) { f.Truncated, f.Rewritten = No, Yes }), Stale, Overwritten, Certain},
		{"changed, not as the package recorded", with(same(touched(hour, -hour, -2*hour)), func(f *Facts) { f.Checksum, f.Truncated, f.Rewritten = No, No, No }), Unknown, Unverified, CertaintyUnknown},
		{"inherited from a process that is gone", with(same(untouched()), func(f *Facts) { f.Inherited = true }), Effective, Current, Likely},
		{"inherited, truncated before the fork", with(same(untouched()), func(f *Facts) { f.Inherited, f.Truncated = true, Yes }), Stale, Overwritten, Certain},
		{"no ELF file, its program writes to it", with(same(touched(hour, hour, -hour)), func(f *Facts) { f.Foreign = true }), Ignored, Ephemeral, Likely},
		{"copied up and written", with(same(touched(hour, hour, hour)), func(f *Facts) { f.CopiedUp, f.Rewritten = true, Yes }), Stale, Overwritten, Certain},
		{"copied up, same build", with(same(touched(hour, hour, hour)), func(f *Facts) { f.CopiedUp, f.Rewritten = true, No }), Effective, Identical, Certain},
		{"copied up, written, no build ID", with(same(touched(hour, hour, hour)), func(f *Facts) { f.CopiedUp = true }), Stale, Overwritten, Likely},
		{"copied up, no build ID", with(same(touched(hour, -hour, hour)), func(f *Facts) { f.CopiedUp = true }), Unknown, Unverified, CertaintyUnknown},
		{"changed, cannot tell what", same(touched(hour, -hour, -2*hour)), Unknown, Unverified, CertaintyUnknown},
		{"inherited without a name, truncated before the fork", with(same(untouched()), func(f *Facts) {
			f.ByName, f.Shown, f.Inherited, f.Truncated = Unnamed, Same, true, Yes
		}), Stale, Overwritten, Certain},
		{"inherited without a name", with(same(untouched()), func(f *Facts) { f.ByName, f.Shown, f.Inherited = Unnamed, Same, true }), Effective, Current, Likely},
		{"mounted at its name, replaced where it came from", with(same(untouched()), func(f *Facts) { f.Orphan = true }), Unknown, Unverified, CertaintyUnknown},
		{"truncated, times put back", with(same(touched(hour, -hour, -2*hour)), func(f *Facts) { f.Truncated = Yes }), Stale, Overwritten, Certain},
		{"truncated", with(same(touched(hour, hour, -2*hour)), func(f *Facts) { f.Truncated = Yes }), Stale, Overwritten, Certain},
		{"executable with another link", with(same(touched(hour, -hour, -2*hour)), func(f *Facts) { f.WriteProtected = true }), Effective, Current, Certain},
		{"executable touched", with(same(touched(hour, hour, -2*hour)), func(f *Facts) { f.WriteProtected = true }), Effective, Current, Certain},
		{"touched, as its package recorded before", with(same(touched(hour, hour, -2*hour)), func(f *Facts) {
			f.Checksum, f.ChecksumRecorded = Yes, at(-hour)
		}), Effective, Current, Certain},
		{"written, as its package recorded only since", with(same(touched(hour, hour, -2*hour)), func(f *Facts) {
			f.Checksum, f.ChecksumRecorded = Yes, at(hour)
		}), Stale, Overwritten, Likely},
		{"a birth time is not known", with(same(touched(hour, hour, 0)), func(f *Facts) { f.Mapped.Birth = time.Time{} }), Stale, Overwritten, Likely},
		{"same, but not seen", Facts{Started: start, ByName: Same, Shown: Same}, Unknown, Unreadable, CertaintyUnknown},

		// Another file.
		{"replaced", with(mapped, func(f *Facts) { f.Shown, f.Content = Other, No }), Stale, Replaced, Certain},
		{"replaced, name known", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content, f.NameIsShown = Other, Other, No, true }), Stale, Replaced, Certain},
		{"replaced, loaded through a link as ever", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content, f.NameIsShown = Other, Gone, No, true }), Stale, Replaced, Certain},
		{"reinstalled", with(mapped, func(f *Facts) { f.Shown, f.Content = Other, Yes }), Effective, Identical, Certain},
		{"not comparable", with(mapped, func(f *Facts) { f.Shown = Other }), Unknown, Unreadable, CertaintyUnknown},
		{"moved aside", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content = Other, Same, No }), Stale, MovedAside, Certain},
		{"moved aside, same content", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content = Other, Same, Yes }), Effective, Identical, Certain},
		{"link switched", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content, f.LinkChanged = Other, Same, No, true }), Stale, SymlinkSwitched, Certain},
		{"version in the name, packaged", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content, f.OtherOwned = Other, Gone, No, Yes }), Stale, Superseded, Certain},
		{"version in the name, no package", with(mapped, func(f *Facts) { f.ByName, f.Shown, f.Content, f.OtherOwned = Other, Gone, No, No }), Stale, SymlinkSwitched, Certain},

		// Nothing there.
		{"removed, package lists it", with(gone, func(f *Facts) { f.ShownOwned = Yes }), Missing, MissingFile, Certain},
		{"removed executable", with(gone, func(f *Facts) { f.Needed = true }), Missing, MissingFile, Likely},
		{"removed from a system directory", with(gone, func(f *Facts) { f.System = true }), Unknown, Unresolved, CertaintyUnknown},
		{"removed with what needed it", with(gone, func(f *Facts) { f.WasNeeded, f.System = true, true }), Stale, Superseded, Likely},
		{"replaced by what cannot be loaded", with(mapped, func(f *Facts) { f.Shown, f.Content, f.Unusable, f.Needed = Other, No, true, true }), Missing, MissingFile, Certain},
		{"a plugin replaced by what cannot be loaded", with(mapped, func(f *Facts) { f.Shown, f.Content, f.Unusable = Other, No, true }), Stale, Replaced, Certain},
		{"removed by the program", gone, Ignored, Ephemeral, Likely},
		{"removed from /tmp", with(gone, func(f *Facts) { f.Temporary = true }), Ignored, Ephemeral, Certain},
		{"removed from /tmp though needed", with(gone, func(f *Facts) { f.Temporary, f.Needed = true, true }), Ignored, Ephemeral, Certain},
		{"a bundled copy removed from /tmp", with(gone, func(f *Facts) { f.Temporary, f.Provided, f.ProvidedContent = true, true, No }), Ignored, Ephemeral, Certain},
		{"removed, owner not readable", with(gone, func(f *Facts) { f.ShownOwned = NotKnown }), Unknown, Unreadable, CertaintyUnknown},
		{"another soname provider", with(gone, func(f *Facts) { f.Provided, f.ProvidedContent = true, No }), Stale, Superseded, Certain},
		{"the same under another name", with(gone, func(f *Facts) { f.Provided, f.ProvidedContent = true, Yes }), Effective, Identical, Certain},
		{"provider not comparable", with(gone, func(f *Facts) { f.Provided = true }), Unknown, Unreadable, CertaintyUnknown},
		{"renamed, nothing at the old name", with(same(untouched()), func(f *Facts) { f.ByName, f.Renamed = Gone, true }), Missing, MissingFile, Certain},
		{"a name that never was one", with(same(untouched()), func(f *Facts) { f.ByName = Gone }), Effective, Current, Certain},

		// Neither.
		{"memfd", with(mapped, func(f *Facts) { f.Kernel = true }), Ignored, Ephemeral, Certain},
		{"name not followed", with(mapped, func(f *Facts) { f.Shown = Unreached }), Unknown, Unresolved, CertaintyUnknown},
		{"loaded name not followed", with(mapped, func(f *Facts) { f.ByName, f.Shown = Unreached, Same }), Unknown, Unresolved, CertaintyUnknown},
		{"nothing known", Facts{}, Unknown, Unresolved, CertaintyUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Decide(c.facts)
			if v.State != c.state || v.Reason != c.reason || v.Certainty != c.sure {
				t.Errorf("got %s %s (%s), want %s %s (%s)", v.State, v.Reason, v.Certainty, c.state, c.reason, c.sure)
			}
			if v.Rule == "" {
				t.Error("no rule is named")
			}
		})
	}
}

// FuzzDecide holds that no combination of facts makes a verdict without a rule,
// and that nothing is fine unless something was seen.
func FuzzDecide(f *testing.F) {
	f.Add(uint64(0), int64(0), int64(0), int64(0))
	f.Add(^uint64(0), int64(1), int64(-1), int64(5))
	f.Fuzz(func(t *testing.T, bits uint64, ctime, mtime, birth int64) {
		next := func(n uint64) uint64 { v := bits % n; bits /= n; return v }
		yes := func() bool { return next(2) == 1 }
		f := Facts{
			Mapped:      file.Info{Nlink: uint32(next(3)), Ctime: start.Add(time.Duration(ctime)), Mtime: start.Add(time.Duration(mtime)), Birth: start.Add(time.Duration(birth))},
			MappedKnown: yes(), Kernel: yes(), Started: start, WriteProtected: yes(),
			ByName: Presence(next(5)), Shown: Presence(next(5)), Renamed: yes(), NameIsShown: yes(), LinkChanged: yes(),
			Content: Answer(next(3)), OtherOwned: Answer(next(3)), ShownOwned: Answer(next(3)),
			Inherited: yes(), Foreign: yes(), Unusable: yes(), WasNeeded: yes(), CopiedUp: yes(), Orphan: yes(), Rewritten: Answer(next(3)),
			Provided: yes(), ProvidedContent: Answer(next(3)), Temporary: yes(), System: yes(), Needed: yes(),
			Checksum: Answer(next(3)), ChecksumRecorded: start.Add(time.Duration(mtime)), Truncated: Answer(next(3)),
		}
		v := Decide(f)
		if v.Rule == "" || v.State == "" || v.Reason == "" || v.Certainty == "" {
			t.Fatalf("incomplete verdict %+v on %+v", v, f)
		}
		if (v.State == Unknown) != (v.Certainty == CertaintyUnknown) {
			t.Errorf("%s with certainty %s", v.State, v.Certainty)
		}
		seen := f.ByName == Same || f.ByName == Other || f.Shown == Same || f.Shown == Other || f.Provided
		if v.State == Effective && !seen {
			t.Errorf("fine although nothing was seen on disk: %+v", f)
		}
		if v.State == Effective && v.Reason == Current && !f.MappedKnown {
			t.Errorf("current although the mapped file was not seen: %+v", f)
		}
	})
}
