package layer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Without CAP_SYS_ADMIN a stack that need not be certain answers as if no directory hid
// what is below; with it, it is as certain as any.
func TestOpenUnmarked(t *testing.T) {
	top, bottom := shortTemp(t), shortTemp(t)
	for _, name := range []string{top + "/var/lib/db/status", bottom + "/var/lib/db/status", bottom + "/usr/share/doc/a/changelog"} {
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(name), 0o644))
	}
	must(t, os.MkdirAll(top+"/usr/share/doc", 0o755))
	sure, err := Open(hostRoot(t), "", []string{top, bottom})
	must(t, err)
	defer sure.Close()
	likely, err := OpenUnmarked(hostRoot(t), "", []string{top, bottom})
	must(t, err)
	defer likely.Close()
	want := map[string]string{"/var/lib/db/status": top, "/usr/share/doc/a/changelog": bottom}
	read := func(s *Stack) {
		for name, dir := range want {
			if b, err := s.ReadFile(name, 1<<10); err != nil || string(b) != dir+name {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
	}
	read(sure)
	read(likely)
	withoutSysAdmin(t, func() {
		read(likely)
		if _, err := sure.ReadFile("/usr/share/doc/a/changelog", 1<<10); !errors.Is(err, ErrNotKnown) {
			t.Errorf("a stack that is to be certain says %v", err)
		}
	})
}
