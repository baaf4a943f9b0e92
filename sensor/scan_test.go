package sensor

import (
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/snapshot"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// TestAdopt holds since when each process can have had its memory, whatever the
// order in which the processes are listed.
func TestAdopt(t *testing.T) {
	aux := snapshot.Aux{Phdr: 1, Phnum: 2, ExecFn: 3}
	list := []snapshot.Process{
		// A child that has a lower number than its parent and the same start.
		{PID: 5, PPID: 9, Start: 10 * time.Second, ForkNoExec: true, Aux: aux},
		{PID: 6, PPID: 5, Start: 20 * time.Second, ForkNoExec: true, Aux: aux},
		{PID: 9, PPID: 1, Start: 10 * time.Second, Aux: aux},
		// Its parent is gone; the reaper has another memory.
		{PID: 7, PPID: 1, Start: 30 * time.Second, ForkNoExec: true, Aux: aux},
		{PID: 1, Start: time.Second, Aux: snapshot.Aux{Phdr: 4}},
		{PID: 8, PPID: 9, Start: 40 * time.Second, Aux: snapshot.Aux{Phdr: 5}},
		// A circle, which only a hostile procfs can show.
		{PID: 20, PPID: 21, Start: 50 * time.Second, ForkNoExec: true},
		{PID: 21, PPID: 20, Start: 50 * time.Second, ForkNoExec: true},
	}
	for range 2 {
		sc := &scan{boot: snapshot.BootTime(start), byPID: make(map[int]*process)}
		sc.adopt(inputsOf(list))
		for pid, want := range map[int]time.Duration{5: 10, 6: 10, 9: 10, 7: 30, 1: 1, 8: 40, 20: 50, 21: 50} {
			if got := sc.byPID[pid].started; !got.Equal(start.Add(want * time.Second)) {
				t.Errorf("process %d started %v after boot, want %d s", pid, got.Sub(start), want)
			}
		}
		if !sc.byPID[7].inherited || sc.byPID[6].inherited || sc.byPID[8].inherited {
			t.Error("inherited memory is not told apart")
		}
		for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
			list[i], list[j] = list[j], list[i]
		}
	}
}

// A process keeps number and start when it calls execve: what is then seen through
// it is not what the snapshot listed.
func TestLoadedIs(t *testing.T) {
	l := &loaded{id: file.LayerID(254<<20, 77)}
	same := file.Info{ID: file.StatID(uint64(file.KernelDev(254<<20)), 77)}
	other := file.Info{ID: file.StatID(uint64(file.KernelDev(254<<20)), 78)}
	if !l.is(same, nil, nil) {
		t.Error("the same numbers are another file")
	}
	if l.is(other, nil, nil) {
		t.Error("another inode of the same device is the same file")
	}
}

func TestParseShebang(t *testing.T) {
	for _, c := range []struct {
		head, interp string
		script       bool
	}{
		{"#!/bin/sh\n", "/bin/sh", true},
		{"#! /usr/bin/perl -w\nuse strict", "/usr/bin/perl", true},
		{"#!\t/usr/bin/python3\r\n", "/usr/bin/python3\r", true},
		{"#!/usr/bin/env python3\n", "", true},
		{"#!relative\n", "", true},
		{"#!", "", true},
		{"#!/no/newline", "/no/newline", true},
		{"\x7fELF", "", false},
		{"", "", false},
	} {
		interp, script := parseShebang([]byte(c.head))
		if interp != c.interp || script != c.script {
			t.Errorf("%q: %q, %v", c.head, interp, script)
		}
	}
}

func FuzzParseShebang(f *testing.F) {
	f.Add([]byte("#! /bin/sh -e\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		interp, script := parseShebang(head)
		if interp != "" && (!script || interp[0] != '/' || len(interp) > len(head)) {
			t.Errorf("%q: %q, %v", head, interp, script)
		}
	})
}

// Beside a package that is stale, one that could not be judged is not listed.
func TestTallyPackages(t *testing.T) {
	stale := owner.Package{Manager: "dpkg", Name: "a", Version: "2", State: owner.StateInstalled}
	open := owner.Package{Manager: "dpkg", Name: "b", Version: "2", State: "half-installed"}
	names := func(states map[string]State) (list []string) {
		tl := newTally(nil)
		for _, p := range []owner.Package{stale, open} {
			if s, ok := states[p.Name]; ok {
				tl.add(nil, p, "", EvidenceUnknown, s)
			}
		}
		for _, p := range tl.packages(t.Context(), nil) {
			list = append(list, p.Name+p.Installed.State)
		}
		return list
	}
	for _, c := range []struct {
		states map[string]State
		want   string
	}{
		{map[string]State{"a": Stale, "b": Unknown}, "a"},
		{map[string]State{"b": Unknown}, "bhalf-installed"},
		{map[string]State{"a": Missing, "b": Stale}, "a bhalf-installed"},
	} {
		got := ""
		for i, n := range names(c.states) {
			if i > 0 {
				got += " "
			}
			got += n
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.states, got, c.want)
		}
	}
}

// That a container's image is superseded by one without a difference is said only of what
// was compared, and of an image that is known.
func TestNoticeNeedsEvidence(t *testing.T) {
	known := &workload.Container{ImageID: "sha256:old"}
	for _, c := range []struct {
		name  string
		cmp   comparison
		said  bool
		state State
	}{
		{"compared", comparison{container: known, compared: 1}, true, Effective},
		{"older there", comparison{container: known, back: "a from 2 to 1"}, true, Effective},
		{"nothing compared, in another root", comparison{container: known}, false, ""},
		{"nothing compared, in a root that is not known", comparison{container: known, strange: true}, true, Unknown},
		{"something could not be compared", comparison{container: known, compared: 9, unsure: errNotUnpacked}, true, Unknown},
		{"made from nobody knows what", comparison{container: &workload.Container{}, compared: 1}, false, ""},
	} {
		if n, said := c.cmp.notice(); said != c.said || n.state != c.state {
			t.Errorf("%s: %q, %t", c.name, n.state, said)
		}
	}
}
