package store

import "time"

// All strings are bytes as they came, valid UTF-8 or not; their bounds are in
// limits.go. Times are kept in nanoseconds since the epoch, come back in UTC, and
// must lie between the years 1678 and 2262.

// Patch is one package that changed on disk.
type Patch struct {
	// ID is given by Write and never used twice.
	ID int64
	// At is when the change was there.
	At time.Time
	// Domain is what was patched, Root the root directory whose database says so.
	Domain, Root string
	// Manager, Package, Source and Arch name the package.
	Manager, Package, Source, Arch string
	// From and To are the versions; empty: not installed.
	From, To string
}

// FileKey names one state of one file.
type FileKey struct {
	// Dev and Ino are the file's st_dev and st_ino in the view it was seen in.
	Dev, Ino uint64
	// Birth and Mtime are nanoseconds since the epoch, 0 if not known.
	Birth, Mtime int64
	// Size is in bytes.
	Size int64
}

// Knowledge is which package version a file was while the database of its root
// named its owner.
type Knowledge struct {
	File FileKey
	// Root and Path are where it was seen: Path inside Root.
	Root, Path string
	// BuildID is in hexadecimal, empty if the file has none.
	BuildID string
	// Manager, Name, Arch and Version name the package, Source and SourceVersion
	// what it was built from.
	Manager, Name, Arch, Version, Source, SourceVersion string
	// SeenAt is when this was last found to be so.
	SeenAt time.Time
}

// Exposure is a window of time in which a workload ran an older version of a
// package than the installed one.
type Exposure struct {
	// ID is given by Write and never used twice.
	ID int64
	// Finding is the stable ID of the finding it belongs to.
	Finding string
	// Domain, Kind and Workload name the workload.
	Domain, Kind, Workload string
	// Manager, Package and Arch name the package.
	Manager, Package, Arch string
	// Loaded and Installed are versions, Evidence is how Loaded is known.
	Loaded, Evidence, Installed string
	// CVEs are those fixed between the two: nil if that is not known, which is not
	// the same as none.
	CVEs []string
	// Opened is when the window opened. AtLeast says that it was open then already.
	Opened  time.Time
	AtLeast bool
	// Closed is zero while the window is open.
	Closed time.Time
}

// Gap is a time in which nothing was observed.
type Gap struct {
	From, To time.Time
	Why      string
}

// Event is something that clients were or will be told.
type Event struct {
	// Seq is given by Write, which keeps one that is above all before it. It grows
	// for ever, with holes, and is never used
	// twice, also after pruning, a power cut or a store that was discarded. It
	// stays below 2^53, so JSON readers that know only doubles can hold it.
	Seq uint64
	At  time.Time
	// Type and Body are the writer's. An empty Body comes back as nil.
	Type string
	Body []byte
}

// Batch is what is written in one transaction: all of it or nothing.
type Batch struct {
	Patches []Patch
	// Learned replaces what is known of the same FileKey, unless that was seen
	// later.
	Learned []Knowledge
	Opened  []Exposure
	// Changed replaces all but Closed of the exposure that has its ID.
	Changed []Exposure
	// Closed sets Closed of the exposure that has its ID, and nothing else.
	// Closing one again moves the end.
	Closed []Exposure
	Gaps   []Gap
	Events []Event
	// Beat is the time at which the daemon was alive, zero for none.
	Beat time.Time
	// Meta is set key by key; other keys stay.
	Meta map[string]string
}

func (b *Batch) empty() bool {
	return len(b.Patches) == 0 && len(b.Learned) == 0 && len(b.Opened) == 0 && len(b.Changed) == 0 &&
		len(b.Closed) == 0 && len(b.Gaps) == 0 && len(b.Events) == 0 && b.Beat.IsZero() && len(b.Meta) == 0
}
