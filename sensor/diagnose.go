package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// Diagnose tries everything that an answer rests on and says what is missing.
func (s *Sensor) Diagnose(ctx context.Context) (*Diagnosis, error) {
	root, err := file.OpenRoot(s.opts.Root)
	if err != nil {
		return nil, err
	}
	sc := &scan{Sensor: s, root: root}
	defer root.Close()
	d := &Diagnosis{
		Schema: DiagnosisSchema, Version: s.opts.Version, Host: sc.describe(), CheckedAt: time.Now().UTC(),
		Kernel: text(host.KernelRelease()), Checks: []Check{}, Sources: []Check{},
	}
	_, btfErr := os.Stat("/sys/kernel/btf/vmlinux")
	d.BTF = btfErr == nil
	d.Checks = append(d.Checks, btf(btfErr), capabilities())
	fs, err := proc.NewFS(s.opts.Proc)
	if err != nil {
		d.Checks = append(d.Checks, Check{Name: "procfs", Level: LevelFail, Found: text(err.Error()), Remedy: "mount a procfs, or name it with --proc"})
		return d, nil
	}
	d.Checks = append(d.Checks, procfs(fs), processMemory(fs), mapFiles(fs), packageDatabase(root), history(root), changelogs(root))
	d.Checks = append(d.Checks, s.runtimes(ctx)...)
	for _, src := range sources() {
		began := time.Now()
		list, err := src.take(ctx, fs)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c := Check{Name: src.name, OK: err == nil, Level: LevelOK}
		if err != nil {
			c.Level, c.Found, c.Remedy = LevelWarn, text(err.Error()), sourceRemedy(src.name)
		} else {
			loads := 0
			for i := range list {
				loads += len(list[i].Mappings)
			}
			c.Found = fmt.Sprintf("%d processes, %d loads in %.1f ms", len(list), loads, float64(time.Since(began).Microseconds())/1000)
			if d.Source == "" {
				d.Source = src.name
			}
		}
		d.Sources = append(d.Sources, c)
	}
	return d, nil
}

// runtimes asks each container runtime that is there for its containers.
func (s *Sensor) runtimes(ctx context.Context) []Check {
	inv, err := s.openInventory()
	if err != nil {
		return []Check{{"container runtimes", false, LevelWarn, text(err.Error()), "name sockets as \"docker:PATH\", \"containerd:PATH\" or \"cri:PATH\""}}
	}
	defer inv.Close()
	inv.Refresh(ctx)
	var list []Check
	for _, a := range inv.Answers() {
		switch {
		case a.Err != nil:
			list = append(list, Check{"container runtime", false, LevelWarn, text(a.Socket + ": " + a.Err.Error()), runtimeHelp(a.Err)})
		case a.Runtime != "":
			found := fmt.Sprintf("%s at %s: %d containers, %d of them running", a.Runtime, a.Socket, a.Containers, a.Running)
			list = append(list, Check{"container runtime", true, LevelOK, text(found), ""})
		}
	}
	if len(list) == 0 {
		list = []Check{{"container runtime", true, LevelOK, "none is at the usual sockets", ""}}
	}
	return list
}

func sourceRemedy(name string) string {
	switch name {
	case SourceBPF:
		return "Linux 5.12 with BTF, and CAP_BPF with CAP_PERFMON (or root); the next source gives the same answer at a higher cost"
	case SourceProcmap:
		return "Linux 6.11; the next source gives the same answer at a higher cost"
	}
	return "mount a procfs at --proc"
}

func btf(err error) Check {
	if err != nil {
		return Check{"BTF", false, LevelWarn, text(err.Error()), "a kernel built with CONFIG_DEBUG_INFO_BTF, for the bpf source"}
	}
	return Check{"BTF", true, LevelOK, "/sys/kernel/btf/vmlinux", ""}
}

// capabilities of capabilities(7) that a full answer needs.
func capabilities() Check {
	c := Check{Name: "privileges", Level: LevelOK, OK: true}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return Check{"privileges", false, LevelFail, err.Error(), "run as root"}
	}
	var missing []string
	for _, want := range []struct {
		name string
		bit  uint
	}{{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE}, {"CAP_DAC_READ_SEARCH", unix.CAP_DAC_READ_SEARCH},
		{"CAP_CHECKPOINT_RESTORE", unix.CAP_CHECKPOINT_RESTORE}, {"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}} {
		have := data[want.bit/32].Effective&(1<<(want.bit%32)) != 0
		// CAP_SYS_ADMIN includes the three younger ones.
		admin := data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0 && want.bit >= unix.CAP_PERFMON
		if !have && !admin {
			missing = append(missing, want.name)
		}
	}
	if len(missing) > 0 {
		c.OK, c.Level = false, LevelFail
		c.Found = fmt.Sprintf("missing %v", missing)
		c.Remedy = "run as root or grant these capabilities; what cannot be read is reported as unknown"
		return c
	}
	c.Found = fmt.Sprintf("all that is needed (uid %d)", os.Geteuid())
	return c
}

