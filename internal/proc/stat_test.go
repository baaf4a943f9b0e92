package proc

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseStat(t *testing.T) {
	tests := []struct {
		name                     string
		want                     Stat
		kernel, forkNoExec, dead bool
	}{
		{"sleep", Stat{PID: 26577, Comm: "sleep", State: 'S', PPID: 26536, Start: 426265 * Tick, flags: 4194304}, false, false, false},
		{"zombie", Stat{PID: 26577, Comm: "sleep", State: 'Z', PPID: 26536, Start: 426265 * Tick, flags: 4228108}, false, false, true},
		{"odd", Stat{PID: 26578, Comm: "a) R 1\n(b) c", State: 'S', PPID: 26536, Start: 426305 * Tick, flags: 4194304}, false, false, false},
		{"kthread", Stat{PID: 2, Comm: "kthreadd", State: 'S', Start: 80 * time.Millisecond, flags: 2129984}, true, true, false},
		{"leader", Stat{PID: 26581, Comm: "perl", State: 'Z', PPID: 26580, Start: 426346 * Tick, flags: 4227340}, false, false, true},
		// Threads are cloned, so the flag of a thread says nothing.
		{"thread", Stat{PID: 26582, Comm: "perl", State: 'S', PPID: 26580, Start: 426347 * Tick, flags: 4194624}, false, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseStat(bytes.NewReader(fixture(t, "stat/"+test.name)))
			if err != nil || got != test.want {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
			if got.Kernel() != test.kernel || got.ForkNoExec() != test.forkNoExec || got.Dead() != test.dead {
				t.Errorf("kernel %t, fork %t, dead %t", got.Kernel(), got.ForkNoExec(), got.Dead())
			}
		})
	}
}

// statLine is a line up to the start time, with one field (4, 9 or 22) replaced.
func statLine(comm string, field int, value string) string {
	words := []string{"S", "1", "1", "1", "0", "-1", "0", "0", "0", "0", "0", "0", "0", "0", "0", "20", "0", "1", "0", "425065"}
	words[field-3] = value
	return "7 (" + comm + ") " + strings.Join(words, " ")
}

func TestParseStatText(t *testing.T) {
	tests := []struct {
		name, text string
		want       Stat
		err        string // part of the message
	}{
		{"empty name", statLine("", 4, "1"), Stat{PID: 7, State: 'S', PPID: 1, Start: 425065 * Tick}, ""},
		{"parentheses only", statLine("))((", 4, "1"), Stat{PID: 7, Comm: "))((", State: 'S', PPID: 1, Start: 425065 * Tick}, ""},
		{"looks like more fields", statLine("x) Z 9 9 9", 4, "1"), Stat{PID: 7, Comm: "x) Z 9 9 9", State: 'S', PPID: 1, Start: 425065 * Tick}, ""},
		{"not UTF-8", statLine("\xff\x1b[m", 4, "1"), Stat{PID: 7, Comm: "\xff\x1b[m", State: 'S', PPID: 1, Start: 425065 * Tick}, ""},
		{"start 0", statLine("x", 22, "0\n"), Stat{PID: 7, Comm: "x", State: 'S', PPID: 1}, ""},
		{"latest start", statLine("x", 22, "922337203685"), Stat{PID: 7, Comm: "x", State: 'S', PPID: 1, Start: 922337203685 * Tick}, ""},
		{"state x", statLine("x", 3, "x"), Stat{PID: 7, Comm: "x", State: 'x', PPID: 1, Start: 425065 * Tick}, ""},
		{"nothing", "", Stat{}, "malformed"},
		{"no name", "7 S 1", Stat{}, "malformed"},
		{"name has no end", "7 (sleep S 1", Stat{}, "malformed"},
		{"name has no beginning", "7 sleep) S 1", Stat{}, "malformed"},
		{"ends before it begins", "7 )(", Stat{}, "malformed"},
		{"nothing after the name", "7 (sleep)", Stat{}, "malformed"},
		{"no number", "(sleep) S", Stat{}, "malformed"},
		{"number is not one", "x (sleep) S 1", Stat{}, "pid"},
		{"cut short", "7 (sleep) S 1 1", Stat{}, "field 6 is missing"},
		{"start is missing", strings.TrimSuffix(statLine("x", 22, ""), " "), Stat{}, "field 22 is missing"},
		{"parent is not a number", statLine("x", 4, "y"), Stat{}, "field 4"},
		{"flags are not a number", statLine("x", 9, "-1"), Stat{}, "field 9"},
		{"start is negative", statLine("x", 22, "-1"), Stat{}, "field 22"},
		{"start is too late", statLine("x", 22, "922337203686"+"000000"), Stat{}, "field 22"},
		{"start is beyond 64 bits", statLine("x", 22, "99999999999999999999"), Stat{}, "field 22"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseStat(strings.NewReader(test.text))
			switch {
			case test.err == "" && (err != nil || got != test.want):
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			case test.err != "" && (!errors.Is(err, errStat) || !strings.Contains(err.Error(), test.err) || got != Stat{}):
				t.Errorf("%+v, %v; want %q", got, err, test.err)
			}
		})
	}
	if _, err := ParseStat(iotest.ErrReader(os.ErrPermission)); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

