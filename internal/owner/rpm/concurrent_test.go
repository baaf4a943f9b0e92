package rpm

import (
	"sync"
	"testing"
)

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	d := open(t, unpack(t, "bookworm-dnf4"))
	const path = "/usr/bin/alpha"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			owners, err := d.Owners([]string{path, "/usr/bin/broken"})
			if err != nil || owners[path].Package.Name != "alpha" {
				t.Errorf("owners %v, %v", owners, err)
			}
			if _, err := d.Providers([]string{"alpha"}); err != nil {
				t.Error(err)
			}
			if _, ok, err := d.Checksum(owners[path]); !ok || err != nil {
				t.Error(ok, err)
			}
			if h, err := d.History(); len(h) == 0 || err != nil {
				t.Error(h, err)
			}
			if _, err := d.Changelog(owners[path].Package, "1"); err != nil {
				t.Error(err)
			}
			d.Packages()
			d.Problems()
		})
	}
	wg.Wait()
}
