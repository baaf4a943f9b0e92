// Package workloadtest is the contract of workload sources, as a test suite
// that every one of them runs.
package workloadtest

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Source is what a workload source offers.
type Source interface {
	Identify(workload.Process) (workload.Workload, bool)
}

// Run holds a source to the contract. It must claim each of claimed and none of
// unclaimed; both should be taken from real machines, as every hostile process
// that the suite tries is a variation of them.
func Run(t *testing.T, source Source, claimed, unclaimed []workload.Process) {
	if len(claimed) == 0 || len(unclaimed) == 0 {
		t.Fatal("the suite needs processes that the source claims, and some that it does not")
	}
	t.Run("claims", func(t *testing.T) {
		for _, p := range claimed {
			if _, ok := source.Identify(p); !ok {
				t.Errorf("not claimed: %#v", p)
			}
		}
	})
	t.Run("leaves to others", func(t *testing.T) {
		for _, p := range unclaimed {
			if w, ok := source.Identify(p); ok {
				t.Errorf("claimed %#v as %#v", p, w)
			}
		}
		if w, ok := source.Identify(workload.Process{}); ok {
			t.Errorf("claimed a process of which nothing is known as %#v", w)
		}
	})

	given := slices.Concat(claimed, unclaimed)
	all := slices.Clone(given)
	for _, p := range given {
		all = append(all, Hostile(p)...)
	}
	t.Run("workloads are sound", func(t *testing.T) {
		for _, p := range all {
			w, ok := source.Identify(p)
			if err := Check(p, w, ok); err != nil {
				t.Errorf("%#v: %v", p, err)
			}
		}
	})
	t.Run("same input, same answer", func(t *testing.T) { same(t, source, all) })
	t.Run("same key, same workload", func(t *testing.T) { keys(t, source, all) })
}

// same asks twice, the second time concurrently and after the first answer and
// its argument have been written to.
func same(t *testing.T, source Source, all []workload.Process) {
	var wg sync.WaitGroup
	for _, p := range all {
		before := slices.Clone(p.Cgroups)
		first, ok := source.Identify(p)
		if !slices.Equal(before, p.Cgroups) {
			t.Fatalf("%#v: the source changed its argument", p)
		}
		want := first
		want.Command = slices.Clone(first.Command)
		for i := range first.Command {
			first.Command[i] = "overwritten"
		}
		wg.Go(func() {
			again, okAgain := source.Identify(p)
			if ok != okAgain || !reflect.DeepEqual(want, again) {
				t.Errorf("%#v:\n first %#v\n then  %#v", p, want, again)
			}
		})
	}
	wg.Wait()
}

// keys holds that a key means one thing only.
func keys(t *testing.T, source Source, all []workload.Process) {
	type thing struct {
		kind         workload.Kind
		name, target string
	}
	seen := map[string]thing{}
	for _, p := range all {
		w, ok := source.Identify(p)
		if !ok {
			continue
		}
		now := thing{w.Kind, w.Name, w.Target}
		if before, ok := seen[w.Key]; ok && before != now {
			t.Errorf("key %+q means %+q and %+q", w.Key, before, now)
		}
		seen[w.Key] = now
	}
}

// Check reports whether an answer keeps the contract. Names may hold any bytes,
// since whoever prints them escapes them; commands may be run as they stand,
// so nothing that a process or a cgroup is called may act in one.
func Check(p workload.Process, w workload.Workload, ok bool) error {
	if !ok {
		if !reflect.DeepEqual(w, workload.Workload{}) {
			return fmt.Errorf("not claimed, yet something is returned: %#v", w)
		}
		return nil
	}
	if !slices.Contains(kinds, w.Kind) {
		return fmt.Errorf("unknown kind %+q", w.Kind)
	}
	if w.Name == "" || w.Key == "" || w.Target == "" {
		return fmt.Errorf("name, key or target is empty: %#v", w)
	}
	if w.Disruptive != (w.DisruptiveWhy != "") {
		return errors.New("disruptive without a reason, or a reason without being so")
	}
	if len(w.Command) == 0 {
		if w.Disruptive {
			return errors.New("disruptive without a command")
		}
		if w.Advice == "" {
			return errors.New("neither a command nor an advice")
		}
		return nil
	}
	return checkCommand(p, w.Command)
}

var kinds = []workload.Kind{
	workload.KindUnit, workload.KindUserUnit, workload.KindContainer, workload.KindPod,
	workload.KindSession, workload.KindProcess, workload.KindHost,
}

func checkCommand(p workload.Process, command []string) error {
	if !isProgram(command[0]) {
		return fmt.Errorf("%+q is not the plain name of a program", command[0])
	}
	switch command[0] {
	case "sh", "bash", "env", "eval", "xargs", "sudo":
		return fmt.Errorf("%q evaluates its arguments", command[0])
	}
	named := pieces(p)
	options := true
	for _, arg := range command {
		if arg == "" {
			return fmt.Errorf("empty argument in %+q", command)
		}
		if !utf8.ValidString(arg) || strings.ContainsFunc(arg, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			return fmt.Errorf("argument %+q is not plain text", arg)
		}
		options = options && arg != "--"
		if options && strings.HasPrefix(arg, "-") && slices.Contains(named, arg) {
			return fmt.Errorf("the option %+q in %+q is what the target calls itself", arg, command)
		}
	}
	return nil
}

func isProgram(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// pieces are the words that a process and its cgroups brought along.
func pieces(p workload.Process) []string {
	words := []string{p.Comm, p.Exe, path.Base(p.Exe)}
	for _, c := range p.Cgroups {
		for name := range strings.SplitSeq(c.Path, "/") {
			words = append(words, name, strings.TrimPrefix(name, "_"))
		}
	}
	return words
}
