package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

// rootWith makes a root of files by name.
func rootWith(t *testing.T, files map[string]string) *file.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

const machineID = "0123456789abcdef0123456789abcdef"

func TestMachineID(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		want    string
		wantErr error // ErrNoMachineID, or errAny
	}{
		{"usual", map[string]string{"etc/machine-id": machineID + "\n"}, machineID, nil},
		{"without newline", map[string]string{"etc/machine-id": machineID}, machineID, nil},
		{"D-Bus only", map[string]string{"var/lib/dbus/machine-id": machineID + "\n"}, machineID, nil},
		{"link inside the root", map[string]string{"var/lib/dbus/machine-id": machineID, "etc/machine-id": "-> /var/lib/dbus/machine-id"}, machineID, nil},
		{"none", nil, "", ErrNoMachineID},
		{"empty", map[string]string{"etc/machine-id": ""}, "", ErrNoMachineID},
		{"before the first boot", map[string]string{"etc/machine-id": "uninitialized\n"}, "", ErrNoMachineID},
		{"upper case", map[string]string{"etc/machine-id": strings.ToUpper(machineID)}, "", errAny},
		{"short", map[string]string{"etc/machine-id": "abc"}, "", errAny},
		{"long", map[string]string{"etc/machine-id": strings.Repeat("a", 5000)}, "", file.ErrTooLarge},
	}
	for _, tt := range tests {
		got, err := MachineID(rootWith(t, tt.files))
		failed := err != nil && (tt.wantErr == errAny || errors.Is(err, tt.wantErr))
		if got != tt.want || failed != (tt.wantErr != nil) || (err != nil) != (tt.wantErr != nil) {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
	}
}

var errAny = errors.New("any error")

func TestDescribe(t *testing.T) {
	h, err := Describe(rootWith(t, map[string]string{
		"etc/machine-id":     machineID,
		"usr/lib/os-release": "PRETTY_NAME=\"Test 1\"\n",
		"etc/os-release":     "-> ../usr/lib/os-release",
	}))
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := Host{Name: name, MachineID: machineID, Kernel: strings.TrimSpace(string(kernel)), OS: "Test 1"}
	if h != want {
		t.Errorf("got %+v, want %+v", h, want)
	}
}

func TestDescribeBrokenRoot(t *testing.T) {
	h, err := Describe(rootWith(t, map[string]string{
		"etc/machine-id":     "broken",
		"usr/lib/os-release": "rubbish\nPRETTY_NAME=Test\n",
	}))
	if h.OS != "Test" || h.Kernel == "" || h.Name == "" || h.MachineID != "" {
		t.Errorf("what could be read is lost: %+v", h)
	}
	if err == nil || !strings.Contains(err.Error(), "machine-id: offset 0") || !strings.Contains(err.Error(), "usr/lib/os-release: os-release: offset 0") {
		t.Errorf("got %v", err)
	}

	h, err = Describe(rootWith(t, nil))
	if h.OS != "" || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoMachineID) {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestReadUsers(t *testing.T) {
	users, err := ReadUsers(rootWith(t, map[string]string{"etc/passwd": "root:x:0:0::/:\nbroken\n"}))
	if users[0] != "root" || err == nil || !strings.Contains(err.Error(), "etc/passwd: passwd: offset 15") {
		t.Errorf("%v, %v", users, err)
	}
	if _, err := ReadUsers(rootWith(t, nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
