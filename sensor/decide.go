package sensor

import (
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Presence says what a name leads to, compared with the file that is mapped.
type Presence uint8

// What a name can lead to.
const (
	// Unnamed: there is no such name to look at.
	Unnamed Presence = iota
	// Same: the mapped file itself.
	Same
	// Other: another file.
	Other
	// Gone: nothing.
	Gone
	// Unreached: the name could not be followed.
	Unreached
)

// Answer is yes, no, or not known.
type Answer uint8

// The answers; the zero value is "not known".
const (
	NotKnown Answer = iota
	Yes
	No
)

func answer(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// Facts is everything that is known about one load: one file mapped executable
// by one process. Decide needs nothing else, and collects nothing itself.
type Facts struct {
	// Mapped describes the mapped file; MappedKnown is false when the kernel
	// did not let it be seen.
	Mapped      file.Info
	MappedKnown bool
	// Kernel says that the file never had a name in a file system: memfd,
	// System V shared memory, a device.
	Kernel bool
	// Started is the earliest moment at which the file can have been mapped,
	// by today's clock: the fork that made the process, or the ancestor from
	// which it inherited its memory.
	Started time.Time
	// Inherited says that the memory came from an ancestor that is gone, so that
	// the file may have been mapped before Started, by nobody knows how long.
	Inherited bool
	// Foreign says that the file is no ELF file and no package ships it: what
	// runs from it the program wrote itself, or its own loader understands.
	Foreign bool
	// Orphan says that the file has no name left in its file system, and stands at its
	// name only because it is mounted there itself.
	Orphan bool
	// WriteProtected says that the kernel refused writes to the file for as
	// long as it was mapped: it is the process's executable (ETXTBSY).
	WriteProtected bool

	// ByName is what the name leads to by which the process loaded the file
	// (AT_EXECFN, the loader's link map); Unnamed when that is not known.
	ByName Presence
	// Shown is what the kernel's own name for the mapping leads to now.
	Shown Presence
	// Renamed says that the loaded name and the shown name differ in a way
	// that a rename explains; it matters when ByName is Gone.
	Renamed bool
	// NameIsShown says that the loaded name ends where the shown name pointed.
	NameIsShown bool
	// LinkChanged says that a symbolic link on the way of the loaded name is
	// younger than the process.
	LinkChanged bool
	// Content compares the other file with the mapped one.
	Content Answer
	// Unusable says that the mapped file is a program or library and the other
	// file is none for this machine: it cannot be loaded in its place.
	Unusable bool

	// OtherOwned says that a package owns the other file, ShownOwned that one
	// lists the shown name.
	OtherOwned, ShownOwned Answer
	// Provided says that nothing stands at the names, but an installed package
	// ships a file of the same soname; ProvidedContent compares the two.
	Provided        bool
	ProvidedContent Answer
	// Temporary says that the shown name lies in memory or in a directory for
	// temporary files; System that it lies where only packages put files.
	Temporary, System bool
	// Needed says that the program could not start without the file: it is the
	// executable, or what would be loaded now names it as DT_NEEDED.
	// WasNeeded says that what is loaded does.
	Needed, WasNeeded bool

	// Checksum compares the mapped file's content with what its package
	// recorded at ChecksumRecorded.
	Checksum         Answer
	ChecksumRecorded time.Time
	// Truncated says that the file was truncated after it was loaded: the
	// process lost its private copies of the relocated pages.
	Truncated Answer
	// Rewritten says that the file differs from what the process loaded: its
	// dynamic section from the process's copy, or its build ID from that of the
	// mapped inode where the two are not the same. No proves nothing more than
	// that these agree.
	Rewritten Answer
	// CopiedUp says that the process maps another inode than stat shows, although
	// the identity is the same (overlayfs).
	CopiedUp bool
}

// Verdict is what Decide says of one load.
type Verdict struct {
	State     State
	Reason    Reason
	Certainty Certainty
	// Rule is the rule that decided, as a sentence.
	Rule string
}

// writeSpan is the time within which a file that is written once when it is
// made is taken to be complete.
const writeSpan = 2 * time.Second

// Decide applies the decision table to one load. It is a pure function: the
// same facts give the same verdict, and no fact is looked up here.
func Decide(f Facts) Verdict {
	switch {
	case f.Kernel:
		return Verdict{Ignored, Ephemeral, Certain, "the mapping is kernel memory without a file name; no package ships it"}
	case f.ByName == Same:
		return decideSame(f)
	case f.ByName == Other:
		return decideOther(f)
	case f.ByName == Unreached:
		return unresolved
	case f.Shown == Unreached:
		return unresolved
	case f.Shown == Same && f.ByName == Gone && f.Renamed:
		return Verdict{Missing, MissingFile, Certain,
			"the file was renamed after it was loaded and nothing stands at the name it was loaded by"}
	case f.Shown == Same:
		return decideSame(f)
	case f.Shown == Other:
		return decideOther(f)
	case f.Shown == Gone:
		return decideGone(f)
	}
	return unresolved
}

var unresolved = Verdict{Unknown, Unresolved, CertaintyUnknown, "the mapped file's name could not be followed, so there is nothing to compare with"}

// decideOther judges a load whose name leads to another file.
func decideOther(f Facts) Verdict {
	switch f.Content {
	case Yes:
		return Verdict{Effective, Identical, Certain, "another file stands at the name, with the same content"}
	case NotKnown:
		return Verdict{Unknown, Unreadable, CertaintyUnknown, "another file stands at the name, and the contents could not be compared"}
	}
	switch {
	case f.Unusable && f.Needed:
		return Verdict{Missing, MissingFile, Certain, "what stands at the name now is no program or library for this machine, and the program cannot start without it"}
	case f.ByName != Other:
		return Verdict{Stale, Replaced, Certain, "another file with other content stands at the name"}
	case f.Shown == Same && f.LinkChanged:
		return Verdict{Stale, SymlinkSwitched, Certain, "a symbolic link on the way to the loaded name now leads to another file with other content"}
	case f.Shown == Same:
		return Verdict{Stale, MovedAside, Certain, "the loaded file was renamed, and another file with other content stands at the name it was loaded by"}
	case f.NameIsShown || f.Shown == Other:
		return Verdict{Stale, Replaced, Certain, "another file with other content stands at the name"}
	case f.OtherOwned == Yes:
		return Verdict{Stale, Superseded, Certain, "the loaded file is gone, and the name it was loaded by leads to an installed package's file with other content"}
	}
	return Verdict{Stale, SymlinkSwitched, Certain, "the loaded file is gone, and the name it was loaded by leads to a file of another name with other content"}
}

// decideSame judges a load whose name still leads to the mapped file: has its
// content changed since? Only ctime cannot be set by a program, so a ctime
// before the start is proof; after it, weaker evidence has to do.
func decideSame(f Facts) Verdict {
	m := f.Mapped
	if !f.MappedKnown {
		return Verdict{Unknown, Unreadable, CertaintyUnknown, "the mapped file could not be examined"}
	}
	if f.CopiedUp {
		return decideCopiedUp(f)
	}
	if f.Orphan {
		return Verdict{Unknown, Unverified, CertaintyUnknown, "the file itself is mounted at its name, and where it was mounted from it is gone or was replaced: what would be mounted there now is not known"}
	}
	unchanged := !m.Ctime.After(f.Started)
	switch {
	case unchanged && f.ByName == Unnamed && !f.Inherited:
		// A directory above it may have been renamed, which leaves no trace here.
		return Verdict{Effective, Current, Likely, "the same file, unchanged since before the process started; by what name it was loaded is not known"}
	case unchanged && !f.Inherited:
		return Verdict{Effective, Current, Certain, "the same file, unchanged since before the process started"}
	case f.WriteProtected:
		return Verdict{Effective, Current, Certain, "the same file; the kernel refuses writes to a running executable"}
	case f.Truncated == Yes:
		return Verdict{Stale, Overwritten, Certain, "the same file, truncated and written anew after it was loaded"}
	case f.Rewritten == Yes:
		return Verdict{Stale, Overwritten, Certain, "the same file, with another content than the process loaded"}
	case unchanged:
		return Verdict{Effective, Current, Likely, "the same file, unchanged since the process was forked from one that is gone"}
	}
	born := !m.Birth.IsZero() && m.Birth.After(f.Started)
	switch {
	case f.Checksum == Yes && !f.ChecksumRecorded.After(f.Started):
		return Verdict{Effective, Current, Certain, "the same file, with the content that its package recorded before the process started"}
	case f.Checksum == Yes && born:
		return Verdict{Effective, Current, Certain, "the same file, made after the process started and loaded since, with the content that its package recorded"}
	case f.Foreign:
		return Verdict{Ignored, Ephemeral, Likely, "the same file, which is no ELF file and of no package: the program wrote its code itself"}
	case f.Checksum == No && !m.Mtime.After(f.Started):
		return Verdict{Unknown, Unverified, CertaintyUnknown, "the same file, changed after the process started, and not as its package recorded it; nothing tells when that came"}
	case m.Mtime.After(f.Started) && born && m.Mtime.Sub(m.Birth) <= writeSpan:
		return Verdict{Effective, Current, Likely, "the same file, made and written once after the process started, and loaded since"}
	case m.Mtime.After(f.Started) && born:
		return Verdict{Unknown, Unverified, CertaintyUnknown, "the same file, made after the process started and written to for a while; nothing tells whether it was loaded before or after"}
	case m.Mtime.After(f.Started):
		return Verdict{Stale, Overwritten, Likely, "the same file, whose content was written after the process started"}
	case born:
		return Verdict{Effective, Current, Likely, "the same file, made after the process started and loaded since"}
	case f.Truncated == No && f.Rewritten == No:
		return Verdict{Effective, Current, Likely, "the same file; its attributes changed after the process started, but not its modification time nor what the process has of its content"}
	}
	return Verdict{Unknown, Unverified, CertaintyUnknown, "the same file, changed after the process started; nothing tells whether its content or only its attributes did"}
}

// decideCopiedUp judges a file that overlayfs copied to the upper layer after it
// was mapped: the process runs the lower one.
func decideCopiedUp(f Facts) Verdict {
	switch f.Rewritten {
	case Yes:
		return Verdict{Stale, Overwritten, Certain, "the file was copied to the overlay's upper layer and has another build ID there than the process runs"}
	case No:
		return Verdict{Effective, Identical, Certain, "the file was copied to the overlay's upper layer, with the same build ID"}
	}
	if f.Mapped.Mtime.After(f.Started) {
		return Verdict{Stale, Overwritten, Likely, "the file was copied to the overlay's upper layer and written there after the process started"}
	}
	return Verdict{Unknown, Unverified, CertaintyUnknown, "the file was copied to the overlay's upper layer; nothing tells whether its content changed"}
}

// decideGone judges a load at whose names nothing stands.
func decideGone(f Facts) Verdict {
	switch {
	case f.Temporary:
		return Verdict{Ignored, Ephemeral, Certain, "the file was made in memory or in a directory for temporary files and removed after it was loaded"}
	case f.Provided && f.ProvidedContent == Yes:
		return Verdict{Effective, Identical, Certain, "the file is gone, and an installed package ships the same content under another name"}
	case f.Provided && f.ProvidedContent == No:
		return Verdict{Stale, Superseded, Certain, "the file is gone, and an installed package ships the same soname with other content"}
	case f.Provided:
		return Verdict{Unknown, Unreadable, CertaintyUnknown, "the file is gone, and the package's file of the same soname could not be compared"}
	case f.ShownOwned == Yes:
		return Verdict{Missing, MissingFile, Certain, "the file is gone although an installed package lists it, and nothing newer is installed"}
	case f.Needed:
		return Verdict{Missing, MissingFile, Likely, "the file is gone, nothing newer is installed, and the program cannot start without it"}
	case f.WasNeeded:
		return Verdict{Stale, Superseded, Likely, "the file is gone, and what needed it was replaced by what does not"}
	case f.ShownOwned == NotKnown:
		return Verdict{Unknown, Unreadable, CertaintyUnknown, "the file is gone, and whether a package ships it could not be read"}
	case f.System:
		return Verdict{Unknown, Unresolved, CertaintyUnknown, "the file is gone from a directory that only packages fill; the program can start without it, and what took its place is not known"}
	}
	return Verdict{Ignored, Ephemeral, Likely, "no package ships the file and nothing needs it to start: the program made it, loaded it and removed it"}
}

func (p Presence) String() string {
	return [...]string{"not looked at", "the mapped file itself stands there", "another file stands there", "nothing stands there", "it could not be followed"}[p]
}

func (a Answer) String() string { return [...]string{"not known", "yes", "no"}[a] }
