package sensor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/host/microcode"
	kmod "github.com/patchsensor/patchsensor/internal/host/module"
)

// TestJudgeMicrocode is the decision table of microcode, a row for each case.
func TestJudgeMicrocode(t *testing.T) {
	intel := microcode.CPU{Vendor: microcode.Intel, Revision: 0x100, RevisionKnown: true}
	update := func(r uint32) microcode.Update { return microcode.Update{Revision: r, File: "/lib/firmware/x"} }
	virtual, silent, other := intel, intel, intel
	virtual.Hypervisor, silent.RevisionKnown, other.Vendor = true, false, "CentaurHauls"
	for _, c := range []struct {
		name                   string
		cpu                    microcode.CPU
		installed, early       uint32
		installedErr, earlyErr error
		earlyAt, installedAt   time.Time
		noRamdisk              int
		refused                bool
		state                  State
		action                 Action
		why                    string
	}{
		{name: "nothing is installed", cpu: intel, installedErr: microcode.ErrNoUpdate, state: Effective},
		{name: "the same", cpu: intel, installed: 0x100, early: 0x100, earlyAt: before, state: Effective},
		{name: "the firmware of the board is newer", cpu: intel, installed: 0xf0, early: 0xf0, earlyAt: before, state: Effective},
		{name: "newer, and a reboot loads it", cpu: intel, installed: 0x110, early: 0x110, earlyAt: after, state: Stale, action: Reboot, why: "0x100 while 0x110"},
		{name: "newer, in no initial ramdisk", cpu: intel, installed: 0x110, early: 0x100, earlyAt: before, state: Stale, action: None, why: "only after that was made anew"},
		{name: "newer, and was not loaded at the last boot", cpu: intel, installed: 0x110, early: 0x110, earlyAt: before, state: Stale, refused: true, why: "which did not load it"},
		{name: "newer, and no ramdisk at all", cpu: intel, installed: 0x110, noRamdisk: 1, state: Stale, action: None, why: "no initial ramdisk was found"},
		{name: "the ramdisk was made anew, the file is old", cpu: intel, installed: 0x110, installedAt: before, early: 0x110, earlyAt: after, state: Stale, action: Reboot, why: "0x110"},
		{name: "newer only in the initial ramdisk", cpu: intel, early: 0x110, installedErr: microcode.ErrNoUpdate, earlyAt: after, state: Stale, action: Reboot, why: "0x110"},
		{name: "a damaged file", cpu: intel, installedErr: errors.New("lies"), state: Unknown, action: None, why: "lies"},
		{name: "a damaged file beside a newer one", cpu: intel, installedErr: errors.New("lies"), early: 0x110, earlyAt: after, state: Stale, action: Reboot},
		{name: "the platform is not known", cpu: intel, installedErr: microcode.ErrPlatform, state: Unknown, action: None, why: "platform"},
		{name: "a guest", cpu: virtual, installed: 0x110, early: 0x110, earlyAt: after, state: Ignored},
		{name: "another vendor", cpu: other, state: Ignored},
		{name: "no revision", cpu: silent, state: Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{booted: bootedAt, microcode: []cpuMicrocode{{
				Kind: microcode.Kind{CPU: c.cpu, Count: 4}, installed: update(c.installed), early: update(c.early),
				installedErr: c.installedErr, earlyErr: c.earlyErr, earlyAt: c.earlyAt, installedAt: c.installedAt, ramdisks: 1 - c.noRamdisk,
			}}}
			list, causes, refused := judgeMicrocode(m)
			if len(list) != 1 || list[0].State != c.state || !strings.Contains(list[0].Why, c.why) {
				t.Errorf("%+v", list)
			}
			if (len(refused) == 1) != c.refused {
				t.Errorf("refused %q", refused)
			}
			wanted := c.action != ""
			if wanted != (len(causes) == 1) || wanted && (causes[0].Action != c.action || causes[0].State != c.state) {
				t.Errorf("causes %+v", causes)
			}
		})
	}
}

