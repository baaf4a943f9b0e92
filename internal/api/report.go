package api

import (
	"bytes"
	"strconv"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// encodeReport makes the line that encode makes, byte by byte, at a fraction of the
// cost: a report has thousands of findings, and is encoded for each question. The memory
// of room is used if the line fits.
func encodeReport(r *sensor.Report, room []byte) ([]byte, error) {
	// What is there once is left to encoding/json; the lists are at the end.
	const end = `"findings":null}` + "\n"
	shell := *r
	shell.Findings, shell.Seen = nil, nil
	head, err := encode(&shell)
	if err != nil || r.Findings == nil || !bytes.HasSuffix(head, []byte(end)) {
		return encode(r)
	}
	l := line{b: append(room[:0], head[:len(head)-len(end)]...)}
	l.key(`"findings":[`)
	for i := range r.Findings {
		l.comma(i)
		l.finding(&r.Findings[i])
	}
	l.key(`]`)
	if len(r.Seen) > 0 {
		l.key(`,"seen":[`)
		for i := range r.Seen {
			l.comma(i)
			l.seen(&r.Seen[i])
		}
		l.key(`]`)
	}
	l.key("}\n")
	if l.failed {
		// encoding/json says what cannot be encoded.
		return encode(r)
	}
	return l.b, nil
}

// line is a JSON document that is being written. Its methods write the fields of a
// type in their order, as its tags say.
type line struct {
	b      []byte
	failed bool
}

func (l *line) key(s string) { l.b = append(l.b, s...) }

func (l *line) comma(i int) {
	if i > 0 {
		l.b = append(l.b, ',')
	}
}

func (l *line) number(n int) { l.b = strconv.AppendInt(l.b, int64(n), 10) }

func (l *line) boolean(v bool) { l.b = strconv.AppendBool(l.b, v) }

// text writes a string.
func (l *line) text(s string) {
	if !plain(s) {
		l.any(s)
		return
	}
	l.b = append(append(append(l.b, '"'), s...), '"')
}

// plain reports whether a string stands in JSON as it is: it has nothing but what ASCII
// prints, and no quote or backslash.
func plain(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		// The highest bit of each byte tells: of w, that it is no ASCII; of the sum, that
		// it is 0x7f; of the others, that it is less than a space or one of the two.
		const ones, high = 0x0101010101010101, 0x8080808080808080
		quote, slash := w^'"'*ones, w^'\\'*ones
		if (w|(w+ones)|(w-' '*ones)|(quote-ones)|(slash-ones))&high != 0 {
			return plainBytes(s)
		}
	}
	return plainBytes(s)
}

