package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// maxWhy is how many reasons for a reboot stand on one line of another command's.
const maxWhy = 3

// hostLine says in one line whether the host needs a reboot, with that many reasons at most,
// and in others what it would bring.
func hostLine(p *printer, v *sensor.RebootVerdict, most int) {
	look, ok := map[sensor.Need]style{sensor.NeedReboot: red, sensor.NeedAdvised: yellow, sensor.NeedUnknown: cyan}[v.Need]
	if !ok {
		look = green
	}
	why := v.Why
	if len(why) > most {
		why = append(append([]string{}, why[:most]...), fmt.Sprintf("%d more (sensor host)", len(why)-most))
	}
	p.printf("host: %s%s\n", styled{look, rebootText(v.Need)}, strings.Join(why, "; "))
	for _, w := range v.Warnings {
		p.printf("host: %s%s\n", styled{yellow, "warning: "}, w)
	}
}

func rebootText(need sensor.Need) string {
	switch need {
	case sensor.NeedReboot:
		return "reboot needed because "
	case sensor.NeedAdvised:
		return "reboot advised because "
	case sensor.NeedUnknown:
		return "cannot tell whether a reboot is needed: "
	}
	return "no reboot needed"
}

// causeText is one part of the machine in a table: "module e1000 srcversion A → srcversion B".
func causeText(c *sensor.Cause) string {
	text := c.Subject
	if c.Running != "" {
		text += " " + c.Running
	}
	if c.Installed != "" {
		text += " → " + c.Installed
	}
	return text
}

// page is a host's page as people see it.
type page struct {
	*sensor.HostReport
	zone *time.Location
	*screen
}

func (v *page) write() {
	hostLine(v.printer, &v.Reboot, len(v.Reboot.Why))
	v.printf("\n")
	v.line("host", words(v.Host.Name, v.Host.MachineID))
	v.line("booted", v.moment(&v.BootedAt)+", "+ageText(v.ScannedAt.Sub(v.BootedAt))+" ago")
	v.line("release", releaseText(&v.Release))
	v.kernel()
	v.modules()
	v.processors()
	v.sentinels()
	for i := range v.Managers {
		m := &v.Managers[i]
		v.line("packages", fmt.Sprintf("%s: %s, last change %s", m.Manager, count(m.Packages, "package", "packages"), v.moment(m.LastChange)))
	}
	for i := range v.Images {
		m := &v.Images[i]
		v.line("image", words(m.Image)+": "+releaseText(&m.Release)+"; "+shorten(m.Containers))
	}
	s := &v.Summary
	v.line("workloads", fmt.Sprintf("%d, of which %d stale, %d missing, %d unknown (sensor stale)", s.Workloads, s.Stale, s.Missing, s.Unknown))
	report := &view{Report: &sensor.Report{Complete: v.Complete, Warnings: v.Warnings}, zone: v.zone}
	report.warnings(v.printer, v.width > 0)
}

func (v *page) line(label, text string) {
	if text != "" {
		v.printf("%s %s\n", styled{bold, fmt.Sprintf("%-10s", label)}, text)
	}
}

// below adds to the line above.
func (v *page) below(look style, text string) {
	if text != "" {
		v.printf("%s %s\n", strings.Repeat(" ", 10), styled{look, text})
	}
}

func (v *page) moment(t *time.Time) string {
	if t == nil {
		return "not known"
	}
	return t.In(v.zone).Format(time.DateTime)
}

func releaseText(r *sensor.Release) string {
	name := r.PrettyName
	if name == "" {
		name = orUnknown(words(r.ID, r.VersionID))
	}
	switch {
	case r.State == "ended":
		return name + ", NOT SUPPORTED any more: its support ended " + r.EndOfLife + of(r)
	case r.EndOfLife != "":
		return name + ", supported until " + r.EndOfLife + of(r)
	}
	return name + ", end of life not known"
}

func of(r *sensor.Release) string {
	if r.Support == "" {
		return " (" + r.Source + ")"
	}
	return " (" + r.Support + ", says " + r.Source + ")"
}

