package pacman

import (
	"crypto/md5"
	"crypto/sha256"
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
	for _, digests := range []string{"sha256", "md5"} {
		t.Run(digests, func(t *testing.T) {
			ownertest.Run(t, ownertest.Builder{
				Manager: "pacman",
				Open:    func(root *file.Root) (ownertest.Database, error) { return Open(root) },
				Central: []string{local + "ALPM_DB_VERSION", strings.TrimSuffix(local, "/")},
				Write: func(t *testing.T, root string, packages []ownertest.Package) {
					write(t, root, local+"ALPM_DB_VERSION", "9\n")
					for _, p := range packages {
						writePackage(t, root, p, digests)
					}
				},
				Private: func(pkg string) []string {
					dir := local + map[string]string{"alpha": "alpha-1.2-3/", "beta": "beta-2:4.0~rc1-1/"}[pkg]
					return []string{dir + "desc", dir + "files", dir + "mtree"}
				},
			})
		})
	}
}

func writePackage(t *testing.T, root string, p ownertest.Package, digests string) {
	dir := local + p.Name + "-" + p.Version + "/"
	write(t, root, dir+"desc", fmt.Sprintf("%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%ARCH%%\n%s\n\n%%INSTALLDATE%%\n1700000000\n\n", p.Name, p.Version, p.Arch))
	all := make(map[string]bool)
	for name := range p.Files {
		all[name[1:]] = true
		for name = path.Dir(name); name != "/"; name = path.Dir(name) {
			all[name[1:]+"/"] = true
		}
	}
	var files, tree strings.Builder
	files.WriteString("%FILES%\n")
	tree.WriteString("#mtree\n/set type=file uid=0 gid=0 mode=644\n./.PKGINFO time=1.0 size=1\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		files.WriteString(name + "\n")
		content, isFile := p.Files["/"+name]
		switch {
		case !isFile:
			fmt.Fprintf(&tree, "./%s time=1.0 type=dir\n", escaped(strings.TrimSuffix(name, "/")))
		case digests == "md5":
			fmt.Fprintf(&tree, "./%s time=1.0 md5digest=%x\n", escaped(name), md5.Sum([]byte(content)))
		default:
			fmt.Fprintf(&tree, "./%s time=1.0 md5digest=%x sha256digest=%x\n", escaped(name), md5.Sum([]byte(content)), sha256.Sum256([]byte(content)))
		}
	}
	files.WriteString("\n")
	write(t, root, dir+"files", files.String())
	write(t, root, dir+"mtree", gzipped(tree.String()))
}

// escaped writes a path as libarchive does.
func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c > ' ' && c < 0x7f && c != '\\' && c != '=' && c != '#' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return b.String()
}
