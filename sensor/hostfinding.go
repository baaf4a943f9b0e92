package sensor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/kernel"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// subjectMachine is that of warnings about the machine itself.
const subjectMachine = "host"

// itself is what is to be said of the machine itself.
type itself struct {
	kernel    KernelStatus
	modules   ModuleStatus
	microcode []MicrocodeStatus
	sentinels []Sentinel
	causes    []Cause
	warnings  []string // about the next boot, and until then
	advice    []string // to reboot
	// pkg is the package of the newer kernel, nil if there is none or it is not known.
	pkg *Package
}

// judgeItself judges the machine itself. In full is what a page about it tells; else what is
// dear is left out where nothing is stale.
func (sc *scan) judgeItself(ctx context.Context, full bool) *itself {
	m := sc.machine(ctx)
	out := &itself{microcode: []MicrocodeStatus{}, modules: ModuleStatus{Listed: []Module{}}, sentinels: []Sentinel{}}
	for _, err := range m.errs {
		sc.warnings.add(subjectMachine, err, "")
	}
	v := sc.judgeKernel(ctx, m, out, full)
	for _, w := range v.warnings {
		out.warnings = append(out.warnings, text(w))
	}
	if v.advice != "" {
		out.advice = append(out.advice, text(v.advice))
	}
	rebuilt := v.newer != nil && v.newer.release == m.running.Release
	var causes []Cause
	out.modules, causes = judgeModules(m, rebuilt, sc.drives)
	out.causes = append(out.causes, causes...)
	if out.modules.Loaded > 0 && !m.hasTree() && len(m.trees)+len(m.images) > 0 && v.state != Ignored {
		out.warnings = append(out.warnings, "the modules of the running kernel "+text(m.running.Release)+" are not installed any more: none can be loaded until a reboot")
	}
	var refused []string
	out.microcode, causes, refused = judgeMicrocode(m)
	out.causes, out.warnings = append(out.causes, causes...), append(out.warnings, refused...)
	if c, ok := sc.deployment(); ok {
		out.causes = append(out.causes, c)
	}
	out.sentinels = sc.readSentinels(m.booted)
	if full && m.foreign == "" {
		out.sentinels = append(out.sentinels, sc.wouldAsk(m.booted)...)
	}
	return out
}

// judgeKernel judges the running kernel and adds it to what is said of the machine.
func (sc *scan) judgeKernel(ctx context.Context, m *machine, out *itself, full bool) kernelVerdict {
	// The package database is only asked where something depends on it.
	pk := newPackages("", manager{})
	var packages []owner.Package
	list := func() {
		if pk = sc.packagesOf(sc.hostView()); pk.db != nil {
			packages = kernelPackages(pk.db.Packages())
		}
	}
	named := slices.ContainsFunc(m.images, func(i bootImage) bool { return i.Release != "" })
	if m.foreign == "" && (full || !named) {
		list()
	}
	installed := installedKernels(m.images, packages)
	v := judgeKernel(m, installed, packages)
	if (v.state == Stale || v.state == Unknown) && packages == nil {
		list()
		installed = installedKernels(m.images, packages)
		v = judgeKernel(m, installed, packages)
	}
	sc.ownKernels(pk, installed)
	loaded := runningVersion(m, installed)
	out.kernel = kernelStatus(m, v, installed, loaded)
	switch v.state {
	case Stale:
		c := Cause{State: Stale, Reason: KernelOutdated, Subject: "kernel", Action: Reboot, Need: NeedReboot,
			Running: text(kernelName(m.running.Release, loaded)), Installed: text(v.newer.name()), Since: moment(v.since)}
		c.Why = "kernel " + c.Running + " runs while " + c.Installed + " is installed"
		if v.newer.release == m.running.Release && loaded == v.newer.version() {
			c.Why = "kernel " + c.Running + " runs, and another build of it is installed"
		}
		if v.pinned {
			c.Action, c.Need = None, NeedAdvised
		}
		sc.addKernelPackage(ctx, pk, m, &v, loaded, out, &c)
		out.causes = append(out.causes, c)
	case Unknown:
		out.causes = append(out.causes, Cause{State: Unknown, Reason: Unresolved, Subject: "kernel", Running: text(m.running.Release), Action: None, Need: NeedUnknown,
			Why: "whether the running kernel is the installed one cannot be told: " + text(v.why)})
	}
	return v
}

