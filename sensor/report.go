package sensor

import (
	"strings"
	"time"
)

// Schema is the identifier of the report's format. Fields may be added under
// the same identifier; none is ever renamed or given another meaning.
const Schema = "sensor.report/v1"

// State is what is known of running code against what is installed.
type State string

// The states, worst last in no order: see Severity. Ignored never appears in a
// report.
const (
	Effective State = "effective"
	Stale     State = "stale"
	Missing   State = "missing"
	Unknown   State = "unknown"
	Ignored   State = "ignored"
)

// Reason is the code of the rule that decided.
type Reason string

// The reasons of DESIGN's decision table that a one-shot scan of a host gives.
const (
	Current         Reason = "current"
	Identical       Reason = "identical"
	Replaced        Reason = "replaced"
	Overwritten     Reason = "overwritten"
	MovedAside      Reason = "moved-aside"
	SymlinkSwitched Reason = "symlink-switched"
	Superseded      Reason = "superseded"
	// ImageSuperseded: the reference by which a container was made names another
	// image now.
	ImageSuperseded Reason = "image-superseded"
	// PendingDeployment: the machine will boot another image of its whole system than it
	// runs (rpm-ostree, bootc).
	PendingDeployment Reason = "pending-deployment"
	// KernelOutdated: a newer kernel of the same flavour, or another build, is installed.
	KernelOutdated Reason = "kernel"
	// ModuleReplaced: a kernel module is loaded in another build than its file.
	ModuleReplaced Reason = "module"
	// Microcode: a processor runs an older revision than is installed.
	Microcode   Reason = "microcode"
	MissingFile Reason = "missing"
	Ephemeral   Reason = "ephemeral"
	// Unreadable: the kernel refused what the decision needs.
	Unreadable Reason = "unreadable"
	// Unresolved: the mapped file's name leads nowhere that can be compared.
	Unresolved Reason = "unresolved"
	// Unverified: the same file changed after the process started, and
	// nothing tells whether its content did.
	Unverified Reason = "unverified"
	// Vanished: the evidence went away while it was being read.
	Vanished Reason = "vanished"
)

// Domain is the patch domain of the OWASP Docker Top 10 (D02).
type Domain string

// The domains.
const (
	DomainHost         Domain = "host"
	DomainRuntime      Domain = "container-runtime"
	DomainOrchestrator Domain = "orchestrator"
	DomainImage        Domain = "image"
)

// Evidence says how a loaded version is known, most trusted first.
type Evidence string

// The kinds of evidence.
const (
	Observed        Evidence = "observed"
	Embedded        Evidence = "embedded"
	Matched         Evidence = "matched"
	History         Evidence = "history"
	EvidenceUnknown Evidence = "unknown"
)

// Action is what makes a patch effective.
type Action string

// The actions.
const (
	Restart  Action = "restart"
	Redeploy Action = "redeploy"
	Reboot   Action = "reboot"
	// Reload takes a kernel module out and loads its new file.
	Reload Action = "reload"
	None   Action = "none"
)

// Report is the answer of one scan. Times are UTC; PIDs are those of the
// sensor's own PID namespace.
type Report struct {
	Schema          string    `json:"schema"`
	Version         string    `json:"version"`
	Host            Host      `json:"host"`
	ScannedAt       time.Time `json:"scanned_at"`
	DurationSeconds float64   `json:"duration_seconds"`
	// Source is where the mappings came from: bpf, procmap, maps or daemon.
	Source string `json:"source"`
	// Complete is false when anything could not be read; Warnings then say what.
	Complete bool      `json:"complete"`
	Gaps     []Gap     `json:"gaps"`
	Warnings []Warning `json:"warnings"`
	// Reboot says whether the machine itself is to be rebooted; what it rests on is in
	// the finding of the workload of kind host. Sensors before this field did not judge
	// it.
	Reboot   *RebootVerdict `json:"reboot,omitempty"`
	Summary  Summary        `json:"summary"`
	Findings []Finding      `json:"findings"`
	// Seen lists what was looked at, so that a question about one process or
	// workload is not answered by its absence. It is in the document only where
	// it was asked for.
	Seen []Seen `json:"seen,omitempty"`
}

