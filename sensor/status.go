package sensor

import "time"

// StatusSchema is the identifier of the format of a Status. Fields may be added
// under it; none is ever renamed or given another meaning.
const StatusSchema = "sensor.status/v1"

// Status is how the running sensor is doing.
type Status struct {
	Schema    string    `json:"schema"`
	Version   string    `json:"version"`
	Host      Host      `json:"host"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	Now       time.Time `json:"now"`
	// Ready says that everything that runs was looked at once since the start.
	Ready    bool     `json:"ready"`
	Tracking Tracking `json:"tracking"`
	// Processes is how many are tracked, Loads how many pairs of process and
	// file, Files how many distinct files.
	Processes int `json:"processes"`
	Loads     int `json:"loads"`
	Files     int `json:"files"`
	// Summary is that of the last judgement, at JudgedAt; null before the first.
	Summary  *Summary   `json:"summary"`
	JudgedAt *time.Time `json:"judged_at"`
	// Reboot says whether the machine itself is to be rebooted, as of then.
	Reboot *RebootVerdict `json:"reboot,omitempty"`
	// Judgements are the times at which everything was judged since the start.
	Judgements Judgements `json:"judgements"`
	// Patches are the last ones, newest first.
	Patches []PatchStatus `json:"patches"`
	// Losses count what was not observed or not kept; all that are zero is well.
	Losses []Counter   `json:"losses"`
	Gaps   []Gap       `json:"gaps"`
	Store  StoreStatus `json:"store"`
	// CPUSeconds is user and system time of the sensor itself since its start,
	// MemoryBytes its resident set.
	CPUSeconds  float64   `json:"cpu_seconds"`
	MemoryBytes uint64    `json:"memory_bytes"`
	Warnings    []Warning `json:"warnings"`
}

// Tracking says by what the sensor learns of changes.
type Tracking struct {
	// Tier is the way in which executable mappings are seen: lsm, fentry, kprobe,
	// perf, syscall, exec (only new programs are seen) or poll (nothing is).
	Tier string `json:"tier"`
	// Source is how a process's mappings are read: bpf, procmap or maps.
	Source string `json:"source"`
	// Tiers are all ways, best first, each with why it was not taken.
	Tiers []Check `json:"tiers"`
}

// Judgements counts passes over everything that is tracked.
type Judgements struct {
	Count       uint64  `json:"count"`
	Seconds     float64 `json:"seconds"`
	LastSeconds float64 `json:"last_seconds"`
}

// PatchStatus is a patch and how far it has become effective.
type PatchStatus struct {
	Patch
	// Stale is how many workloads still run the package's older code.
	Stale int `json:"stale"`
	// Since is when the longest of their exposures began; null if there is none.
	Since *time.Time `json:"since"`
}

// Counter is a count since the start.
type Counter struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// StoreStatus tells of the database in which the sensor keeps what it saw.
type StoreStatus struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	// Error is why nothing can be kept at the moment; empty when all is well.
	Error string `json:"error"`
}

// Measurements are what a metrics system wants to know.
type Measurements struct {
	Ready     bool
	Tier      string
	Source    string
	Processes int
	Loads     int
	Files     int
	// Findings counts those of the last judgement.
	Findings map[FindingKey]int
	// Reboot is whether the machine is to be rebooted; empty before the first judgement.
	Reboot Need
	// Exposures are the ages of open exposures, by domain.
	Exposures map[Domain][]time.Duration
	// Events counts those told since the start.
	Events map[EventType]uint64
	// Observed counts what the kernel told, by kind: exec, fork, exit, map.
	Observed   []Counter
	Losses     []Counter
	Judgements Judgements
	StoreBytes int64
	StoreOK    bool
	CPUSeconds float64
	Memory     uint64
}

// FindingKey is what findings are counted by.
type FindingKey struct {
	State  State
	Action Action
	Domain Domain
}
