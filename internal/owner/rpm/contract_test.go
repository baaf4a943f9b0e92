package rpm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner/ownertest"
)

func TestContract(t *testing.T) {
	const dir = "var/lib/rpm/"
	tests := []struct {
		name, file string
		write      func(t *testing.T, name string, headers [][]byte)
	}{
		{"sqlite", dir + "rpmdb.sqlite", func(t *testing.T, name string, headers [][]byte) { makeSQLite(t, name, headers) }},
		{"sysimage", "usr/lib/sysimage/rpm/rpmdb.sqlite", func(t *testing.T, name string, headers [][]byte) { makeSQLite(t, name, headers) }},
		{"ndb", dir + "Packages.db", func(t *testing.T, name string, headers [][]byte) { write(t, "/", name, ndbOf(headers)) }},
		{"bdb", dir + "Packages", func(t *testing.T, name string, headers [][]byte) {
			write(t, "/", name, bdbOf(binary.LittleEndian, headers))
		}},
		{"bdb big endian", dir + "Packages", func(t *testing.T, name string, headers [][]byte) {
			write(t, "/", name, bdbOf(binary.BigEndian, headers))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ownertest.Run(t, ownertest.Builder{
				Manager: "rpm",
				Write: func(t *testing.T, root string, packages []ownertest.Package) {
					tt.write(t, filepath.Join(root, tt.file), headersOf(packages))
				},
				Open:    func(root *file.Root) (ownertest.Database, error) { return Open(root) },
				Central: []string{tt.file},
			})
		})
	}
}

// TestContractLive holds what rpm itself wrote to the contract.
func TestContractLive(t *testing.T) {
	for _, tool := range []string{"rpm", "rpmbuild"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("SKIPPED, NOT TESTED: there is no " + tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: rpm needs root to install into a root")
	}
	built := make(map[string]string) // by name
	top := t.TempDir()
	build := func(t *testing.T, p ownertest.Package) string {
		if name, ok := built[p.Name]; ok {
			return name
		}
		v := splitVersion(p.Version)
		var spec strings.Builder
		fmt.Fprintf(&spec, "Name: %s\nVersion: %s\nRelease: %s\nEpoch: %s\nSummary: x\nLicense: MIT\nAutoReqProv: no\n%%description\nx\n%%install\n",
			p.Name, v.version, v.release, cmp.Or(v.epoch, "0"))
		fmt.Fprintf(&spec, "mkdir -p %%{buildroot}\ncp -a '%s/usr' %%{buildroot}\n%%files\n", filepath.Join(top, p.Name))
		for name, content := range p.Files {
			write(t, filepath.Join(top, p.Name), name, []byte(content))
			fmt.Fprintf(&spec, "\"%s\"\n", name)
		}
		write(t, top, p.Name+".spec", []byte(spec.String()))
		run(t, "rpmbuild", "-bb", "--quiet", "--target", p.Arch, "--define", "_topdir "+top, "--define", "__os_install_post %{nil}",
			"--define", "_invalid_encoding_terminates_build 0", "--define", "debug_package %{nil}", "--define", "_build_id_links none",
			filepath.Join(top, p.Name+".spec"))
		built[p.Name] = filepath.Join(top, "RPMS", p.Arch, fmt.Sprintf("%s-%s-%s.%s.rpm", p.Name, v.version, v.release, p.Arch))
		return built[p.Name]
	}
	ownertest.Run(t, ownertest.Builder{
		Manager: "rpm",
		Write: func(t *testing.T, root string, packages []ownertest.Package) {
			args := rpmIn(root, "-i", "--justdb", "--nodeps", "--ignorearch")
			for _, p := range packages {
				args = append(args, build(t, p))
			}
			run(t, "rpm", args...)
		},
		Open:    func(root *file.Root) (ownertest.Database, error) { return Open(root) },
		Central: []string{"var/lib/rpm/rpmdb.sqlite"},
	})
}