// TestJudgeModules is the decision table of kernel modules, a row for each case.
func TestJudgeModules(t *testing.T) {
	result := func(o kmod.Outcome, change func(*kmod.Result)) kmod.Result {
		r := kmod.Result{
			Loaded: kmod.Loaded{Name: "m", State: "live", BuildID: "aa"}, Outcome: o, Reason: "so it is",
			Found: kmod.Found{Path: "/lib/modules/x/m.ko"}, File: &kmod.Info{BuildID: "bb"},
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	for _, c := range []struct {
		name    string
		result  kmod.Result
		tree    bool
		drives  bool
		rebuilt bool
		state   State
		action  Action // of the cause, if there is one
	}{
		{name: "the same", result: result(kmod.Same, nil), tree: true},
		{name: "another build, unused", result: result(kmod.Other, nil), tree: true, state: Stale, action: Reload},
		{name: "another build, used", result: result(kmod.Other, func(r *kmod.Result) { r.Loaded.Refcount = 1 }), tree: true, state: Stale, action: Reboot},
		{name: "another build, cannot be unloaded", result: result(kmod.Other, func(r *kmod.Result) { r.Loaded.Refcount = -1 }), tree: true, state: Stale, action: Reboot},
		{name: "another build, permanent", result: result(kmod.Other, func(r *kmod.Result) { r.Loaded.Permanent = true }), tree: true, state: Stale, action: Reboot},
		{name: "another build, held", result: result(kmod.Other, func(r *kmod.Result) { r.Loaded.Holders = []string{"n"} }), tree: true, state: Stale, action: Reboot},
		{name: "another build of a driver", result: result(kmod.Other, nil), tree: true, drives: true, state: Stale, action: Reboot},
		{name: "another build of a network module", result: result(kmod.Other, func(r *kmod.Result) { r.Found.Path = "/lib/modules/x/net/m.ko" }), tree: true, state: Stale, action: Reboot},
		{name: "another build, which was there at the boot", result: result(kmod.Other, func(r *kmod.Result) {
			r.Found.Path, r.Loaded.Refcount = "/lib/modules/x/old.ko", 1
		}), tree: true, state: Stale, action: None},
		{name: "another build of all", result: result(kmod.Other, nil), tree: true, rebuilt: true, state: Stale},
		{name: "of no file", result: result(kmod.Gone, nil), tree: true, state: Ignored},
		{name: "not told", result: result(kmod.Unknown, nil), tree: true, state: Unknown, action: None},
		{name: "not told, nothing is installed", result: result(kmod.Unknown, nil), state: Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{modules: []kmod.Result{c.result}, booted: bootedAt, changed: map[string]time.Time{"/lib/modules/x/m.ko": after, "/lib/modules/x/net/m.ko": after, "/lib/modules/x/old.ko": before}}
			if m.running.Release = "x"; c.tree {
				m.trees = []string{"x"}
			}
			s, causes := judgeModules(m, c.rebuilt, func(string) bool { return c.drives })
			if (c.state == "") != (len(s.Listed) == 0) || c.state != "" && s.Listed[0].State != c.state {
				t.Errorf("%+v", s)
			}
			if (c.action == "") != (len(causes) == 0) || c.action != "" && causes[0].Action != c.action {
				t.Errorf("causes %+v", causes)
			}
			if s.Loaded != s.Current+s.Stale+s.NotInstalled+s.Unknown {
				t.Errorf("counts %+v", s)
			}
		})
	}
}

func TestRebootVerdict(t *testing.T) {
	kernelCause := Cause{State: Stale, Reason: KernelOutdated, Action: Reboot, Need: NeedReboot, Why: "an old kernel"}
	covered := kernelCause
	covered.Need = NeedAdvised
	restarts := func(n, of int) *Report {
		r := &Report{Summary: Summary{Workloads: of}}
		for range n {
			r.Findings = append(r.Findings, Finding{State: Stale, Remedy: Remedy{Action: Restart, Disruptive: true}})
		}
		return r
	}
	for _, c := range []struct {
		name   string
		it     itself
		report *Report
		advice RebootAdvice
		need   Need
		why    string
	}{
		{name: "all is well", report: restarts(0, 50), need: NeedNone},
		{name: "an old kernel", it: itself{causes: []Cause{kernelCause}}, report: restarts(0, 50), need: NeedReboot, why: "an old kernel"},
		{name: "live patches cover it", it: itself{causes: []Cause{covered}}, report: restarts(0, 50), need: NeedAdvised, why: "an old kernel"},
		{name: "not known", it: itself{causes: []Cause{{State: Unknown, Action: None, Need: NeedUnknown, Why: "who knows"}}}, report: restarts(0, 50), need: NeedUnknown, why: "who knows"},
		{name: "a module to be loaded anew", it: itself{causes: []Cause{{State: Stale, Action: Reload, Need: NeedNone}}}, report: restarts(0, 50), need: NeedNone},
		{name: "an old kernel, and something not known", it: itself{causes: []Cause{kernelCause, {State: Unknown, Need: NeedUnknown, Why: "who knows"}}},
			report: restarts(0, 50), need: NeedReboot, why: "an old kernel; who knows"},
		{name: "another kernel boots next", it: itself{advice: []string{"another one"}}, report: restarts(0, 50), need: NeedAdvised, why: "another one"},
		{name: "somebody asks", it: itself{sentinels: []Sentinel{{Source: "/run/reboot-required", Packages: []string{"dbus"}, Counts: true}}},
			report: restarts(0, 50), need: NeedAdvised, why: "/run/reboot-required asks for it (dbus)"},
		{name: "somebody would ask", it: itself{sentinels: []Sentinel{{Source: "needs-restarting"}}}, report: restarts(0, 50), need: NeedNone},
		{name: "most is stale", report: restarts(25, 50), need: NeedAdvised, why: "25 of 50 workloads are to be restarted, 25 of which disrupts"},
		{name: "less is stale", report: restarts(24, 50), need: NeedNone},
		{name: "few run", report: restarts(9, 9), need: NeedNone},
		{name: "asked for less", report: restarts(10, 50), advice: RebootAdvice{Percent: 20}, need: NeedAdvised, why: "10 of 50"},
		{name: "never", report: restarts(50, 50), advice: RebootAdvice{Percent: -1}, need: NeedNone},
	} {
		v := rebootVerdict(&c.it, c.report, c.advice)
		if v.Need != c.need || !strings.Contains(strings.Join(v.Why, "; "), c.why) || v.Why == nil {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
