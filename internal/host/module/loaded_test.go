package module

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const procModules = `nft_chain_nat 16384 2 - Live 0xffffffffc0b3e000
nf_nat 57344 1 nft_chain_nat,xt_nat, Live 0xffffffffc0b2a000
zfs 3735552 6 [permanent], Live 0x0000000000000000 (POE)
loading 4096 0 - Loading 0x0000000000000000 (O+)
going 4096 -1 holder,[permanent], Unloading 0x0000000000000000 (-)
fixed 4096 - - Live 0x0000000000000000
`

func TestParseModules(t *testing.T) {
	got, err := ParseModules(strings.NewReader(procModules))
	want := []Loaded{
		{Name: "nft_chain_nat", Size: 16384, Refcount: 2, State: "live"},
		{Name: "nf_nat", Size: 57344, Refcount: 1, Holders: []string{"nft_chain_nat", "xt_nat"}, State: "live"},
		{Name: "zfs", Size: 3735552, Refcount: 6, State: "live", Taint: "POE", Permanent: true},
		{Name: "loading", Size: 4096, State: "coming", Taint: "O"},
		{Name: "going", Size: 4096, Refcount: -1, Holders: []string{"holder"}, State: "going", Permanent: true},
		{Name: "fixed", Size: 4096, Refcount: -1, State: "live"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseModulesDamage(t *testing.T) {
	for in, want := range map[string]string{
		"a 1 0 - Live 0x0\nb 1\n":                         "offset 17: 2 words",
		"../x 1 0 - Live 0x0\n":                           "no name of a module",
		"a 99999999999999999999 0 - Live":                 "size",
		"a 1 -7 - Live 0x0":                               "count of users",
		"a 1 9999999999999 - Live 0x0":                    "count of users",
		"a 1 0 ../../etc, Live 0x0":                       "no list of holders",
		"a 1 0 - Dead 0x0":                                "state",
		"a 1 0 - Live 0x0\n" + strings.Repeat("b", 2<<20): "offset 17: bufio.Scanner: token too long",
		strings.Repeat("a 1 0 - Live 0x0\n", 20000):       "more than 16384 modules",
	} {
		list, err := ParseModules(strings.NewReader(in))
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.40q: %d modules, %v", in, len(list), err)
		}
	}
}

func TestReadLoaded(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "proc/modules", []byte("snd_dummy 20480 1 - Live 0x0 (OE)\nzfs 4096 - [permanent], Live 0x0\nraced 1 0 - Live 0x0\n"))
	m := "sys/module/snd_dummy/"
	write(t, dir, m+"srcversion", []byte("1A8305910641CAB8B515711\n"))
	write(t, dir, m+"version", []byte("1.2-k\n"))
	write(t, dir, m+"taint", []byte("OE\n"))
	write(t, dir, m+"initstate", []byte("live\n"))
	write(t, dir, m+"refcnt", []byte("3\n"))
	write(t, dir, m+"holders/zfs/x", nil)
	write(t, dir, m+"holders/abc/x", nil)
	write(t, dir, m+"notes/.note.gnu.build-id", noteOf(t, "418548cc9326b5e62ed5bb1366c0a21b73059036"))
	write(t, dir, "sys/module/zfs/initstate", []byte("live\n"))
	write(t, dir, "sys/module/zfs/taint", []byte("\n"))
	write(t, dir, "sys/module/ext4/parameters/x", nil) // built in
	got, err := ReadLoaded(openRoot(t, dir+"/proc"), openRoot(t, dir+"/sys"))
	want := []Loaded{
		{Name: "raced", Size: 1, State: "live"},
		{Name: "snd_dummy", Size: 20480, Refcount: 3, Holders: []string{"abc", "zfs"}, State: "live", Taint: "OE",
			Srcversion: "1A8305910641CAB8B515711", Version: "1.2-k", BuildID: "418548cc9326b5e62ed5bb1366c0a21b73059036"},
		{Name: "zfs", Size: 4096, Refcount: -1, State: "live", Permanent: true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}

	// Without /proc/modules, sysfs tells which are loaded.
	if err := os.Remove(dir + "/proc/modules"); err != nil {
		t.Fatal(err)
	}
	got, err = ReadLoaded(openRoot(t, dir+"/proc"), openRoot(t, dir+"/sys"))
	if err != nil || len(got) != 2 || got[0].Name != "snd_dummy" || got[0].BuildID == "" || got[1].Name != "zfs" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestReadLoadedDamage: each absurd value is told with its file, the rest is read.
func TestReadLoadedDamage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "proc/modules", []byte("a 1 0 - Live 0x0\n"))
	write(t, dir, "sys/module/a/refcnt", []byte("-99999999999999999999\n"))
	write(t, dir, "sys/module/a/initstate", []byte("\x1b[2J\n"))
	write(t, dir, "sys/module/a/version", make([]byte, 5000))
	write(t, dir, "sys/module/a/srcversion", []byte("X\n"))
	write(t, dir, "sys/module/a/notes/.note.gnu.build-id", []byte(strings.Repeat("\xff", 40)))
	got, err := ReadLoaded(openRoot(t, dir+"/proc"), openRoot(t, dir+"/sys"))
	if len(got) != 1 || got[0].Srcversion != "X" || got[0].BuildID != "" || got[0].Refcount != -1 || err == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, want := range []string{"module/a/refcnt: offset 0", "module/a/initstate: offset 0", "module/a/version: ", "module/a/notes/.note.gnu.build-id: offset 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\x1b") || strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}

// TestMachine reads this machine's own.
func TestMachine(t *testing.T) {
	got, err := ReadLoaded(openRoot(t, "/proc"), openRoot(t, "/sys"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/modules")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n != len(got) {
		t.Errorf("%d modules of %d", len(got), n)
	}
	root := openRoot(t, "/")
	tree, err := OpenTree(root, strings.TrimSpace(string(run(t, "uname", "-r"))))
	if err != nil {
		t.Fatal(err)
	}
	results, err := Compare(t.Context(), got, tree, new(Cache))
	if err != nil || len(results) != len(got) {
		t.Error(err)
	}
	for _, r := range results {
		t.Logf("%s %v: %s %v", r.Loaded.Name, r.Outcome, r.Reason, r.Err)
	}
}
