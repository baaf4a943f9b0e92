package sensor

import "time"

// ExplanationSchema is the identifier of the format of an Explanation. Fields
// may be added under it; none is ever renamed or given another meaning.
const ExplanationSchema = "sensor.explanation/v1"

// Explanation is the evidence behind the verdicts on one target: which files
// its processes run, what stands on disk now, and which rule decided. Unlike a
// Report it holds every judged load, the effective and the ignored ones too.
type Explanation struct {
	Schema          string    `json:"schema"`
	Version         string    `json:"version"`
	Host            Host      `json:"host"`
	ScannedAt       time.Time `json:"scanned_at"`
	DurationSeconds float64   `json:"duration_seconds"`
	// Source is where the mappings came from: bpf, procmap, maps or daemon.
	Source string `json:"source"`
	// Complete is false when anything about the target could not be read;
	// Warnings then say what.
	Complete bool      `json:"complete"`
	Warnings []Warning `json:"warnings"`
	// Target is what was asked about: a PID, a unit or a path.
	Target string `json:"target"`
	// Workloads is empty when nothing that runs belongs to the target.
	Workloads []ExplainedWorkload `json:"workloads"`
}

// ExplainedWorkload is one workload of the target with the verdict on it.
type ExplainedWorkload struct {
	Workload Workload `json:"workload"`
	Remedy   Remedy   `json:"remedy"`
	State    State    `json:"state"`
	// Packages are those of which it runs an older version, as in a Report.
	Packages  []Package          `json:"packages,omitempty"`
	Processes []ExplainedProcess `json:"processes"`
	// Layers are what the root of a container is made of, topmost first; empty for
	// anything else, and where that is not known.
	Layers []ExplainedLayer `json:"layers,omitempty"`
	// Hints are what else is worth knowing, one sentence each; no verdict rests on
	// them.
	Hints []string `json:"hints,omitempty"`
}

// ExplainedLayer is one layer of a container's root, with what the verdicts on the
// container have to do with it.
type ExplainedLayer struct {
	// Index is 0 for the lowest layer of the image and -1 for the writable one.
	Index int `json:"index"`
	// Digest is that of the layer's uncompressed archive, CreatedBy the instruction of
	// the image's history that made it; both are empty where they are not known.
	Digest    string `json:"digest"`
	CreatedBy string `json:"created_by"`
	Writable  bool   `json:"writable"`
	// Files are the stale files whose loaded code is of this layer, Newer those that
	// stand on this layer now and replace loaded ones.
	Files []string `json:"files"`
	Newer []string `json:"newer"`
}

// ExplainedProcess is one process with everything that it loaded.
type ExplainedProcess struct {
	PID       int             `json:"pid"`
	StartTime time.Time       `json:"start_time"`
	Comm      string          `json:"comm"`
	Exe       string          `json:"exe"`
	Loads     []ExplainedLoad `json:"loads"`
}

// Certainty says how sure the verdict on one load is.
type Certainty string

// The degrees of certainty.
const (
	// Certain: identity and content were both seen.
	Certain Certainty = "certain"
	// Likely: the verdict rests on times or names; the running bytes could not
	// be compared, as with a file overwritten under a private mapping.
	Likely Certainty = "likely"
	// CertaintyUnknown: the evidence does not decide.
	CertaintyUnknown Certainty = "unknown"
)

// ExplainedLoad is one loaded file and how it was judged.
type ExplainedLoad struct {
	// Path is the name that was judged, inside the process's own root.
	Path string `json:"path"`
	// LoadedAs holds the names under which the file may have been loaded where
	// these differ from the one that the kernel shows now.
	LoadedAs []string `json:"loaded_as"`
	State    State    `json:"state"`
	Reason   Reason   `json:"reason"`
	// Rule is the rule that decided, as a sentence.
	Rule      string    `json:"rule"`
	Certainty Certainty `json:"certainty"`
	// Mapped is the file that runs, OnDisk the one that Path leads to now; null
	// when Path leads nowhere or could not be followed.
	Mapped FileFacts  `json:"mapped"`
	OnDisk *FileFacts `json:"on_disk"`
	// Owner is the package that ships Path and its installed version, empty
	// when no package is known to.
	Owner string `json:"owner"`
	// LoadedVersion is the version that runs, empty when not known; Evidence
	// says how it is known.
	LoadedVersion string   `json:"loaded_version"`
	Evidence      Evidence `json:"evidence"`
	// Modules are what a file that no package ships says it was built from, itself
	// first: "go example.com/tool v1.2.3", "cargo serde 1.0.200", or "note" with
	// the name and version of a package note. It is the file's own claim.
	Modules []string `json:"modules,omitempty"`
	// Steps is the chain of evidence, one fact each, in the order looked at.
	Steps []string `json:"steps"`
}

// FileFacts is what was seen of one file. An empty field was not seen.
type FileFacts struct {
	Path string `json:"path"`
	// Identity is device and inode as stat(2) tells them, "major:minor:inode".
	Identity string `json:"identity"`
	// BuildID is the GNU build ID and SHA256 the hash of the whole file, both
	// in lower-case hex.
	BuildID string `json:"build_id"`
	SHA256  string `json:"sha256"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Changed, Modified and Born are ctime, mtime and birth time; null where
	// the file system or the kernel does not tell.
	Changed  *time.Time `json:"changed"`
	Modified *time.Time `json:"modified"`
	Born     *time.Time `json:"born"`
	// Deleted says that the file has no name left.
	Deleted bool `json:"deleted"`
}
