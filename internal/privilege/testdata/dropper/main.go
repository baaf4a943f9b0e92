// Command dropper drops its capabilities and shows, as one JSON document, what
// each of its threads has then.
//
//	dropper [-first CAPS] [-exec FILE] [-ambient CAPS] CAPS
//
// CAPS are numbers, separated by commas. -first drops once before; -exec says what
// FILE, a copy of this program, has when it is executed without arguments.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/privilege"
)

// answer is what the test reads.
type answer struct {
	Error    string
	Kept     privilege.Set
	Held     privilege.Set
	Threads  []map[string]string // the fields of /proc/self/task/TID/status
	Executed map[string]string   // those of the executed file
	ExecErr  string
	Raised   string // the error of taking one back
}

func main() {
	if len(os.Args) == 1 {
		show(status("/proc/self/status"))
		return
	}
	first := flag.String("first", "-", "")
	file := flag.String("exec", "", "")
	ambient := flag.String("ambient", "", "")
	flag.Parse()
	if *ambient != "" {
		makeAmbient(caps(*ambient))
	}
	occupy(8)
	var a answer
	if *first != "-" {
		if _, err := privilege.Drop(caps(*first)); err != nil {
			panic(err)
		}
	}
	var err error
	if a.Kept, err = privilege.Drop(caps(flag.Arg(0))); err != nil {
		a.Error = err.Error()
	}
	occupy(4) // threads that are made afterwards
	if a.Held, err = privilege.Held(); err != nil {
		panic(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		panic(err)
	}
	for _, t := range tasks {
		a.Threads = append(a.Threads, status(t))
	}
	if *file != "" {
		out, err := exec.Command(*file).Output()
		if err != nil {
			a.ExecErr = err.Error()
		} else if err := json.Unmarshal(out, &a.Executed); err != nil {
			panic(err)
		}
	}
	a.Raised = fmt.Sprint(raise(privilege.SetPCap))
	show(a)
}

func caps(list string) []privilege.Cap {
	var all []privilege.Cap
	for word := range strings.SplitSeq(list, ",") {
		if word == "" {
			continue
		}
		n, err := strconv.ParseUint(word, 10, 8)
		if err != nil {
			panic(err)
		}
		all = append(all, privilege.Cap(n))
	}
	return all
}

// occupy takes n more threads, which then never come back.
func occupy(n int) {
	var ready sync.WaitGroup
	for range n {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			select {}
		}()
	}
	ready.Wait()
}

func status(name string) map[string]string {
	text, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && (strings.HasPrefix(key, "Cap") || key == "NoNewPrivs") {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields
}

// makeAmbient makes capabilities inheritable and ambient in the thread that runs
// main, which is the one that the others come from.
func makeAmbient(all []privilege.Cap) {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		panic(err)
	}
	for _, c := range all {
		data[c/32].Inheritable |= 1 << (c % 32)
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		panic(err)
	}
	for _, c := range all {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			panic(err)
		}
	}
}

func raise(c privilege.Cap) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[c/32].Permitted |= 1 << (c % 32)
	data[c/32].Effective |= 1 << (c % 32)
	return unix.Capset(&header, &data[0])
}

func show(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		panic(err)
	}
}
