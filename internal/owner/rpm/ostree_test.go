package rpm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDeployments(t *testing.T) {
	a, b := strings.Repeat("a", 64)+".0", strings.Repeat("b", 64)+".0"
	tests := map[string]struct {
		cmdline string
		boot    map[string]string // links below /ostree/boot.N/fedora
		entries map[string]string // options of each entry
		staged  bool
		want    Deployment
		pending bool
		known   bool
	}{
		"nothing pending": {"quiet ostree=/ostree/boot.1/fedora/x/0", map[string]string{"boot.1": a},
			map[string]string{"ostree-1.conf": "version 1\noptions rw ostree=/ostree/boot.1/fedora/x/0"}, false, Deployment{a, a, false}, false, true},
		"pending": {"ostree=/ostree/boot.1/fedora/x/0", map[string]string{"boot.1": a, "boot.0": b},
			map[string]string{"ostree-1.conf": "version 1\noptions ostree=/ostree/boot.1/fedora/x/0", "ostree-2.conf": "version 2\noptions ostree=/ostree/boot.0/fedora/x/0"},
			false, Deployment{a, b, false}, true, true},
		"staged": {"ostree=/ostree/boot.1/fedora/x/0", map[string]string{"boot.1": a},
			map[string]string{"ostree-1.conf": "version 1\noptions ostree=/ostree/boot.1/fedora/x/0"}, true, Deployment{a, a, true}, true, true},
		"booted is gone": {"ostree=/ostree/boot.0/fedora/x/0", map[string]string{"boot.1": a},
			map[string]string{"ostree-1.conf": "version 1\noptions ostree=/ostree/boot.1/fedora/x/0"}, false, Deployment{"", a, false}, true, false},
		"another link": {"ostree=/etc/passwd", map[string]string{"boot.1": "../../../etc"},
			map[string]string{"x.conf": "version 1\noptions ostree=/ostree/boot.1/fedora/x/0"}, false, Deployment{}, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, ostreeBooted, nil)
			if tt.staged {
				write(t, dir, ostreeStaged, nil)
			}
			for n, to := range tt.boot {
				link := filepath.Join(dir, "ostree", n, "fedora/x")
				if err := os.MkdirAll(link, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("../../../deploy/fedora/deploy/"+to, filepath.Join(link, "0")); err != nil {
					t.Fatal(err)
				}
			}
			write(t, dir, bootEntries+"/readme", nil)
			for n, text := range tt.entries {
				write(t, dir, bootEntries+"/"+n, []byte("title x\n"+text+"\n"))
			}
			got, ok, err := Deployments(openRoot(t, dir), tt.cmdline)
			if got != tt.want || !ok || err != nil {
				t.Errorf("%+v, %v, %v; want %+v", got, ok, err, tt.want)
			}
			pending, known := got.Pending()
			if known != tt.known || known && pending != tt.pending {
				t.Errorf("pending %v, %v", pending, known)
			}
		})
	}
	if _, ok, err := Deployments(openRoot(t, t.TempDir()), "ostree=/ostree/boot.1/a/b/0"); ok || err != nil {
		t.Errorf("a machine without ostree: %v, %v", ok, err)
	}
}
