package privilege

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestChoose(t *testing.T) {
	all := ^Set(0)
	knowsUpTo := func(last Cap) func(Cap) bool { return func(c Cap) bool { return c <= last } }
	for _, tt := range []struct {
		name      string
		keep      []Cap
		permitted Set
		last      Cap
		want      Set
	}{
		{"everything is held", Tracking(), all, CheckpointRestore, SetOf(Tracking()...)},
		{"only some is held", Tracking(), SetOf(BPF, SetPCap), CheckpointRestore, SetOf(BPF)},
		{"nothing is held", Tracking(), 0, CheckpointRestore, 0},
		{"nothing is wanted", nil, all, CheckpointRestore, 0},
		{"Linux 5.8 has no CAP_CHECKPOINT_RESTORE", Tracking(), SetOf(DACReadSearch, SysPtrace, Perfmon, BPF, SysAdmin), BPF,
			SetOf(DACReadSearch, SysPtrace, Perfmon, BPF, SysAdmin)},
		{"Linux 5.7 has none of the three", Tracking(), SetOf(DACReadSearch, SysPtrace, SysAdmin, SetPCap), 37,
			SetOf(DACReadSearch, SysPtrace, SysAdmin)},
		{"the fallback is not held either", Tracking(), SetOf(DACReadSearch), 37, SetOf(DACReadSearch)},
		{"no need of the fallback", []Cap{SysPtrace}, all, 37, SetOf(SysPtrace)},
		{"a newer one was never in CAP_SYS_ADMIN", []Cap{41}, SetOf(SysAdmin), CheckpointRestore, 0},
		{"beyond the kernel's sets", []Cap{200}, all, CheckpointRestore, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := choose(tt.keep, tt.permitted, knowsUpTo(tt.last)); got != tt.want {
				t.Errorf("choose = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSetString(t *testing.T) {
	for _, tt := range []struct {
		set  Set
		want string
	}{
		{0, ""},
		{SetOf(BPF), "CAP_BPF"},
		{SetOf(Tracking()...), "CAP_DAC_READ_SEARCH CAP_SYS_PTRACE CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"},
		{SetOf(0, 63), "CAP_CHOWN CAP_63"},
	} {
		if got := tt.set.String(); got != tt.want {
			t.Errorf("%#x is %q, want %q", uint64(tt.set), got, tt.want)
		}
	}
}

// TestNames holds the names against the kernel's own header, where the machine
// has it.
func TestNames(t *testing.T) {
	text, err := os.ReadFile("/usr/include/linux/capability.h")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: the kernel's headers are not installed (linux-libc-dev): ", err)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "#define" || !strings.HasPrefix(f[1], "CAP_") {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 10, 8); err == nil {
			found++
			if got := Cap(n).String(); int(n) < len(names) && got != f[1] {
				t.Errorf("capability %d is %s, want %s", n, got, f[1])
			}
		}
	}
	if found < len(names) {
		t.Errorf("the header names %d capabilities, fewer than the %d here", found, len(names))
	}
}

func TestHeld(t *testing.T) {
	held, err := Held()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			if want := hex(t, strings.TrimSpace(value)); held != want {
				t.Errorf("Held = %q, want %q", held, want)
			}
			return
		}
	}
	t.Error("no CapEff in the status")
}

func hex(t *testing.T, text string) Set {
	t.Helper()
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return Set(n)
}

// answer is what testdata/dropper says.
type answer struct {
	Error      string
	Kept, Held Set
	Threads    []map[string]string
	Executed   map[string]string
	ExecErr    string
	Raised     string
}

// build builds testdata/dropper, with or without cgo.
func build(t *testing.T, cgo string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dropper")
	cmd := exec.Command("go", "build", "-o", out, "./testdata/dropper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the dropper: %v\n%s", err, said)
	}
	return out
}

func drop(t *testing.T, program string, args ...string) answer {
	t.Helper()
	cmd := exec.Command(program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stderr.String())
	}
	var a answer
	if err := json.Unmarshal(stdout.Bytes(), &a); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stdout.String())
	}
	return a
}

// list is how the dropper takes capabilities.
func list(caps ...Cap) string {
	var words []string
	for _, c := range caps {
		words = append(words, strconv.Itoa(int(c)))
	}
	return strings.Join(words, ",")
}

// sets are the fields of /proc/PID/status that hold each of a thread's sets.
func sets(permitted, bounding Set) map[string]string {
	show := func(s Set) string { return fmt.Sprintf("%016x", uint64(s)) }
	return map[string]string{
		"CapInh": show(0), "CapPrm": show(permitted), "CapEff": show(permitted), "CapBnd": show(bounding), "CapAmb": show(0),
		"NoNewPrivs": "1",
	}
}