// ownKernels asks for the packages of images that no package is named after.
func (sc *scan) ownKernels(pk *packages, installed []*installedKernel) {
	if pk.db == nil {
		return
	}
	var paths []string
	for _, k := range installed {
		for _, img := range k.images {
			if k.pkg == nil {
				paths = append(paths, img.File)
			}
		}
	}
	if err := pk.ask(paths); err != nil {
		sc.warnings.add(pk.name, err, "")
		return
	}
	for _, k := range installed {
		for _, img := range k.images {
			if o := pk.owned[img.File]; o != nil && k.pkg == nil {
				k.pkg = &o.Package
			}
		}
	}
}

// runningVersion is the version of the package that the running kernel is from: what the
// kernel itself says, else that of the installed package that has this very build.
func runningVersion(m *machine, installed []*installedKernel) string {
	if v := builtVersion(m.running.Version); v != "" {
		return v
	}
	for _, k := range installed {
		if k.release == m.running.Release && k.pkg != nil && slices.ContainsFunc(k.images, func(i bootImage) bool { return i.build == Yes }) {
			return k.pkg.Version
		}
	}
	return ""
}

// addKernelPackage names the package of the newer kernel with what it fixes, and takes out
// what live patches have fixed already.
func (sc *scan) addKernelPackage(ctx context.Context, pk *packages, m *machine, v *kernelVerdict, loaded string, out *itself, c *Cause) {
	p := v.newer.pkg
	if p == nil {
		return
	}
	out.pkg = &Package{
		Manager: p.Manager, Name: text(p.Name), Source: text(p.Source), Arch: text(p.Arch),
		Loaded: LoadedVersion{text(loaded), EvidenceUnknown}, Installed: InstalledVersion{Version: text(p.Version)},
	}
	if loaded == "" {
		return
	}
	out.pkg.Loaded.Evidence = Matched
	if builtVersion(m.running.Version) != "" {
		out.pkg.Loaded.Evidence = Embedded
	}
	ch := sc.kernelChanges(ctx, pk, p, v.newer.release, loaded)
	covered := sc.livepatched(pk, m, out)
	open := slices.DeleteFunc(slices.Clone(ch.cves), func(cve string) bool { return covered[cve] })
	for _, cve := range ch.cves {
		if covered[cve] {
			out.kernel.Livepatched = append(out.kernel.Livepatched, cve)
		}
	}
	out.pkg.CVEs, out.pkg.Urgency = open, ch.urgency
	out.pkg.Vulnerabilities = slices.DeleteFunc(slices.Clone(ch.fixed), func(v Vulnerability) bool { return covered[v.ID] })
	out.kernel.CVEs = ch.cves
	if len(ch.cves) > 0 && len(open) == 0 {
		c.Need = NeedAdvised
	}
	if n := len(out.kernel.Livepatched); n > 0 {
		c.Why += fmt.Sprintf("; live patches cover %d of the %d CVEs between them", n, len(ch.cves))
	}
}