// procfs reports how many processes refuse to be read.
func procfs(fs proc.FS) Check {
	c := Check{Name: "procfs", OK: true, Level: LevelOK}
	pids, err := fs.PIDs()
	if err != nil {
		return Check{"procfs", false, LevelFail, text(err.Error()), "mount a procfs, or name it with --proc"}
	}
	refused := 0
	for _, pid := range pids {
		p, err := fs.Process(pid)
		if err != nil {
			continue
		}
		if _, err := p.Readlink("exe"); errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			refused++
		}
		p.Close()
	}
	c.Found = fmt.Sprintf("%s with %d processes", fs.Dir(), len(pids))
	if refused > 0 {
		c.OK, c.Level = false, LevelWarn
		c.Found += fmt.Sprintf(", of which %d refuse to be read", refused)
		c.Remedy = "run as root, in the host's PID namespace; a few may refuse even then, and are reported as unknown unless the bpf source sees them"
	}
	return c
}

// processMemory reports whether names can be read from the memory of processes, on the
// sensor's own parent.
func processMemory(fs proc.FS) Check {
	p, err := fs.Process(os.Getppid())
	if err != nil {
		return Check{"process memory", false, LevelWarn, text(err.Error()), ""}
	}
	defer p.Close()
	aux, err := p.Auxv()
	if err == nil {
		var m proc.Memory
		m.Reset(os.Getppid())
		_, err = m.String(aux.ExecFn)
	}
	if err != nil {
		return Check{"process memory", false, LevelWarn, text(err.Error()),
			"CAP_SYS_PTRACE, and kernel.yama.ptrace_scope below 3; without it a file that was moved aside is not recognised"}
	}
	return Check{"process memory", true, LevelOK, "the names by which code was loaded can be read", ""}
}

// mapFiles reports whether deleted files can be read through a mapping.
func mapFiles(fs proc.FS) Check {
	err := func() error {
		p, err := fs.Process(os.Getpid())
		if err != nil {
			return err
		}
		defer p.Close()
		var first proc.Area
		if err := p.TextMaps(func(a proc.Area) {
			if first.End == 0 {
				first = a
			}
		}); err != nil {
			return err
		}
		_, err = p.StatOf(snapshot.Mapping{Start: first.Start, End: first.End})
		return err
	}()
	if err != nil {
		return Check{"mapped files", false, LevelFail, text(err.Error()),
			"CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; without it contents of replaced files cannot be compared"}
	}
	return Check{"mapped files", true, LevelOK, "mapped files can be read, deleted ones too", ""}
}

func packageDatabase(root *file.Root) Check {
	if m, ok := managersOf(root); ok {
		db, err := m.open(root)
		switch {
		case err != nil:
			return Check{"package database", false, LevelFail, text(err.Error()), "mend the database; owners and versions are not known"}
		}
		if n := len(db.Problems()); n > 0 {
			return Check{"package database", false, LevelWarn, fmt.Sprintf("%s, with %d defects: %s", m.name, n, text(db.Problems()[0].Error())), "mend the database"}
		}
		return Check{"package database", true, LevelOK, m.name, ""}
	}
	return Check{"package database", false, LevelWarn, "none of the known kinds in " + root.Name(), "name the host's root with --root; verdicts do not need it, versions and CVEs do"}
}

func history(root *file.Root) Check {
	m, ok := managersOf(root)
	if !ok {
		return Check{"package history", false, LevelWarn, "there is no package database", "name the host's root with --root"}
	}
	for _, name := range m.logs {
		if _, err := root.Stat(name); err == nil {
			return Check{"package history", true, LevelOK, "/" + name, ""}
		}
	}
	return Check{"package history", false, LevelWarn, "none of /" + strings.Join(m.logs, ", /"),
		"keep the package manager's log: it tells which version runs where the sensor did not"}
}

func changelogs(root *file.Root) Check {
	names, err := root.ReadDir("/usr/share/doc", 1<<16)
	if err != nil {
		return Check{"changelogs", false, LevelWarn, text(err.Error()), "install packages with their documentation: CVEs are read from it"}
	}
	with, looked := 0, 0
	for _, n := range names {
		if looked++; looked > 200 {
			break
		}
		for _, c := range []string{"changelog.Debian.gz", "changelog.gz"} {
			if _, err := root.Stat("/usr/share/doc/" + n + "/" + c); err == nil {
				with++
				break
			}
		}
	}
	if with*2 < looked || looked == 0 {
		return Check{"changelogs", false, LevelWarn, fmt.Sprintf("%d of %d packages looked at have one", with, min(looked, 200)),
			"slim images leave documentation out; the CVEs of their packages are not known"}
	}
	return Check{"changelogs", true, LevelOK, fmt.Sprintf("%d of %d packages looked at have one", with, min(looked, 200)), ""}
}
