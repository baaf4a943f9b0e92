package sensor

import (
	"errors"
	"os"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/apk"
	"github.com/patchsensor/patchsensor/internal/owner/dpkg"
	"github.com/patchsensor/patchsensor/internal/owner/pacman"
	"github.com/patchsensor/patchsensor/internal/owner/rpm"
)

// database is the seam to a package database: who shipped a file in one root.
type database interface {
	// Owners answers for canonical paths inside the root; a path that no
	// package owns is absent.
	Owners(paths []string) (map[string]owner.Owned, error)
	// Providers lists the packages that ship a file of a base name.
	Providers(bases []string) (map[string][]owner.Owned, error)
	// Checksum is the content that the package recorded for a file.
	Checksum(owner.Owned) (owner.Checksum, bool, error)
	// History lists the changes of packages, oldest first.
	History() ([]owner.Change, error)
	// Changelog lists what is newer than version after in the package.
	Changelog(p owner.Package, after string) (owner.Changelog, error)
	// Packages lists what may have files in the root, by name and architecture.
	Packages() []owner.Package
	// Problems are the defects met so far; all else is still answered.
	Problems() []error
}

// tree is a root directory: that of a view, or an image's layers put together.
type tree interface {
	Open(name string) (*os.File, error)
	Stat(name string) (file.Info, error)
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string, limit int) ([]string, error)
	Readlink(name string) (string, error)
}

// manager opens one kind of package database.
type manager struct {
	name string
	// marks are the files of which one exists in a root that has such a
	// database; their identity is that of the database.
	marks []string
	// journals are files that change with the database as well.
	journals []string
	// directories are those of the marks that are none of files; largest is the size
	// in bytes from which a file is not read.
	directories []string
	largest     int64
	// logs are where the history of packages is kept: one of these.
	logs []string
	open func(tree) (database, error)
	// newer reports whether version a is newer than b, both of packages of this kind.
	newer func(a, b string) bool
	// busy reports whether the package manager is at work in a root.
	busy func(*file.Root) (bool, error)
}

// managers are all kinds of package databases.
func managers() []manager {
	return []manager{
		{
			name:     "dpkg",
			marks:    []string{"var/lib/dpkg/status", "var/lib/dpkg/status.d"},
			journals: []string{"var/lib/dpkg/updates", "var/lib/dpkg/diversions"},
			// Real ones have up to 40 MB.
			directories: []string{"var/lib/dpkg/status.d"}, largest: 64 << 20,
			open:  func(r tree) (database, error) { return dpkg.Open(r) },
			logs:  []string{"var/log/dpkg.log"},
			newer: by(dpkg.Compare),
			busy:  dpkg.Busy,
		},
		{
			name: "rpm",
			marks: []string{
				"usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db", "usr/lib/sysimage/rpm/Packages",
				"var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages.db", "var/lib/rpm/Packages",
				"usr/share/rpm/rpmdb.sqlite", "usr/share/rpm/Packages.db", "usr/share/rpm/Packages",
			},
			journals: []string{"usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "var/lib/rpm/rpmdb.sqlite-wal", "usr/share/rpm/rpmdb.sqlite-wal"},
			// With the file lists and changelogs of everything that a distribution has.
			largest: 4 << 30,
			open:    func(r tree) (database, error) { return rpm.Open(r) },
			logs: []string{"usr/lib/sysimage/libdnf5/transaction_history.sqlite", "usr/lib/sysimage/libdnf5/transaction_history.sqlite-wal",
				"var/lib/dnf/history.sqlite", "var/lib/dnf/history.sqlite-wal", "var/log/zypp/history", "var/lib/yum/history"},
			newer: by(rpm.Compare),
			busy:  rpm.Busy,
		},
		{
			name:    "apk",
			marks:   []string{"usr/lib/apk/db/installed", "lib/apk/db/installed"},
			largest: 128 << 20,
			open:    func(r tree) (database, error) { return apk.Open(r) },
			logs:    []string{"var/log/apk.log"},
			newer:   by(apk.Compare),
			busy:    apk.Busy,
		},
		{
			name:        "pacman",
			marks:       []string{"var/lib/pacman/local"},
			directories: []string{"var/lib/pacman/local"},
			open:        func(r tree) (database, error) { return pacman.Open(r) },
			logs:        []string{"var/log/pacman.log"},
			newer:       by(pacman.Compare),
			busy:        pacman.Busy,
		},
	}
}

// by makes a question of a comparison. What cannot be compared is not newer.
func by(compare func(a, b string) (int, error)) func(a, b string) bool {
	return func(a, b string) bool {
		order, err := compare(a, b)
		return err == nil && order > 0
	}
}

// managersOf is the manager of a root's packages; where there are databases of several
// kinds it is all of them as one. It is false if there is none.
func managersOf(root tree) (manager, bool) {
	var found []manager
	for _, m := range managers() {
		if present(root, m.marks) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return manager{}, false
	case 1:
		return found[0], true
	}
	return together(found), true
}

// together makes one manager of several. Versions of different kinds are not compared.
func together(list []manager) manager {
	var names []string
	all := manager{newer: func(string, string) bool { return false }}
	for _, m := range list {
		names = append(names, m.name)
		all.marks = append(all.marks, m.marks...)
		all.journals = append(all.journals, m.journals...)
		all.logs = append(all.logs, m.logs...)
	}
	all.name = strings.Join(names, "+")
	all.open = func(root tree) (database, error) { return openAll(root, list) }
	all.busy = func(root *file.Root) (bool, error) {
		for _, m := range list {
			if busy, err := m.busy(root); busy || err != nil {
				return busy, err
			}
		}
		return false, nil
	}
	return all
}

// supersedes reports whether package a is newer than b. Packages of different kinds
// cannot be told.
func supersedes(a, b owner.Package) bool {
	if a.Manager != b.Manager {
		return false
	}
	for _, m := range managers() {
		if m.name == a.Manager {
			return m.newer(a.Version, b.Version)
		}
	}
	return false
}

// noDatabase reports whether err only says that a root has no package database.
func noDatabase(err error) bool { return errors.Is(err, owner.ErrNoDatabase) }