func (v *page) kernel() {
	k := &v.Kernel
	name := k.Release
	if k.PackageVersion != "" {
		name += " (" + k.PackageVersion + ")"
	}
	if k.State == sensor.Ignored {
		v.line("kernel", strings.TrimPrefix(name+": "+k.Why, ": "))
		return
	}
	v.line("kernel", name+": "+string(k.State))
	v.below(dim, k.Why)
	if k.BuildID != "" {
		v.below(dim, "build ID "+k.BuildID)
	}
	for i := range k.Installed {
		v.installed(&k.Installed[i])
	}
	switch {
	case k.Next != "":
		v.below(plain, "next boot: "+k.Next+", "+k.NextWhy)
	case k.NextWhy != "":
		v.below(plain, "next boot: not known, "+k.NextWhy)
	}
	for i := range k.Livepatches {
		l := &k.Livepatches[i]
		v.below(plain, "live patch "+words(l.Name, l.Package, l.PackageVersion)+": "+l.State+", of "+shorten(l.Objects))
	}
	if n := len(k.CVEs); n > 0 {
		v.below(plain, fmt.Sprintf("%s between what runs and what is installed, %d covered by live patches", count(n, "CVE", "CVEs"), len(k.Livepatched)))
	}
}

func (v *page) installed(i *sensor.InstalledKernel) {
	text := "installed: " + i.Release
	if i.PackageVersion != "" {
		text += " (" + words(i.Package, i.PackageVersion) + ")"
	}
	var marks []string
	switch i.Running {
	case "yes":
		marks = append(marks, "this one runs")
	case "unknown":
		marks = append(marks, "whether this one runs is not known")
	}
	if i.Next {
		marks = append(marks, "boots next")
	}
	if i.Error != "" {
		marks = append(marks, i.Error)
	}
	if len(marks) > 0 {
		text += ": " + strings.Join(marks, ", ")
	}
	v.below(plain, text)
}

func (v *page) modules() {
	m := &v.Modules
	if m.Loaded == 0 {
		v.line("modules", "none is loaded")
		return
	}
	text := fmt.Sprintf("%d loaded, %d of them as installed", m.Loaded, m.Current)
	if m.NotInstalled > 0 {
		text += fmt.Sprintf(", %d not installed", m.NotInstalled)
	}
	v.line("modules", text)
	for i := range m.Listed {
		one := &m.Listed[i]
		if one.State == sensor.Ignored {
			continue
		}
		text := one.Name + ": " + string(one.State) + ", " + one.Why
		for j := range v.Causes {
			if v.Causes[j].Subject == "module "+one.Name {
				text = v.Causes[j].Why
			}
		}
		if one.Loaded != "" || one.Installed != "" {
			text += ": " + orUnknown(one.Loaded) + " → " + orUnknown(one.Installed)
		}
		v.below(stateStyle(one.State), text)
	}
}

func (v *page) processors() {
	for i := range v.Microcode {
		m := &v.Microcode[i]
		text := fmt.Sprintf("%s %s", count(m.Count, "CPU", "CPUs"), m.Vendor)
		if m.Running != "" && m.State != sensor.Ignored {
			text += ", revision " + m.Running
		}
		v.line("microcode", text+": "+m.Why)
		if m.File != "" {
			v.below(dim, "in "+m.File)
		}
	}
}

func (v *page) sentinels() {
	for i := range v.Sentinels {
		s := &v.Sentinels[i]
		text := s.Source
		if s.Since != nil {
			text += " since " + v.moment(s.Since)
		}
		if len(s.Packages) > 0 {
			text += ": " + shorten(s.Packages)
		}
		v.line("asks", text)
	}
}

// shorten lists the first few names.
func shorten(names []string) string {
	if len(names) > maxShown {
		names = append(append([]string{}, names[:maxShown]...), fmt.Sprintf("%d more", len(names)-maxShown))
	}
	return strings.Join(names, ", ")
}
