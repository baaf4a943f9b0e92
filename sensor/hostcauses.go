package sensor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	kmod "github.com/patchsensor/patchsensor/internal/host/module"

	"github.com/patchsensor/patchsensor/internal/host/microcode"
)

// judgeModules judges the loaded modules. rebuilt says that another build of the running
// release is installed, of which they all have other files, and drives reports whether a
// module is the driver of anything.
func judgeModules(m *machine, rebuilt bool, drives func(string) bool) (ModuleStatus, []Cause) {
	s := ModuleStatus{Loaded: len(m.modules), Listed: []Module{}}
	var causes []Cause
	for i := range m.modules {
		r := &m.modules[i]
		one := Module{Name: text(r.Loaded.Name), File: text(r.Found.Path), Loaded: moduleIdentity(r.Loaded.BuildID, r.Loaded.Srcversion, r.Loaded.Version), Why: r.Reason}
		if r.File != nil {
			one.Installed = moduleIdentity(r.File.BuildID, r.File.Srcversion, r.File.Version)
		}
		if r.Err != nil {
			one.Why += ": " + text(r.Err.Error())
		}
		switch r.Outcome {
		case kmod.Same:
			s.Current++
			continue
		case kmod.Gone:
			s.NotInstalled++
			one.State = Ignored
		case kmod.Other:
			s.Stale++
			one.State = Stale
			if !rebuilt {
				causes = append(causes, moduleCause(m, r, &one, drives(r.Loaded.Name)))
			}
		default:
			one.State = Unknown
			s.Unknown++
		}
		s.Listed = append(s.Listed, one)
	}
	if s.Unknown > 0 && m.hasTree() {
		causes = append(causes, Cause{State: Unknown, Reason: Unverified, Subject: "modules", Action: None, Need: NeedUnknown,
			Why: fmt.Sprintf("%d of %d loaded modules could not be compared with their files (%s)", s.Unknown, s.Loaded, unknownModules(s.Listed))})
	}
	return s, causes
}

// moduleIdentity is by what a module is told from another build of it.
func moduleIdentity(buildID, srcversion, version string) string {
	switch {
	case buildID != "":
		return "build ID " + text(buildID)
	case srcversion != "":
		return "srcversion " + text(srcversion)
	case version != "":
		return "version " + text(version)
	}
	return ""
}

