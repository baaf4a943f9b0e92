package sensor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/container"
)

// remedy says what to do about a finding.
func remedy(f *Finding, w workload.Workload) Remedy {
	r := Remedy{Action: None, Target: text(w.Target), Command: []string{}}
	switch f.State {
	case Missing:
		r.Why = "do not restart: " + missingWhy(f)
	case Unknown:
		r.Why = "what it runs could not be compared with what is installed"
	case Stale:
		r.Action = Restart
		r.Disruptive = w.Disruptive
		for _, arg := range w.Command {
			r.Command = append(r.Command, text(arg))
		}
		why := append(make([]string, 0, 3), staleWhy(f))
		for _, more := range [...]string{text(w.Advice), text(w.DisruptiveWhy)} {
			if more != "" {
				why = append(why, more)
			}
		}
		for _, p := range f.Packages {
			if p.Installed.State != "" {
				how := map[string]string{"dpkg": " (dpkg --configure -a)", "apk": " (apk fix)"}[p.Manager]
				why = append(why, fmt.Sprintf("finish the installation first%s: %s is %s", how, p.Name, p.Installed.State))
			}
		}
		r.Why = strings.Join(why, "; ")
	}
	return r
}

func missingWhy(f *Finding) string {
	var paths []string
	for _, p := range f.Processes {
		for _, file := range p.Files {
			if file.State == Missing {
				paths = append(paths, file.Path)
			}
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if len(paths) > 3 {
		paths = append(paths[:3], fmt.Sprintf("%d more", len(paths)-3))
	}
	return "it would fail, since " + strings.Join(paths, ", ") + " is gone or cannot be loaded, and nothing newer is installed"
}

func staleWhy(f *Finding) string {
	var list []string
	for _, p := range f.Packages {
		switch {
		case f.Reason == ImageSuperseded && p.Installed.Version == "":
			list = append(list, fmt.Sprintf("%s %s, of which its image now has other files or none", p.Name, p.Loaded.Version))
		case f.Reason == ImageSuperseded && p.Loaded.Version != p.Installed.Version:
			list = append(list, fmt.Sprintf("%s %s while its image has %s now", p.Name, p.Loaded.Version, p.Installed.Version))
		case p.Installed.Version == "":
			list = append(list, fmt.Sprintf("%s %s, which is not there any more", p.Name, p.Loaded.Version))
		case p.Loaded.Version == "":
			list = append(list, fmt.Sprintf("another %s than the installed %s", p.Name, p.Installed.Version))
		case p.Loaded.Version == p.Installed.Version:
			list = append(list, fmt.Sprintf("files of %s %s that were changed on disk", p.Name, p.Loaded.Version))
		default:
			list = append(list, fmt.Sprintf("%s %s while %s is installed", p.Name, p.Loaded.Version, p.Installed.Version))
		}
	}
	if len(list) == 0 && f.Reason == ImageSuperseded {
		return "it runs files of no package that its image has otherwise now"
	}
	if len(list) == 0 {
		return "it runs files that were changed on disk and belong to no package"
	}
	if len(list) > 4 {
		list = append(list[:4], fmt.Sprintf("%d more packages", len(list)-4))
	}
	return "it runs " + strings.Join(list, ", ")
}

// remedyContainer says what a container needs that a unit does not: where a new image
// is there a new container, and of what was changed in it that it will be lost.
func remedyContainer(f *Finding, w workload.Workload, t *tally) {
	r := &f.Remedy
	switch {
	case t.has(Stale, ImageSuperseded):
		r.Action = Redeploy
		command, advice := container.Redeploy(*w.Container)
		r.Command = []string{}
		for _, arg := range command {
			r.Command = append(r.Command, text(arg))
		}
		r.Why = staleWhy(f) + "; " + f.Workload.Container.Image + " names another image now, which a restart would not take"
		if advice != "" {
			r.Why += "; " + text(advice)
		}
	case t.drift && w.Container.Pod != nil:
		r.Why += "; what is newer was put into the container, and a pod that is started anew comes from its image: rebuild that first"
	case t.drift:
		r.Why += "; what is newer was put into the container: a restart makes it effective, and only a rebuilt image and a redeployment keep it"
	}
}
