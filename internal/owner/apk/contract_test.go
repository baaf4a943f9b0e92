package apk

import (
	"crypto/sha1"
	"encoding/base64"
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
	for _, name := range places {
		t.Run(name, func(t *testing.T) {
			ownertest.Run(t, ownertest.Builder{
				Manager: "apk",
				Open:    func(root *file.Root) (ownertest.Database, error) { return Open(root) },
				Central: []string{name},
				Write: func(t *testing.T, root string, packages []ownertest.Package) {
					write(t, root, name, installed(packages))
				},
			})
		})
	}
}

func installed(packages []ownertest.Package) string {
	var b strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&b, "C:%s\nP:%s\nV:%s\nA:%s\nT:a package\n", digest(p.Name), p.Name, p.Version, p.Arch)
		dirs := make(map[string][]string)
		for name := range p.Files {
			dirs[path.Dir(name)] = append(dirs[path.Dir(name)], name)
		}
		for _, dir := range slices.Sorted(maps.Keys(dirs)) {
			fmt.Fprintf(&b, "F:%s\n", dir[1:])
			for _, name := range dirs[dir] {
				fmt.Fprintf(&b, "R:%s\na:0:0:755\nZ:%s\n", path.Base(name), digest(p.Files[name]))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func digest(content string) string {
	sum := sha1.Sum([]byte(content))
	return "Q1" + base64.StdEncoding.EncodeToString(sum[:])
}