func TestParseStatus(t *testing.T) {
	tests := []struct {
		name string
		want Status
	}{
		{"sleep", Status{TGID: 26577, NSPIDs: []int{26577}}},
		{"zombie", Status{TGID: 26577, NSPIDs: []int{26577}}},
		{"odd", Status{TGID: 26578, NSPIDs: []int{26578}}},
		{"leader", Status{TGID: 26581, UID: 65534, NSPIDs: []int{26581, 1}}},
		{"thread", Status{TGID: 26581, UID: 65534, NSPIDs: []int{26581, 1}}},
		{"groups", Status{TGID: 26579, NSPIDs: []int{26579}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseStatus(bytes.NewReader(fixture(t, "status/"+test.name)))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestParseStatusText(t *testing.T) {
	many := "Groups:\t" + strings.Repeat("4294967294 ", 1<<16) + "\n" // NGROUPS_MAX of them
	tests := []struct {
		name, text string
		want       Status
		err        string
	}{
		{"nothing", "", Status{}, ""},
		{"a name like a field", "Name:\tUid:\t1 2\nTgid:\t5\n", Status{TGID: 5}, ""},
		{"lines without a key", "\n\nTgid\nTgid:\n", Status{}, ""},
		{"largest user", "Uid:\t0\t4294967295\t0\t0\n", Status{UID: 4294967295}, ""},
		{"all groups", many + "NStgid:\t5\t1\n", Status{NSPIDs: []int{5, 1}}, ""},
		{"too large", strings.Repeat("x", maxStatus) + "\n", Status{}, "more than 1048576 bytes"},
		{"Tgid", "Tgid:\tx\n", Status{}, "Tgid"},
		{"Uid is cut short", "Uid:\t0\n", Status{}, "Uid: too few"},
		{"Uid", "Uid:\t0\t-1\n", Status{}, "Uid"},
		{"Uid is too large", "Uid:\t0\t4294967296\n", Status{}, "Uid"},
		{"NStgid", "NStgid:\t1\tx\n", Status{}, "NStgid"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseStatus(strings.NewReader(test.text))
			switch {
			case test.err == "" && (err != nil || !reflect.DeepEqual(got, test.want)):
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%+v, %v; want %q", got, err, test.err)
			}
		})
	}
	if _, err := ParseStatus(iotest.ErrReader(os.ErrPermission)); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

func FuzzParseStat(f *testing.F) {
	for _, name := range []string{"sleep", "zombie", "odd", "kthread", "leader", "thread"} {
		f.Add(fixture(f, "stat/"+name))
	}
	f.Add([]byte("7 )("))
	f.Add([]byte("0 () \nx 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStat(bytes.NewReader(b))
		if err != nil {
			if s != (Stat{}) || !errors.Is(err, errStat) {
				t.Fatalf("%+v, %v", s, err)
			}
			return
		}
		if s.Start < 0 || s.Start%Tick != 0 {
			t.Fatalf("start %d", s.Start)
		}
		// What was read, written again, reads the same, with any name.
		comm := s.Comm + ") (" + s.Comm
		line := strconv.Itoa(s.PID) + " (" + comm + ") " + string(s.State) + " " + strconv.Itoa(s.PPID) + " 0 0 " +
			strconv.Itoa(int(int32(s.TTY))) + " 0 " +
			strconv.FormatUint(s.flags, 10) + strings.Repeat(" 0", 12) + " " + strconv.FormatInt(int64(s.Start/Tick), 10) + "\n"
		if len(line) > 4096 || s.State >= 0x80 {
			return
		}
		want := s
		want.Comm = comm
		if again, err := ParseStat(strings.NewReader(line)); err != nil || again != want {
			t.Fatalf("%q: %+v, %v; want %+v", line, again, err, want)
		}
		if !bytes.Contains(b, []byte("("+s.Comm+")")) {
			t.Fatalf("name %q is not in the input", s.Comm)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	for _, name := range []string{"sleep", "zombie", "leader", "thread", "groups"} {
		f.Add(fixture(f, "status/"+name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatus(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(s.NSPIDs) > len(b) {
			t.Fatalf("%d numbers in %d bytes", len(s.NSPIDs), len(b))
		}
		// Lines that are not known change nothing.
		padded := append([]byte("Other:\t1 2\n"), b...)
		if len(padded) > maxStatus {
			return
		}
		if again, err := ParseStatus(bytes.NewReader(padded)); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v, %v; want %+v", again, err, s)
		}
	})
}