func plainBytes(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// field writes a key and a string.
func (l *line) field(key, s string) {
	l.key(key)
	l.text(s)
}

// optional writes a key and a string that is not empty.
func (l *line) optional(key, s string) {
	if s != "" {
		l.field(key, s)
	}
}

// flag writes a key that is true.
func (l *line) flag(key string, v bool) {
	if v {
		l.key(key)
		l.boolean(true)
	}
}

func (l *line) texts(list []string) {
	if list == nil {
		l.key("null")
		return
	}
	l.key("[")
	for i, s := range list {
		l.comma(i)
		l.text(s)
	}
	l.key("]")
}

func (l *line) time(t time.Time) {
	l.key(`"`)
	b, err := t.AppendText(l.b)
	if err != nil {
		l.failed = true
		return
	}
	l.b = append(b, '"')
}

// moment writes a time that may not be known.
func (l *line) moment(t *time.Time) {
	if t == nil {
		l.key("null")
		return
	}
	l.time(*t)
}

// any writes what is rare.
func (l *line) any(v any) {
	b, err := encode(v)
	if err != nil {
		l.failed = true
		return
	}
	l.b = append(l.b, bytes.TrimSuffix(b, []byte("\n"))...)
}

func (l *line) finding(f *sensor.Finding) {
	l.field(`{"id":`, f.ID)
	l.field(`,"state":`, string(f.State))
	l.field(`,"reason":`, string(f.Reason))
	l.field(`,"domain":`, string(f.Domain))
	l.key(`,"since":`)
	l.moment(f.Since)
	l.key(`,"workload":`)
	l.workload(&f.Workload)
	l.key(`,"remedy":`)
	l.remedy(&f.Remedy)
	l.flag(`,"drift":`, f.Drift)
	l.optional(`,"urgency":`, f.Urgency)
	l.optional(`,"severity":`, f.Severity)
	l.flag(`,"exploited":`, f.Exploited)
	l.key(`,"packages":`)
	if f.Packages == nil {
		l.key("null")
	} else {
		l.key("[")
		for i := range f.Packages {
			l.comma(i)
			l.pkg(&f.Packages[i])
		}
		l.key("]")
	}
	l.key(`,"processes":`)
	if f.Processes == nil {
		l.key("null")
	} else {
		l.key("[")
		for i := range f.Processes {
			l.comma(i)
			l.process(&f.Processes[i])
		}
		l.key("]")
	}
	if len(f.Causes) > 0 {
		l.key(`,"causes":`)
		l.any(f.Causes)
	}
	if f.ProcessesOmitted != 0 {
		l.key(`,"processes_omitted":`)
		l.number(f.ProcessesOmitted)
	}
	l.key("}")
}

func (l *line) workload(w *sensor.Workload) {
	l.field(`{"kind":`, w.Kind)
	l.field(`,"name":`, w.Name)
	if w.Container != nil {
		l.key(`,"container":`)
		l.any(w.Container)
	}
	if w.Pod != nil {
		l.key(`,"pod":`)
		l.any(w.Pod)
	}
	l.field(`,"cgroup":`, w.Cgroup)
	l.key("}")
}

func (l *line) remedy(r *sensor.Remedy) {
	l.field(`{"action":`, string(r.Action))
	l.field(`,"target":`, r.Target)
	l.key(`,"command":`)
	l.texts(r.Command)
	l.field(`,"why":`, r.Why)
	l.key(`,"disruptive":`)
	l.boolean(r.Disruptive)
	l.key("}")
}

func (l *line) pkg(p *sensor.Package) {
	l.field(`{"manager":`, p.Manager)
	l.field(`,"name":`, p.Name)
	l.field(`,"source":`, p.Source)
	l.field(`,"arch":`, p.Arch)
	l.field(`,"loaded":{"version":`, p.Loaded.Version)
	l.field(`,"evidence":`, string(p.Loaded.Evidence))
	l.field(`},"installed":{"version":`, p.Installed.Version)
	l.optional(`,"state":`, p.Installed.State)
	l.key(`},"cves":`)
	l.texts(p.CVEs)
	l.field(`,"urgency":`, p.Urgency)
	if len(p.Vulnerabilities) > 0 {
		l.key(`,"vulnerabilities":`)
		l.any(p.Vulnerabilities)
	}
	if p.Layer != nil {
		l.key(`,"layer":`)
		l.any(p.Layer)
	}
	l.key("}")
}

func (l *line) process(p *sensor.Process) {
	l.key(`{"pid":`)
	l.number(p.PID)
	l.key(`,"container_pid":`)
	l.number(p.ContainerPID)
	l.key(`,"start_time":`)
	l.time(p.StartTime)
	if p.EndedAt != nil {
		l.key(`,"ended_at":`)
		l.time(*p.EndedAt)
	}
	l.field(`,"comm":`, p.Comm)
	l.field(`,"exe":`, p.Exe)
	l.key(`,"uid":`)
	l.b = strconv.AppendUint(l.b, uint64(p.UID), 10)
	l.key(`,"files":`)
	if p.Files == nil {
		l.key("null}")
		return
	}
	l.key("[")
	for i := range p.Files {
		l.comma(i)
		l.file(&p.Files[i])
	}
	l.key("]}")
}

func (l *line) file(f *sensor.File) {
	l.field(`{"path":`, f.Path)
	l.field(`,"state":`, string(f.State))
	l.field(`,"reason":`, string(f.Reason))
	l.field(`,"package":`, f.Package)
	l.field(`,"loaded_build_id":`, f.LoadedBuildID)
	l.field(`,"installed_build_id":`, f.InstalledBuildID)
	l.key(`,"loaded_at":`)
	l.moment(f.LoadedAt)
	l.optional(`,"detail":`, f.Detail)
	l.key("}")
}

func (l *line) seen(s *sensor.Seen) {
	l.key(`{"pid":`)
	l.number(s.PID)
	l.key(`,"uid":`)
	l.b = strconv.AppendUint(l.b, uint64(s.UID), 10)
	l.field(`,"workload":`, s.Workload)
	l.optional(`,"container":`, s.Container)
	l.optional(`,"container_id":`, s.ContainerID)
	l.optional(`,"image":`, s.Image)
	l.optional(`,"image_id":`, s.ImageID)
	l.optional(`,"namespace":`, s.Namespace)
	l.optional(`,"pod":`, s.Pod)
	l.key("}")
}
