package cases

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// An application brought a library along under the soname of one that Debian
// ships (zlib1g, on every machine with dpkg), loaded it and removed it. Debian's
// is no newer version of it.
func TestBundledLibraryRemoved(t *testing.T) {
	const soname = "libz.so.1"
	for name, parent := range map[string]string{"temporary": "/tmp", "application": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			dir := b.path("app")
			if parent != "" {
				var err error
				dir, err = os.MkdirTemp(parent, "sensor-lab.")
				must(t, err)
				t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
			}
			lib := filepath.Join(dir, "lib", soname)
			must(t, os.MkdirAll(filepath.Dir(lib), 0o755))
			copyFile(t, library(t, soname, "bundled"), lib, os.O_CREATE|os.O_EXCL)
			b.start(lab.Command{Path: b.install(daemon(t, "1"), "bin/food"), Args: []string{"open", lib}})
			b.change(func() { must(t, os.RemoveAll(filepath.Dir(lib))) })
			b.silence()
		})
	}
}