func unknownModules(list []Module) string {
	var names []string
	for _, m := range list {
		if m.State == Unknown {
			names = append(names, m.Name)
		}
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return strings.Join(names, ", ")
}

// moduleCause says what makes the file of a module effective. One that the kernel counts no
// user of and that is no driver can be loaded anew, by somebody who knows whether the
// machine can do without it for a moment: network links and filters are not counted. A
// file that was there when the machine booted was not taken then, and would not be now.
func moduleCause(m *machine, r *kmod.Result, one *Module, drives bool) Cause {
	c := Cause{State: Stale, Reason: ModuleReplaced, Subject: "module " + one.Name, Running: one.Loaded, Installed: one.Installed, Action: Reboot, Need: NeedReboot}
	c.Why = fmt.Sprintf("module %s is loaded in another build than %s", one.Name, one.File)
	at, known := m.changed[r.Found.Path]
	c.Since = moment(at)
	network := strings.Contains(one.File, "/net/")
	switch {
	case idle(&r.Loaded) && !drives && !network:
		c.Action, c.Need = Reload, NeedNone
		c.Why += "; the kernel counts no user of it, so where nothing needs it for a moment: modprobe -r " + one.Name + ", then modprobe " + one.Name
	case known && at.Before(m.booted.Add(-bootMargin)):
		c.Action, c.Need = None, NeedNone
		c.Why += ", which was there at the last boot and was not taken: the initial ramdisk is older, or it was loaded from elsewhere"
	}
	return c
}

// idle reports whether a module can be taken out without anybody missing it.
func idle(l *kmod.Loaded) bool {
	return l.Refcount == 0 && len(l.Holders) == 0 && !l.Permanent && l.State == "live"
}

// judgeMicrocode judges the microcode of each kind of processor.
// What the processor refuses is no cause, as nothing makes it effective: it is told
// beside.
func judgeMicrocode(m *machine) (list []MicrocodeStatus, causes []Cause, refused []string) {
	list = []MicrocodeStatus{}
	for i := range m.microcode {
		c := &m.microcode[i]
		s := MicrocodeStatus{CPU: c.Number, Count: c.Count, Vendor: text(c.Vendor), State: Effective, Why: "no newer one is installed"}
		if c.RevisionKnown {
			s.Running = revision(c.Revision)
		}
		if c.installed.Revision != 0 {
			s.Installed, s.File = revision(c.installed.Revision), text(c.installed.File)
		}
		if c.early.Revision != 0 {
			s.Early = revision(c.early.Revision)
			if c.early.Revision > c.installed.Revision {
				s.File = text(c.early.File)
			}
		}
		cause, why := microcodeCause(c, m.booted)
		switch {
		case c.Hypervisor:
			s.State, s.Why = Ignored, "the processor is virtual: its microcode is the hypervisor's"
		case c.Vendor != microcode.Intel && c.Vendor != microcode.AMD:
			s.State, s.Why = Ignored, "no microcode of this vendor is known"
		case !c.RevisionKnown:
			s.State, s.Why = Unknown, "the kernel does not tell the revision"
		case why != "":
			s.State, s.Why = cause.State, why
		}
		switch {
		case s.State == Stale && cause.Need == "":
			refused = append(refused, s.Why)
		case s.State == Stale, s.State == Unknown && c.RevisionKnown:
			cause.Subject = fmt.Sprintf("microcode of CPU %d", c.Number)
			cause.Running, cause.Installed, cause.Why = s.Running, revision(max(c.installed.Revision, c.early.Revision)), s.Why
			causes = append(causes, cause)
		}
		list = append(list, s)
	}
	return list, causes, refused
}

// microcodeCause holds the running revision against what is installed. What the kernel
// that will boot finds early is loaded by a reboot; what is only in the firmware files is
// not, before the initial ramdisk is made anew; and what was in it already when the machine
// booted was not taken then, and would not be now.
func microcodeCause(c *cpuMicrocode, booted time.Time) (Cause, string) {
	newest := max(c.installed.Revision, c.early.Revision)
	trouble := trueTrouble(c.installedErr, c.earlyErr)
	switch {
	case newest <= c.Revision && trouble != nil:
		return Cause{State: Unknown, Reason: Unreadable, Action: None, Need: NeedUnknown}, "what is installed could not be read: " + text(trouble.Error())
	case newest <= c.Revision:
		return Cause{}, ""
	}
	stale := Cause{State: Stale, Reason: Microcode, Action: Reboot, Need: NeedReboot, Since: moment(c.installedAt)}
	why := fmt.Sprintf("the processor runs microcode %s while %s is installed", revision(c.Revision), revision(newest))
	before := booted.Add(-bootMargin)
	switch {
	case c.ramdisks == 0:
		stale.Action, stale.Need = None, NeedAdvised
		return stale, why + "; no initial ramdisk was found that could load it"
	case c.early.Revision <= c.Revision:
		stale.Action, stale.Need = None, NeedNone
		return stale, why + ", but no initial ramdisk has it: a reboot loads it only after that was made anew (update-initramfs -u, dracut -f, mkinitcpio -P)"
	case c.earlyAt.Before(before):
		stale.Action, stale.Need = None, ""
		return stale, why + " and was at the last boot, which did not load it: the processor or the kernel refuses it, or another loader is in the way"
	case !c.installedAt.IsZero() && c.installedAt.Before(before) && c.installed.Revision == newest:
		// The ramdisk was made anew since, so that it may not have been tried.
		stale.Need = NeedAdvised
	}
	return stale, why
}

// trueTrouble leaves out the errors that only say that there is nothing.
func trueTrouble(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, microcode.ErrNoUpdate) })
	return errors.Join(errs...)
}

func revision(r uint32) string { return fmt.Sprintf("0x%x", r) }