// TestDrop drops the capabilities of real processes and looks at each of their
// threads, and at what they execute, as the kernel shows them.
func TestDrop(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root has capabilities to drop")
	}
	held, err := Held()
	if err != nil {
		t.Fatal(err)
	}
	program := build(t, "0")
	granting := withFileCaps(t, program)
	tracking := SetOf(Tracking()...) & held
	for _, tt := range []struct {
		name     string
		args     []string
		kept     Set
		bounding Set
	}{
		{"to those of tracking", []string{list(Tracking()...)}, tracking, tracking},
		{"to none", []string{""}, 0, 0},
		{"inheritable and ambient ones too", []string{"-ambient", list(BPF, SysAdmin), list(BPF)}, SetOf(BPF), SetOf(BPF)},
		{"to what is left", []string{"-first", list(BPF, SysPtrace), list(Perfmon, BPF)}, SetOf(BPF), SetOf(BPF, SysPtrace)},
		{"to itself again", []string{"-first", list(BPF), list(BPF)}, SetOf(BPF), SetOf(BPF)},
		{"of nothing", []string{"-first", "", list(Tracking()...)}, 0, 0},
	} {
		for _, file := range []string{program, granting} {
			t.Run(tt.name+"/then "+filepath.Base(file), func(t *testing.T) {
				a := drop(t, program, append([]string{"-exec", file}, tt.args...)...)
				if a.Error != "" {
					t.Fatal(a.Error)
				}
				if a.Kept != tt.kept || a.Held != tt.kept {
					t.Errorf("kept %q and held %q, want %q", a.Kept, a.Held, tt.kept)
				}
				if len(a.Threads) < 12 {
					t.Errorf("only %d threads to look at", len(a.Threads))
				}
				want := fmt.Sprint(sets(tt.kept, tt.bounding))
				for i, thread := range a.Threads {
					if got := fmt.Sprint(thread); got != want {
						t.Errorf("thread %d has %s, want %s", i, got, want)
					}
				}
				if !strings.Contains(a.Raised, unix.EPERM.Error()) {
					t.Errorf("taking one back: %s, want %v", a.Raised, unix.EPERM)
				}
				checkExecuted(t, a, tt.kept)
			})
		}
	}
}

// checkExecuted holds that a file executed by the process got no more than that
// had: the kernel may refuse to execute one that asks for more.
func checkExecuted(t *testing.T, a answer, kept Set) {
	t.Helper()
	if a.ExecErr != "" {
		if !strings.Contains(a.ExecErr, unix.EPERM.Error()) {
			t.Errorf("executing: %s", a.ExecErr)
		}
		return
	}
	for _, set := range []string{"CapPrm", "CapEff", "CapAmb", "CapInh"} {
		if got := hex(t, a.Executed[set]); got&^kept != 0 {
			t.Errorf("an executed file has %s %q, which is more than %q", set, got, kept)
		}
	}
}

// withFileCaps copies a program and gives the copy all capabilities, in the
// format of struct vfs_cap_data, revision 2 (include/uapi/linux/capability.h).
func withFileCaps(t *testing.T, program string) string {
	t.Helper()
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "a file with capabilities")
	if err := os.WriteFile(name, content, 0o755); err != nil {
		t.Fatal(err)
	}
	const (
		revision2 = 0x02000000
		effective = 1
	)
	var data bytes.Buffer
	for _, word := range []uint32{revision2 | effective, ^uint32(0), 0, 1<<(CheckpointRestore-32+1) - 1, 0} {
		if err := binary.Write(&data, binary.LittleEndian, word); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(name, "security.capability", data.Bytes(), 0); err != nil {
		t.Fatalf("set file capabilities: %v", err)
	}
	return name
}

// TestDropWithCgo holds that a binary with cgo is told so, and keeps what it had:
// its threads must not differ.
func TestDropWithCgo(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: a binary with cgo takes gcc (test/install-deps)")
	}
	program := build(t, "1")
	held, err := Held()
	if err != nil {
		t.Fatal(err)
	}
	a := drop(t, program, list(Tracking()...))
	if !strings.Contains(a.Error, ErrCgo.Error()) {
		t.Errorf("Drop says %q, want %q", a.Error, ErrCgo)
	}
	for i, thread := range a.Threads {
		if got := hex(t, thread["CapEff"]); got != held || thread["NoNewPrivs"] != "0" {
			t.Errorf("thread %d has %q and no_new_privs %s, want %q and 0", i, got, thread["NoNewPrivs"], held)
		}
	}
}