// kernelChanges are what was fixed between two versions of a kernel. The package of a
// signed image may have a changelog that only says so: Ubuntu's are those of its modules.
// That of the image naming no CVE does not say that there is none.
func (sc *scan) kernelChanges(ctx context.Context, pk *packages, p *owner.Package, release, loaded string) changes {
	from := *p
	if rest, ok := strings.CutPrefix(p.Source, "linux-signed"); ok {
		for _, q := range pk.db.Packages() {
			if q.Name == "linux-modules-"+release && q.Version == p.Version {
				from = q
			}
		}
		from.Source, from.SourceVersion = "linux"+strings.TrimSuffix(rest, "-"+p.Arch), p.Version
	}
	if branchOf(loaded) != branchOf(p.Version) {
		// What was fixed in one branch was fixed in the other at another time.
		return changes{}
	}
	ch := sc.changesOf(ctx, pk, from, loaded)
	if from.Name == p.Name && from.Source != p.Source && len(ch.cves) == 0 {
		ch.cves = nil
	}
	return ch
}

// branchOf is the branch of kernels that a version is of: "6.1" of "6.1.192-2".
func branchOf(version string) string {
	words := strings.SplitN(withoutEpoch(version), ".", 3)
	return strings.Join(words[:min(len(words), 2)], ".")
}

// livepatched are the CVEs that the changelogs of applied live patches name. One that is
// still being applied covers nothing yet.
func (sc *scan) livepatched(pk *packages, m *machine, out *itself) map[string]bool {
	covered := make(map[string]bool)
	if pk.db == nil {
		return covered
	}
	for _, patch := range m.patches {
		files := livepatchFiles(patch.Name, m.running.Release)
		if err := pk.ask(slices.Clone(files)); err != nil {
			sc.warnings.add(pk.name, err, "")
			return covered
		}
		for _, file := range files {
			o := pk.owned[file]
			if o == nil {
				continue
			}
			for i := range out.kernel.Livepatches {
				if l := &out.kernel.Livepatches[i]; l.Name == text(patch.Name) {
					l.Package, l.PackageVersion = text(o.Package.Name), text(o.Package.Version)
				}
			}
			if !patch.Enabled || patch.Transition {
				break
			}
			// Everything that the package has ever fixed it fixes still.
			log, err := pk.db.Changelog(o.Package, "0-0")
			if err != nil && !errors.Is(err, owner.ErrNoChangelog) {
				sc.warnings.add(pk.name, err, "")
			}
			for _, e := range log.Entries {
				for _, cve := range e.CVEs {
					covered[cve] = true
				}
			}
			break
		}
	}
	return covered
}

// livepatchFiles are where packages put the module of a live patch: kpatch-patch of RHEL,
// and kernel-livepatch of SUSE.
func livepatchFiles(name, release string) []string {
	var files []string
	for _, n := range []string{name, strings.ReplaceAll(name, "_", "-")} {
		files = append(files,
			"/usr/lib/kpatch/"+release+"/"+n+".ko", "/var/lib/kpatch/"+release+"/"+n+".ko",
			"/usr/lib/modules/"+release+"/livepatch/"+n+".ko", "/lib/modules/"+release+"/livepatch/"+n+".ko",
			"/usr/lib/modules/"+release+"/livepatch/"+n+".ko.zst", "/lib/modules/"+release+"/livepatch/"+n+".ko.zst",
			"/usr/lib/modules/"+release+"/livepatch/"+n+".ko.xz", "/lib/modules/"+release+"/livepatch/"+n+".ko.xz")
	}
	return files
}