// Seen is one process that a scan looked at.
type Seen struct {
	PID      int    `json:"pid"`
	UID      uint32 `json:"uid"`
	Workload string `json:"workload"`
	// What is known of the container that it is in: its name and ID, its image's
	// reference and ID, and its Kubernetes pod.
	Container   string `json:"container,omitempty"`
	ContainerID string `json:"container_id,omitempty"`
	Image       string `json:"image,omitempty"`
	ImageID     string `json:"image_id,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Pod         string `json:"pod,omitempty"`
}

// Host names the machine.
type Host struct {
	Name      string `json:"name"`
	MachineID string `json:"machine_id"`
	Kernel    string `json:"kernel"`
	OS        string `json:"os"`
}

// Gap is a time in which nothing was observed.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Why  string    `json:"why"`
}

// Subjects of warnings that only count what findings of state unknown say one by
// one; who shows a part of the findings counts anew.
const (
	SubjectProcesses = "processes"
	SubjectFindings  = "findings"
)

// SubjectAdvisories is that of warnings about the index of advisories.
const SubjectAdvisories = "advisories"

// SubjectContainers is that of warnings about containers in general.
const SubjectContainers = "containers"

// What the subjects of warnings about one container, image or runtime begin with.
const (
	subjectContainer = "container "
	subjectImage     = "image "
	subjectRuntime   = "runtime "
)

// AboutContainers reports whether a warning matters only to what is said of containers.
func (w Warning) AboutContainers() bool {
	return w.Subject == SubjectContainers || strings.HasPrefix(w.Subject, subjectContainer) ||
		strings.HasPrefix(w.Subject, subjectImage) || strings.HasPrefix(w.Subject, subjectRuntime)
}

// Warning is something that could not be read or trusted, once per cause.
type Warning struct {
	// Subject is what it is about: a file inside a root, a process, a source.
	Subject string `json:"subject"`
	Message string `json:"message"`
	// Help says how to get the missing answer, when there is a way.
	Help string `json:"help,omitempty"`
}

// Summary counts. Processes and Workloads count what was looked at; the states
// and actions count findings.
type Summary struct {
	Processes int `json:"processes"`
	Workloads int `json:"workloads"`
	Stale     int `json:"stale"`
	Missing   int `json:"missing"`
	Unknown   int `json:"unknown"`
	Restart   int `json:"restart"`
	Redeploy  int `json:"redeploy"`
	Reboot    int `json:"reboot"`
	Reload    int `json:"reload"`
}

// Finding is one workload that runs code which is not known to be current.
type Finding struct {
	// ID is stable across scans of the same workload.
	ID     string `json:"id"`
	State  State  `json:"state"`
	Reason Reason `json:"reason"`
	Domain Domain `json:"domain"`
	// Since is when the newer code was installed; null if not known.
	Since    *time.Time `json:"since"`
	Workload Workload   `json:"workload"`
	Remedy   Remedy     `json:"remedy"`
	// Drift says that the newer code was put into the running container: a new
	// container of its image would not have it.
	Drift bool `json:"drift,omitempty"`
	// Urgency is "low" where nothing that runs differs; else that of the packages
	// counts.
	Urgency string `json:"urgency,omitempty"`
	// Severity is that of the worst vulnerability which it leaves open, and Exploited
	// says that one of them is known to be exploited in the wild, both as advisories
	// say; low, medium, high or critical, empty if not known.
	Severity  string    `json:"severity,omitempty"`
	Exploited bool      `json:"exploited,omitempty"`
	Packages  []Package `json:"packages"`
	Processes []Process `json:"processes"`
	// Causes are, of a finding about the machine itself, the parts of it that are not
	// known to be current; what decides comes first.
	Causes []Cause `json:"causes,omitempty"`
	// ProcessesOmitted is how many more processes there are than an event lists.
	ProcessesOmitted int `json:"processes_omitted,omitempty"`
}

// Workload is the thing to act on.
type Workload struct {
	Kind      string     `json:"kind"`
	Name      string     `json:"name"`
	Container *Container `json:"container,omitempty"`
	Pod       *Pod       `json:"pod,omitempty"`
	Cgroup    string     `json:"cgroup"`
}

// Container names a container of a workload.
type Container struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Runtime string `json:"runtime"`
	Image   string `json:"image"`
	ImageID string `json:"image_id"`
}

// Pod names a Kubernetes pod and its controller.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	OwnerKind string `json:"owner_kind"`
	OwnerName string `json:"owner_name"`
}

// Remedy is what makes the patch effective.
type Remedy struct {
	Action Action `json:"action"`
	Target string `json:"target"`
	// Command is an argument vector; empty when no command can do it.
	Command    []string `json:"command"`
	Why        string   `json:"why"`
	Disruptive bool     `json:"disruptive"`
}

// Package is a package of whose files a workload runs an older version.
type Package struct {
	Manager   string           `json:"manager"`
	Name      string           `json:"name"`
	Source    string           `json:"source"`
	Arch      string           `json:"arch"`
	Loaded    LoadedVersion    `json:"loaded"`
	Installed InstalledVersion `json:"installed"`
	// CVEs are those which the package's changelog lists between the loaded
	// and the installed version; null means not known, which is not none.
	CVEs []string `json:"cves"`
	// Urgency is the highest one in that span; empty when not known.
	Urgency string `json:"urgency"`
	// Vulnerabilities are what advisories say of the CVEs, and others that they list
	// between the two versions, the worst first; absent where there are none or no
	// advisories were imported.
	Vulnerabilities []Vulnerability `json:"vulnerabilities,omitempty"`
	Layer           *Layer          `json:"layer,omitempty"`
}

// Vulnerability is what advisories say of one vulnerability that the loaded version has
// and the installed one has not.
type Vulnerability struct {
	// ID is the CVE, or the advisory's own where there is no CVE.
	ID         string   `json:"id"`
	Advisories []string `json:"advisories,omitempty"`
	// Severity is low, medium, high or critical, empty if not known; Score is the CVSS
	// base score, 0 if not known.
	Severity string  `json:"severity"`
	Score    float64 `json:"score,omitempty"`
	Vector   string  `json:"vector,omitempty"`
	// Fixed is the first version without it, empty if not known.
	Fixed string `json:"fixed,omitempty"`
	// Exploited says that CISA lists it as exploited in the wild.
	Exploited bool `json:"exploited,omitempty"`
}

// LoadedVersion is the version that runs, and how that is known.
type LoadedVersion struct {
	Version  string   `json:"version"`
	Evidence Evidence `json:"evidence"`
}

// InstalledVersion is the version on disk. State is empty unless the package
// manager left the package in a state in which its files and its version may
// disagree (half-installed, unpacked, …).
type InstalledVersion struct {
	Version string `json:"version"`
	State   string `json:"state,omitempty"`
}

// Layer is the image layer that shipped a file.
type Layer struct {
	Digest    string `json:"digest"`
	Index     int    `json:"index"`
	CreatedBy string `json:"created_by"`
}

// Process is a process of a finding.
type Process struct {
	PID          int       `json:"pid"`
	ContainerPID int       `json:"container_pid"`
	StartTime    time.Time `json:"start_time"`
	// EndedAt is set for a process that is not there any more: it ran old code
	// and ended before a scan could have met it.
	EndedAt *time.Time `json:"ended_at,omitempty"`
	Comm    string     `json:"comm"`
	Exe     string     `json:"exe"`
	UID     uint32     `json:"uid"`
	Files   []File     `json:"files"`
}

// File is one loaded file that is not known to be current.
type File struct {
	// Path is the name by which the file was loaded, inside the process's own
	// root, as far as that is known.
	Path   string `json:"path"`
	State  State  `json:"state"`
	Reason Reason `json:"reason"`
	// Package is the name of the owning package; empty when none is known.
	Package          string     `json:"package"`
	LoadedBuildID    string     `json:"loaded_build_id"`
	InstalledBuildID string     `json:"installed_build_id"`
	LoadedAt         *time.Time `json:"loaded_at"`
	// Detail says in words why, where the reason needs it.
	Detail string `json:"detail,omitempty"`
}
