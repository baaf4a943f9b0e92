package sensor

import "time"

// PackageListSchema is the identifier of the format of a PackageList. Fields may be added
// under it; none is ever renamed or given another meaning.
const PackageListSchema = "sensor.packages/v1"

// PackageList says of packages which of them run: all that the host has installed, those
// of containers and other roots of which something is loaded, and what loaded files that
// no package ships say they were built from.
type PackageList struct {
	Schema          string    `json:"schema"`
	Version         string    `json:"version"`
	Host            Host      `json:"host"`
	ScannedAt       time.Time `json:"scanned_at"`
	DurationSeconds float64   `json:"duration_seconds"`
	// Source is where the mappings came from: bpf, procmap or maps.
	Source string `json:"source"`
	// Complete is false when anything could not be read; Warnings then say what.
	Complete bool            `json:"complete"`
	Warnings []Warning       `json:"warnings"`
	Summary  PackageSummary  `json:"summary"`
	Packages []ListedPackage `json:"packages"`
}

// PackageSummary counts packages.
type PackageSummary struct {
	Packages int `json:"packages"`
	Loaded   int `json:"loaded"`
	Stale    int `json:"stale"`
}

// ListedPackage is one package in one root.
type ListedPackage struct {
	// Manager is dpkg, rpm, apk or pacman; go, cargo or note (a package note) for what a
	// file says that it was built from.
	Manager string `json:"manager"`
	Name    string `json:"name"`
	Source  string `json:"source"`
	Arch    string `json:"arch"`
	Version string `json:"version"`
	Vendor  string `json:"vendor,omitempty"`
	// Module is the modularity label of an rpm package.
	Module string `json:"module,omitempty"`
	// Where is the root: "/" for the host's, "container NAME", "image NAME" where
	// several containers show the same database, or the root directory of a process.
	Where string `json:"where"`
	// Distribution and Release are ID and VERSION_ID of the root's os-release(5).
	Distribution string `json:"distribution"`
	Release      string `json:"release"`
	// File is the one that says so, for what no package database has.
	File string `json:"file,omitempty"`
	// Processes is how many processes have loaded something of the package, Stale how
	// many of them another version than this one, or one that is gone.
	Processes int `json:"processes"`
	Stale     int `json:"stale"`
	// LoadedVersions are the versions that the stale ones run.
	LoadedVersions []LoadedVersion `json:"loaded_versions,omitempty"`
	// LastChange is the newest one in the package manager's history; null if none is
	// known.
	LastChange *PackageChange `json:"last_change"`
}

// PackageChange is one change of a package, by the history of its root. From is empty for
// a first installation.
type PackageChange struct {
	Time time.Time `json:"time"`
	From string    `json:"from"`
	To   string    `json:"to"`
}
