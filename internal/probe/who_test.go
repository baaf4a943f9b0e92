package probe

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// hasAreaIterator reports whether the kernel has iter/task_vma, by its own types.
func hasAreaIterator(t *testing.T) bool {
	t.Helper()
	btf, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	return err == nil && bytes.Contains(btf, []byte("bpf_iter_task_vma\x00"))
}

// What Who says of a process is what a full pass says, mappings and names aside.
func TestWho(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: iterators need root")
	}
	s, err := OpenSnapshot()
	if errors.Is(err, ErrUnavailable) && !hasAreaIterator(t) {
		t.Skipf("SKIPPED, NOT TESTED: no iterator over areas: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	who, err := s.Who(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[int]int)
	for i := range who {
		if who[i].Mappings != nil || who[i].Exe != "" || who[i].Aux != (snapshot.Aux{}) {
			t.Errorf("process %d has mappings, a name or a vector", who[i].PID)
		}
		known[who[i].PID] = i
	}
	compared := 0
	for _, p := range all {
		i, ok := known[p.PID]
		if !ok || who[i].Start != p.Start {
			continue // ended between the two
		}
		w := who[i]
		p.Mappings, p.Exe = nil, ""
		// Threads come and go.
		if p.TID != p.PID && w.TID != w.PID {
			w.TID = p.TID
		}
		a, b := p, w
		if a.PID != b.PID || a.TID != b.TID || a.InnerPID != b.InnerPID || a.MntNS != b.MntNS || a.PIDNS != b.PIDNS ||
			a.RootKey != b.RootKey || a.CgroupKey != b.CgroupKey || a.UID != b.UID || a.ForkNoExec != b.ForkNoExec {
			t.Errorf("got  %+v\nwant %+v", b, a)
		}
		compared++
	}
	// There is at least this process and the one that started it.
	if i, ok := known[os.Getpid()]; !ok || who[i].TID != os.Getpid() || compared < 2 {
		t.Errorf("%d processes compared", compared)
	}
}
