package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/patchsensor/patchsensor/test/lab"
)

const (
	// flockSize is how many processes a container has, and flockLibs how many libraries
	// each of them loads beside the C library's own.
	flockSize = 10
	flockLibs = 20
)

// containers shows how the cost of a look grows with containers and with images, beside
// as many processes of the host.
func (b *bench) containers(most int) {
	b.section(func(dir string) (err error) {
		if _, err := exec.LookPath("dockerd"); err != nil {
			fmt.Fprintln(b.out, "\ndockerd is not installed and containers are left out (test/install-deps)")
			return nil
		}
		scratch, err := lab.NewScratch()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lab.RemoveScratch(scratch)) }()
		d, err := lab.NewDocker(scratch)
		if err != nil {
			return err
		}
		f := &flocks{bench: b, docker: d, dir: dir}
		defer func() { err = errors.Join(err, f.remove(), d.Close()) }()
		return f.table(most)
	})
}

// flocks are containers of a dockerd.
type flocks struct {
	*bench
	docker *lab.Docker
	dir    string
	built  int // images
	names  []string
}

func (f *flocks) table(most int) error {
	if err := f.base(); err != nil {
		return err
	}
	fmt.Fprintf(f.out, "\na look at containers of %d processes with %d libraries each; package databases are those that were parsed\n", flockSize, flockLibs)
	w := tabwriter.NewWriter(f.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "containers\timages\tprocesses\tsuperseded\tCPU ms\twall ms\tpeak MB\tµs a process\tdatabases\t")
	row := func(containers, images int, superseded string) error {
		argv := []string{f.sensor, "stale", "-o", "json", "--config", os.DevNull, "--source", "auto", "--runtime-socket", f.docker.Socket, "--log-level", "debug"}
		c, err := measure(argv, f.runs, f.limit)
		if err != nil {
			return err
		}
		seen, parsed, err := f.count(argv)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%.0f\t%.0f\t%.1f\t%.0f\t%d\t\n", containers, images, seen, superseded,
			1e3*c.cpu.Seconds(), 1e3*c.wall.Seconds(), float64(c.peak)/1e6, 1e6*c.cpu.Seconds()/float64(seen), parsed)
		return err
	}
	if err := row(0, 0, "none"); err != nil {
		return err
	}
	for _, n := range []struct{ containers, images int }{{most / 4, 5}, {most / 2, 5}, {most, 5}, {most, 20}} {
		// Those of before stay, so that fewer have to be started.
		if n.images > 5 {
			if err := f.remove(); err != nil {
				return err
			}
		}
		if err := f.grow(n.containers, n.images); err != nil {
			return err
		}
		if err := row(n.containers, n.images, "none"); err != nil {
			return err
		}
	}
	if err := f.supersede(20); err != nil {
		return err
	}
	if err := row(most, 20, "all"); err != nil {
		return err
	}
	return w.Flush()
}

// base makes an image with a program, its libraries and this machine's packages.
func (f *flocks) base() error {
	root := filepath.Join(f.dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/flock"), 0o755); err != nil {
		return err
	}
	out, err := exec.Command("ldd", f.forge.flock).Output()
	if err != nil {
		return fmt.Errorf("ldd: %w", err)
	}
	copies := [][2]string{{f.forge.flock, "flock"}, {"/var/lib/dpkg", "var/lib/dpkg"}}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			copies = append(copies, [2]string{word, word})
		}
	}
	for i := range flockLibs {
		copies = append(copies, [2]string{f.forge.oldLib, fmt.Sprintf("usr/lib/flock/lib%d.so", i)})
	}
	for _, c := range copies {
		to := filepath.Join(root, c[1])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("cp", "-rL", c[0], to).CombinedOutput(); err != nil {
			return fmt.Errorf("cp %q: %w\n%s", c, err, out)
		}
	}
	tarball := filepath.Join(f.dir, "root.tar")
	if out, err := exec.Command("tar", "-C", root, "-cf", tarball, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w\n%s", err, out)
	}
	_, err = f.docker.Try("import", tarball, "flock-base")
	return err
}

// image builds one on the base.
func (f *flocks) image(i int) error {
	f.built++
	dir := filepath.Join(f.dir, fmt.Sprint("image", f.built))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"build":      strconv.Itoa(f.built) + "\n",
		"Dockerfile": "FROM flock-base\nCOPY build /build\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := f.docker.Try("build", "--quiet", "--network", "none", "--tag", fmt.Sprint("flock:", i), dir)
	return err
}

// grow starts containers until there are so many, of so many images.
func (f *flocks) grow(containers, images int) error {
	for i := f.built; i < images; i++ {
		if err := f.image(i); err != nil {
			return err
		}
	}
	argv := []string{"/flock", strconv.Itoa(flockSize)}
	for i := range flockLibs {
		argv = append(argv, fmt.Sprintf("/usr/lib/flock/lib%d.so", i))
	}
	var start sync.WaitGroup
	turns := make(chan struct{}, 4)
	errs := make([]error, containers)
	for i := len(f.names); i < containers; i++ {
		f.names = append(f.names, fmt.Sprint("flock", i))
		start.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			_, errs[i] = f.docker.Try(append([]string{"run", "--detach", "--network", "none", "--name", f.names[i], fmt.Sprint("flock:", i%images)}, argv...)...)
		})
	}
	start.Wait()
	time.Sleep(time.Second) // until all have loaded
	return errors.Join(errs...)
}

// supersede builds all images anew.
func (f *flocks) supersede(images int) error {
	for i := range images {
		if err := f.image(i); err != nil {
			return err
		}
	}
	return nil
}

func (f *flocks) remove() error {
	var errs []error
	for len(f.names) > 0 {
		n := min(len(f.names), 20)
		_, err := f.docker.Try(append([]string{"rm", "--force"}, f.names[:n]...)...)
		errs = append(errs, err)
		f.names = f.names[n:]
	}
	return errors.Join(errs...)
}

// count is how many processes were looked at, and how many package databases parsed.
func (f *flocks) count(argv []string) (processes, parsed int, err error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	_ = cmd.Run() // it fails where anything is stale
	for line := range bytes.Lines(said.Bytes()) {
		var entry struct {
			Processes int  `json:"processes"`
			Parsed    *int `json:"databases_parsed"`
		}
		at := max(0, bytes.IndexByte(line, '{'))
		if json.Unmarshal(line[at:], &entry) == nil && entry.Parsed != nil {
			return entry.Processes, *entry.Parsed, nil
		}
	}
	return 0, 0, fmt.Errorf("%q: no word of what was parsed in %.300q", argv, said.Bytes())
}
