// Package workload is the vocabulary of the things one would act on: a unit, a
// session, a container, or a bare process. The sources that recognise them are
// the packages below it; which files they load is not known here.
package workload

// Kind is the kind of a workload.
type Kind string

// The kinds of workload.
const (
	KindUnit      Kind = "unit"
	KindUserUnit  Kind = "user-unit"
	KindContainer Kind = "container"
	KindPod       Kind = "pod"
	KindSession   Kind = "session"
	KindProcess   Kind = "process"
	KindHost      Kind = "host"
)

// Cgroup is one line of /proc/PID/cgroup (cgroups(7)).
type Cgroup struct {
	Hierarchy   int    // 0 for cgroup v2
	Controllers string // "" for v2, "name=systemd", "cpu,cpuacct", …
	Path        string // relative to the reader's cgroup namespace root
}

// Process is what a source may know of a process.
type Process struct {
	PID  int
	UID  uint32
	Comm string
	Exe  string // path inside its own root, without " (deleted)"; may be empty
	// Init says that the process is number 1 of its PID namespace.
	Init bool
	// Foreign says that the process lives in another PID namespace than the
	// sensor, so the host's service manager may not be the one that runs it;
	// InitPID is then the sensor's number for that namespace's process 1, or 0.
	Foreign bool
	InitPID int
	Cgroups []Cgroup
}

// Workload is one thing to act on, and how.
type Workload struct {
	Kind Kind
	// Name is what a person calls it: "ssh.service", "session 3 of alice". It
	// may hold any bytes; whoever prints it escapes it.
	Name string
	// Cgroup is the cgroup path that decided, empty if none did.
	Cgroup string
	// Key identifies the workload among all of one scan, and is the same in
	// the next scan for as long as the workload is the same. Workloads of
	// equal Key have equal Kind, Name and Target.
	Key string

	// Target names what the remedy acts on; Command is the remedy as an
	// argument vector, empty when no command can do it.
	Target  string
	Command []string
	// Disruptive says that the remedy interrupts people or the machine
	// itself; DisruptiveWhy says how.
	Disruptive    bool
	DisruptiveWhy string
	// Advice replaces the usual reason for the command where it is a special
	// one, such as a re-execution instead of a restart.
	Advice string

	// Container is the container that it is, as far as its runtime tells; nil for anything else.
	Container *Container
}
