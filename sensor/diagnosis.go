package sensor

import "time"

// DiagnosisSchema is the identifier of the format of a Diagnosis. Fields may be
// added under it; none is ever renamed or given another meaning.
const DiagnosisSchema = "sensor.diagnosis/v1"

// Diagnosis says what this machine lets the sensor see, and what would let it
// see more.
type Diagnosis struct {
	Schema    string    `json:"schema"`
	Version   string    `json:"version"`
	Host      Host      `json:"host"`
	CheckedAt time.Time `json:"checked_at"`
	// Kernel is the release of the running kernel (uname -r).
	Kernel string `json:"kernel"`
	// BTF says that the kernel describes its own types
	// (/sys/kernel/btf/vmlinux), which BPF programs here need.
	BTF bool `json:"btf"`
	// Checks are what every answer rests on: privileges, /proc, package
	// databases, history, changelogs.
	Checks []Check `json:"checks"`
	// Sources are the ways to read the mappings, best first: bpf, procmap,
	// maps; each was tried, and Found holds the result.
	Sources []Check `json:"sources"`
	// Source is the one that "auto" takes, empty when none works.
	Source string `json:"source"`
	// Tracking is how the running sensor sees changes; null if none was asked.
	Tracking *Tracking `json:"tracking,omitempty"`
}

// Level is how much the outcome of a check matters.
type Level string

// The levels.
const (
	LevelOK Level = "ok"
	// LevelWarn: the verdicts are the same but cost more, or say less beside
	// the verdict (a version, a CVE).
	LevelWarn Level = "warn"
	// LevelFail: some verdicts will be unknown.
	LevelFail Level = "fail"
)

// Check is one thing that was tried.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Level Level  `json:"level"`
	// Found is what was seen, in words.
	Found string `json:"found"`
	// Remedy is what would mend it, empty when nothing is to be done.
	Remedy string `json:"remedy"`
}
