package kernels

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/patchsensor/patchsensor/test/lab"
)

// row is a kernel and how it is booted. Its name is that of its row in docs/kernels.md.
type row struct {
	name   string
	suite  string
	oldest bool   // of those that the archive has; else the newest
	append string // to the command line
	cpus   int
	only   string // the only one that is run, of suites; else all
}

// withBPF is the default of newer kernels, which older ones have to be told.
const withBPF = "lsm=landlock,lockdown,yama,apparmor,bpf"

// matrix are all kernels. Two processors show what one never does, and take longer. Of
// two rows of one series one runs all, the one that can do more or is newer. Those that
// take longest come first.
var matrix = []row{
	{name: "newest", suite: "sid", cpus: 2},
	{name: "6.12", suite: "trixie", cpus: 1},
	{name: "6.1", suite: "bookworm", cpus: 1},
	{name: "6.1 old", suite: "bookworm", oldest: true, cpus: 1, only: "inside"},
	{name: "5.10 with bpf", suite: "bullseye", append: withBPF, cpus: 1},
	{name: "5.10", suite: "bullseye", cpus: 1, only: "inside"},
}

// suites are what a guest runs, by the import paths of the packages and what their
// tests are started with. fuzz targets and benchmarks are run elsewhere.
var suites = []suite{
	{name: "probe", path: "../../internal/probe", args: "-test.run ^Test"},
	{name: "inside", path: ".", args: "-test.run ^TestInside", env: true},
}

type suite struct {
	name, path, args string
	env              bool
}

// atOnce is how many guests run at the same time: each keeps a processor busy.
const atOnce = 2

// TestMatrix boots every kernel, lets it run the suites, and holds what came of it
// against docs/kernels.md.
func TestMatrix(t *testing.T) {
	lab.Kernels(t)
	expectations := readExpectations(t)
	for _, r := range matrix {
		if _, ok := expectations[r.name]; !ok {
			t.Errorf("docs/kernels.md has no row %q", r.name)
		}
	}
	if len(expectations) > len(matrix) {
		t.Error("docs/kernels.md has more rows than there are kernels here")
	}
	luggage := pack(t)
	outcomes := make([]outcome, len(matrix))
	t.Cleanup(func() { print(outcomes) }) // after the parallel tests
	places := make(chan struct{}, atOnce)
	for i, r := range matrix {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			outcomes[i] = r.test(t, luggage, expectations[r.name])
		})
	}
}

// outcome is a row of the table that is printed.
type outcome struct {
	row     row
	kernel  lab.Kernel
	results results
	want    expectation
	took    time.Duration
}

// runs says whether the row's kernel runs a test, or a suite, by a name that begins with
// the suite's.
func (r row) runs(name string) bool {
	suite, _, _ := strings.Cut(name, "/")
	return r.only == "" || suite == r.only
}

// argument is what testdata/guest.sh finds in its environment, as the kernel puts there
// what it does not know.
func (r row) argument() string {
	if r.only == "" {
		return ""
	}
	return " only=" + r.only
}

func (r row) test(t *testing.T, luggage luggage, want expectation) outcome {
	s := lab.NewSuite(t, r.suite)
	k := s.NewestKernel(t)
	if r.oldest {
		k = s.OldestKernel(t)
	}
	if series, _, _ := strings.Cut(r.name, " "); series != k.Series && series != "newest" {
		t.Fatalf("%s has %v, not a kernel %s", r.suite, k, series)
	}
	initramfs := filepath.Join(t.TempDir(), "initramfs")
	k.Initramfs(t, initramfs, lab.Initramfs{
		Modules: []string{"virtio_pci", "virtio_blk", "ext4", "overlay", "btrfs"},
		Files:   luggage.files,
		Init:    luggage.init,
	})
	began := time.Now()
	vm := lab.Machine{
		Kernel: k, Initramfs: initramfs, Append: r.append + r.argument(), CPUs: r.cpus, Memory: 1024, Limit: 10 * time.Minute,
		Args: luggage.disks(t),
	}.Boot(t)
	vm.Wait(t)
	o := outcome{row: r, kernel: k, want: want, took: time.Since(began)}
	var err error
	if o.results, err = parse(strings.NewReader(vm.Told())); err != nil {
		t.Fatal(err)
	}
	faults := o.faults(luggage.tests)
	for _, fault := range faults {
		t.Errorf("%v: %s", k, fault)
	}
	if len(faults) > 0 {
		t.Logf("the console of %v said\n%s\nand the tests\n%s", k, vm.Console(), tail(vm.Told()))
	}
	return o
}

