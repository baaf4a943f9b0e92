package sensor

import "time"

// HostSchema is the identifier of the format of a HostReport. Fields may be added under
// it; none is ever renamed or given another meaning.
const HostSchema = "sensor.host/v1"

// Need says whether a machine is to be rebooted.
type Need string

// The needs.
const (
	// NeedReboot: something installed is not effective, and only a reboot makes it so.
	NeedReboot Need = "needed"
	// NeedAdvised: somebody asks for a reboot, or it is the cheaper way.
	NeedAdvised Need = "advised"
	NeedNone    Need = "no"
	NeedUnknown Need = "unknown"
)

// RebootVerdict is whether the machine is to be rebooted, and why.
type RebootVerdict struct {
	Need Need `json:"need"`
	// Why has one sentence for each cause, without full stops, the weightiest first.
	Why []string `json:"why"`
	// Warnings say what a reboot would bring that nobody may expect: another kernel than
	// the newest, or none.
	Warnings []string `json:"warnings"`
}

// Cause is a part of the machine itself that is not known to be current.
type Cause struct {
	State  State  `json:"state"`
	Reason Reason `json:"reason"`
	// Subject is "kernel", "module NAME", "microcode of CPU N" or "deployment".
	Subject string `json:"subject"`
	// Running is what runs and Installed what would after the remedy, as people name
	// it: a release with its package's version, a build ID, a revision.
	Running   string `json:"running"`
	Installed string `json:"installed"`
	Action    Action `json:"action"`
	// Need is what it says of a reboot by itself.
	Need Need   `json:"need"`
	Why  string `json:"why"`
	// Since is when the newer code was installed; null if not known.
	Since *time.Time `json:"since"`
}

// HostReport is what there is to say of the machine itself.
type HostReport struct {
	Schema          string    `json:"schema"`
	Version         string    `json:"version"`
	Host            Host      `json:"host"`
	ScannedAt       time.Time `json:"scanned_at"`
	DurationSeconds float64   `json:"duration_seconds"`
	// Complete is false when anything could not be read; Warnings then say what.
	Complete bool          `json:"complete"`
	Warnings []Warning     `json:"warnings"`
	BootedAt time.Time     `json:"booted_at"`
	Reboot   RebootVerdict `json:"reboot"`
	Causes   []Cause       `json:"causes"`
	Release  Release       `json:"release"`
	Kernel   KernelStatus  `json:"kernel"`
	Modules  ModuleStatus  `json:"modules"`
	// Microcode has one entry for each kind of processor; none on architectures that
	// have no microcode.
	Microcode []MicrocodeStatus `json:"microcode"`
	// Sentinels are those who ask for a reboot.
	Sentinels []Sentinel      `json:"sentinels"`
	Managers  []ManagerStatus `json:"managers"`
	// Images are the releases of the containers that run, by image.
	Images []ImageRelease `json:"images"`
	// Summary counts what runs on the machine, containers included.
	Summary Summary `json:"summary"`
}

// Release is a release of a distribution and how long it gets security updates.
type Release struct {
	ID         string `json:"id"`
	VersionID  string `json:"version_id"`
	PrettyName string `json:"pretty_name"`
	// EndOfLife is the last day with security updates, YYYY-MM-DD, empty if not known;
	// Support says whose that is (standard, lts, …) and Source where it was read.
	EndOfLife string `json:"end_of_life"`
	Support   string `json:"support"`
	Source    string `json:"source"`
	// State is supported, ended or unknown.
	State string `json:"state"`
}

// ImageRelease is the release of an image that containers run.
type ImageRelease struct {
	Image      string   `json:"image"`
	Containers []string `json:"containers"`
	Release    Release  `json:"release"`
}

// KernelStatus is the running kernel beside those that are installed.
type KernelStatus struct {
	// State is effective, stale or unknown; ignored where no kernel is installed, as
	// the one that runs comes from outside.
	State   State  `json:"state"`
	Why     string `json:"why"`
	Release string `json:"release"`
	Flavour string `json:"flavour"`
	// PackageVersion is the version of the package that the running kernel is from, as
	// far as the kernel tells; BuildID identifies what runs.
	PackageVersion string            `json:"package_version"`
	BuildID        string            `json:"build_id"`
	Installed      []InstalledKernel `json:"installed"`
	// Next is the release that will boot, empty if not known; NextWhy then says why.
	Next        string      `json:"next"`
	NextWhy     string      `json:"next_why"`
	Livepatches []Livepatch `json:"livepatches"`
	// CVEs are those which the package's changelog lists between what runs and what is
	// installed; null means not known.
	CVEs []string `json:"cves"`
	// Livepatched are those of them that an applied live patch covers already.
	Livepatched []string `json:"livepatched"`
}

// InstalledKernel is a kernel that could be booted.
type InstalledKernel struct {
	Release string   `json:"release"`
	Flavour string   `json:"flavour"`
	Files   []string `json:"files"`
	// Package and PackageVersion are those which ship it, empty if none is known.
	Package        string `json:"package"`
	PackageVersion string `json:"package_version"`
	// Running says whether it is the build that runs: yes, no or unknown.
	Running string `json:"running"`
	// Next says that it will boot.
	Next bool `json:"next"`
	// Error says why its image could not be read.
	Error string `json:"error,omitempty"`
}

// Livepatch is a patch of the running kernel.
type Livepatch struct {
	Name string `json:"name"`
	// State is enabled, disabled, "being applied" or "being taken back".
	State          string   `json:"state"`
	Objects        []string `json:"objects"`
	Package        string   `json:"package"`
	PackageVersion string   `json:"package_version"`
}

// ModuleStatus counts the loaded modules.
type ModuleStatus struct {
	Loaded  int `json:"loaded"`
	Current int `json:"current"`
	Stale   int `json:"stale"`
	// NotInstalled have no file: they were loaded from elsewhere, or what they were
	// loaded from is gone.
	NotInstalled int `json:"not_installed"`
	Unknown      int `json:"unknown"`
	// Listed are those that are not current.
	Listed []Module `json:"listed"`
}

// Module is a loaded module that is not known to be current.
type Module struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// File would be loaded now.
	File      string `json:"file"`
	Loaded    string `json:"loaded"`
	Installed string `json:"installed"`
	Why       string `json:"why"`
}

// MicrocodeStatus is the microcode of one kind of processor.
type MicrocodeStatus struct {
	CPU    int    `json:"cpu"`   // the lowest number
	Count  int    `json:"count"` // of processors
	Vendor string `json:"vendor"`
	State  State  `json:"state"`
	Why    string `json:"why"`
	// Running, Installed (in the firmware files) and Early (what the kernel that will
	// boot finds in its initial ramdisk) are revisions: 0x and hexadecimal digits.
	Running   string `json:"running"`
	Installed string `json:"installed"`
	Early     string `json:"early"`
	File      string `json:"file"`
}

// Sentinel is who asks for a reboot.
type Sentinel struct {
	// Source is the file that asks, or "needs-restarting" for what that would say.
	Source   string     `json:"source"`
	Packages []string   `json:"packages"`
	Since    *time.Time `json:"since"`
	// Counts says that it is reason enough by itself to advise a reboot.
	Counts bool `json:"counts"`
}

// ManagerStatus is a package manager of the machine.
type ManagerStatus struct {
	Manager  string `json:"manager"`
	Packages int    `json:"packages"`
	// LastChange is the newest one in its history; null if it tells of none.
	LastChange *time.Time `json:"last_change"`
}
