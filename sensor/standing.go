package sensor

import (
	"slices"
	"time"
)

// standing is the last full judgement with the report that was made of it. What makes
// the report is dear, and it says the same for as long as every fact is the same.
type standing struct {
	scan     *scan
	warnings []Warning // before the report added its own
	host     *packages
	runtimes uint64 // the inventory's revision
	report   *Report
	at       time.Duration // on CLOCK_BOOTTIME
}

// again returns the report for another scan of everything, nil if anything that was
// found is not as it was. The facts are compared, never assumed: each scan lists
// processes, follows names and looks at databases as the one before did. What is only
// read for a report, such as the name of a user, may be rereadAfter old.
func (s *standing) again(sc *scan) *Report {
	if s == nil || bootNow()-s.at > rereadAfter || len(sc.doubts) > 0 || s.host != sc.mem.host {
		return nil
	}
	if sc.inventory != nil && s.runtimes != sc.inventory.Revision() {
		return nil
	}
	if !slices.Equal(s.warnings, sc.warnings.list) || !sc.sameClasses(s.scan) || !sc.sameProcesses(s.scan) {
		return nil
	}
	r := *s.report
	return &r
}

// sameClasses reports whether two scans found the same files, in the same order and with
// the same facts.
func (sc *scan) sameClasses(old *scan) bool {
	return slices.EqualFunc(sc.order, old.order, func(a, b *class) bool {
		return a.view.key == b.view.key && a.name == b.name && a.exe == b.exe &&
			a.file.id == b.file.id && a.file.shown == b.file.shown && a.facts == b.facts &&
			a.shown == b.shown && a.loadedAs == b.loadedAs && sameView(a.base, b.base) &&
			a.other == b.other && a.otherPath == b.otherPath && a.otherOK == b.otherOK &&
			a.linkChanged.Equal(b.linkChanged) && a.renamed == b.renamed && a.guessed == b.guessed && a.bySoname == b.bySoname &&
			a.how == b.how && sameError(a.err, b.err) &&
			a.owners == b.owners && a.otherOwner == b.otherOwner && a.shownOwner == b.shownOwner &&
			(a.provider == b.provider || a.provider != nil && b.provider != nil && *a.provider == *b.provider)
	})
}

func sameView(a, b *view) bool {
	return a == b || a != nil && b != nil && a.key == b.key
}

func sameError(a, b error) bool {
	return a == b || a != nil && b != nil && a.Error() == b.Error()
}

// sameProcesses reports whether two scans met the same processes, with the same files.
func (sc *scan) sameProcesses(old *scan) bool {
	for i, c := range sc.order {
		c.number = i
	}
	for i, c := range old.order {
		c.number = i
	}
	return slices.EqualFunc(sc.processes, old.processes, func(a, b *process) bool {
		return a.PID == b.PID && a.TID == b.TID && a.PPID == b.PPID && a.InnerPID == b.InnerPID &&
			a.Start == b.Start && a.Uncertainty == b.Uncertainty && a.UID == b.UID && a.Comm == b.Comm &&
			a.PIDNS == b.PIDNS && a.MntNS == b.MntNS && a.RootKey == b.RootKey && a.CgroupKey == b.CgroupKey &&
			a.ForkNoExec == b.ForkNoExec && a.Aux == b.Aux && a.Exe == b.Exe && sameError(a.Err, b.Err) &&
			a.key == b.key && a.names == b.names && a.alive == b.alive && a.inherited == b.inherited &&
			slices.EqualFunc(a.classes, b.classes, func(a, b *class) bool { return a.number == b.number })
	})
}
