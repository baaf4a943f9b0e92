package dpkg

import (
	"crypto/md5"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner/ownertest"
)

func TestContract(t *testing.T) {
	open := func(root *file.Root) (ownertest.Database, error) { return Open(root) }
	t.Run("status", func(t *testing.T) {
		ownertest.Run(t, ownertest.Builder{
			Manager: "dpkg", Write: writeStatus, Open: open,
			Central: []string{admin + "status"},
			Private: func(pkg string) []string {
				return []string{admin + "info/" + pkg + ".list", admin + "info/" + pkg + ".md5sums"}
			},
		})
	})
	t.Run("status.d", func(t *testing.T) {
		ownertest.Run(t, ownertest.Builder{
			Manager: "dpkg", Write: writeStatusDir, Open: open,
			Private: func(pkg string) []string { return []string{admin + "status.d/" + pkg + ".md5sums"} },
		})
	})
}

func writeStatus(t *testing.T, root string, packages []ownertest.Package) {
	var status strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n\n", p.Name, p.Arch, p.Version)
		write(t, root, admin+"info/"+p.Name+".list", listOf(p))
		write(t, root, admin+"info/"+p.Name+".md5sums", sumsOf(p))
	}
	write(t, root, admin+"status", status.String())
}

func writeStatusDir(t *testing.T, root string, packages []ownertest.Package) {
	for _, p := range packages {
		write(t, root, admin+"status.d/"+p.Name, fmt.Sprintf("Package: %s\nArchitecture: %s\nVersion: %s\n", p.Name, p.Arch, p.Version))
		write(t, root, admin+"status.d/"+p.Name+".md5sums", sumsOf(p))
	}
}

// listOf lists the files and their directories, as dpkg does.
func listOf(p ownertest.Package) string {
	all := map[string]bool{"/.": true}
	for name := range p.Files {
		for ; name != "/"; name = path.Dir(name) {
			all[name] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), "\n") + "\n"
}

func sumsOf(p ownertest.Package) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		fmt.Fprintf(&b, "%x  %s\n", md5.Sum([]byte(p.Files[name])), name[1:])
	}
	return b.String()
}