// kernelStatus describes the running kernel beside the installed ones.
func kernelStatus(m *machine, v kernelVerdict, installed []*installedKernel, loaded string) KernelStatus {
	k := KernelStatus{
		State: v.state, Why: text(v.why), Release: text(m.running.Release), Flavour: text(kernel.Flavour(m.running.Release)),
		PackageVersion: text(loaded), BuildID: m.running.BuildID,
		Installed: []InstalledKernel{}, Livepatches: []Livepatch{}, Livepatched: []string{},
	}
	if v.newer != nil {
		k.Why = text(v.newer.name() + " is installed")
	}
	switch {
	case m.nextErr != nil:
		k.NextWhy = text(m.nextErr.Error())
	case m.foreign == "":
		k.Next = text(m.next.Release)
		k.NextWhy = text(m.next.Loader + " chooses it (" + m.next.Config + ")")
	}
	for _, i := range installed {
		one := InstalledKernel{Release: text(i.release), Flavour: text(i.flavour), Files: []string{}, PackageVersion: text(i.version()), Running: "no", Next: m.nextErr == nil && m.next.Release == i.release}
		if i.pkg != nil {
			one.Package = text(i.pkg.Name)
		}
		for _, img := range i.images {
			one.Files = append(one.Files, text(img.File))
			if img.Err != nil {
				one.Error = text(img.Err.Error())
			}
			switch {
			case i.release != m.running.Release:
			case img.build == Yes:
				one.Running = "yes"
			case img.build == NotKnown && one.Running == "no":
				one.Running = "unknown"
			}
		}
		k.Installed = append(k.Installed, one)
	}
	for _, p := range m.patches {
		l := Livepatch{Name: text(p.Name), State: patchState(p), Objects: []string{}}
		for _, o := range p.Objects {
			l.Objects = append(l.Objects, text(o.Name))
		}
		k.Livepatches = append(k.Livepatches, l)
	}
	return k
}

func patchState(p kernel.Livepatch) string {
	switch {
	case p.Transition && p.Enabled:
		return "being applied"
	case p.Transition:
		return "being taken back"
	case p.Enabled:
		return "enabled"
	}
	return "disabled"
}

// hostFinding is one finding for the machine itself, so that a person acts once. It is
// false where all is current.
func (sc *scan) hostFinding(it *itself) (Finding, bool) {
	if len(it.causes) == 0 {
		return Finding{}, false
	}
	slices.SortStableFunc(it.causes, func(a, b Cause) int { return causeRank(&b) - causeRank(&a) })
	first := &it.causes[0]
	sum := sha256.Sum256([]byte(string(workload.KindHost) + "\x00itself"))
	f := Finding{
		ID: hex.EncodeToString(sum[:8]), State: first.State, Reason: first.Reason, Domain: DomainHost, Causes: it.causes,
		Workload:  Workload{Kind: string(workload.KindHost), Name: text(sc.describe().Name)},
		Packages:  []Package{},
		Processes: []Process{},
	}
	if it.pkg != nil {
		f.Packages = append(f.Packages, *it.pkg)
	}
	f.weigh()
	f.Remedy = Remedy{Action: first.Action, Target: "this host", Command: []string{}, Disruptive: first.Action == Reboot}
	if first.Action == Reboot {
		f.Remedy.Command = []string{"systemctl", "reboot"}
	}
	var why []string
	for _, c := range it.causes {
		why = append(why, c.Why)
		if c.State == f.State && c.Since != nil && (f.Since == nil || c.Since.Before(*f.Since)) {
			f.Since = c.Since
		}
	}
	if len(why) > maxCauses {
		why = append(why[:maxCauses], fmt.Sprintf("%d more causes", len(why)-maxCauses))
	}
	f.Remedy.Why = strings.Join(append(why, it.warnings...), "; ")
	return f, true
}

// maxCauses bounds how many causes a remedy's reason tells.
const maxCauses = 4

// causeRank orders causes: what is stale before what is not known, and what a reboot makes
// effective first of all.
func causeRank(c *Cause) int {
	n := 0
	if c.State == Stale {
		n += 10
	}
	n += slices.Index([]Action{None, Reload, Reboot}, c.Action)
	return n
}

// drives reports whether a module is the driver of anything: sysfs has a link to each
// driver in /sys/module/NAME/drivers. It is asked anew each time, as devices come and go.
func (sc *scan) drives(module string) bool {
	sys, err := file.OpenRoot(sc.opts.Sys)
	if err != nil {
		return true
	}
	defer sys.Close()
	names, err := sys.ReadDir("module/"+module+"/drivers", 1)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || len(names) > 0
}
