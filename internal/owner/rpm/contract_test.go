package rpm

import (
	"encoding/binary"
	"path/filepath"
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