// tail is the end of a long text.
func tail(text string) string {
	const enough = 20000
	return text[max(0, len(text)-enough):]
}

// luggage is what every guest gets.
type luggage struct {
	files       map[string]string
	init        string
	ext4, btrfs string   // images of file systems
	tests       []string // SUITE/TEST that have to run, without subtests
}

func pack(t *testing.T) luggage {
	t.Helper()
	dir := t.TempDir()
	l := luggage{files: make(map[string]string), ext4: filepath.Join(dir, "ext4"), btrfs: filepath.Join(dir, "btrfs")}
	var list strings.Builder
	for _, s := range suites {
		program := filepath.Join(dir, s.name)
		cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", program, s.path)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", cmd.Args, err, msg)
		}
		l.files["/lab/"+s.name+"/test"] = program
		fmt.Fprintln(&list, s.name, s.args)
		cmd = exec.Command(program, "-test.list", strings.Fields(s.args)[1])
		if s.env {
			cmd.Env = append(os.Environ(), guestEnv+"=1", "SENSOR_BIN="+sensorAt.Path)
		}
		names, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", cmd.Args, err)
		}
		for _, name := range strings.Fields(string(names)) {
			l.tests = append(l.tests, s.name+"/"+name)
		}
	}
	l.files["/lab/suites"] = text(t, filepath.Join(dir, "suites"), list.String())
	l.files["/lab/sensor"] = sensorAt.Path
	shared := make(map[string]bool)
	workshop, err := lab.NewWorkshop()
	must(t, err)
	t.Cleanup(func() { must(t, workshop.Close()) })
	for inside, program := range map[string]string{
		"/lab/sleep": "/bin/sleep",
		oldProgram:   workshop.C(t, `-DVERSION="1"`, "../cases/testdata/daemon.c"),
		newProgram:   workshop.C(t, `-DVERSION="2"`, "../cases/testdata/daemon.c"),
	} {
		l.files[inside] = program
		for _, library := range libraries(t, program) {
			shared[library] = true
		}
	}
	for library := range shared {
		l.files[library] = library
	}
	script, err := os.ReadFile("testdata/guest.sh")
	must(t, err)
	l.init = string(script)
	image(t, l.ext4, 256, "mke2fs", "-q", "-t", "ext4", l.ext4)
	image(t, l.btrfs, 256, "mkfs.btrfs", "--quiet", l.btrfs)
	return l
}

func text(t *testing.T, name, content string) string {
	t.Helper()
	must(t, os.WriteFile(name, []byte(content), 0o644))
	return name
}

// image makes a file system in a file of the given size in MiB.
func image(t *testing.T, name string, size int64, argv ...string) {
	t.Helper()
	must(t, os.WriteFile(name, nil, 0o644))
	must(t, os.Truncate(name, size<<20))
	lab.Output(t, argv...)
}

// libraries are what a program of this machine's needs, the loader included.
func libraries(t *testing.T, program string) []string {
	t.Helper()
	return regexp.MustCompile(`/\S+\.so\S*`).FindAllString(lab.Output(t, "ldd", program), -1)
}

// disks are arguments of QEMU for disks that are as the images, and are not changed.
func (l luggage) disks(t *testing.T) []string {
	t.Helper()
	var args []string
	for i, file := range []string{l.ext4, l.btrfs} {
		args = append(args,
			"-drive", fmt.Sprintf("file=%s,format=raw,if=none,id=disk%d,cache=unsafe,snapshot=on", file, i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return args
}

// print writes the table of what came of it, to be seen with or without -v.
func print(rows []outcome) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "kernel\trelease\tpackage\tCPUs\t%s\ttaken\tconfined\ttests\ttime\n", strings.Join(columns, "\t"))
	for _, o := range rows {
		if o.kernel.Release == "" {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d", o.row.name, o.kernel.Release, o.kernel.PackageVersion, o.row.cpus)
		for _, column := range columns {
			fmt.Fprintf(w, "\t%s", o.cell(column))
		}
		fmt.Fprintf(w, "\t%s\t%s\t%s\t%.0f s\n", o.results.word("TAKEN"), o.results.word("CONFINED"), o.results.summary(), o.took.Seconds())
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
