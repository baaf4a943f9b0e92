package probe

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/patchsensor/patchsensor/internal/perf"
)

// settling is how long a mark stands after it was made by a hook that comes before
// the mapping: who looks at once would not find it.
const settling = 20 * time.Millisecond

// marks are the processes that are to be looked at: of the kernel's map, and in
// TierPerf of this side.
type marks struct {
	mu    sync.Mutex
	table *ebpf.Map
	limit int
	own   map[int]struct{}
	lost  atomic.Uint64 // for want of room in own
	// unmarked is what the tally said last of losses without a mark.
	unmarked uint64
	keys     []uint32
	values   []uint64
}

const markBatch = 4 << 10

func newMarks(table *ebpf.Map, limit int) *marks {
	n := min(limit, markBatch)
	return &marks{table: table, limit: limit, own: make(map[int]struct{}), keys: make([]uint32, n), values: make([]uint64, n)}
}

// mark marks a process on this side.
func (m *marks) mark(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.own[pid]; !ok && len(m.own) >= m.limit {
		m.lost.Add(1)
		return
	}
	m.own[pid] = struct{}{}
}

// forget takes the mark from a process that has ended.
func (m *marks) forget(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.own, pid)
}

// TakeDirty returns and forgets the processes that are marked: those that ran or
// mapped something new, whether that was told or not, and those of which something
// could not be told. They may have ended since, and one that is just about to
// map something is given again by the next call. What TierPerf tells of mappings
// marks when Run reads it. It is complete if nothing was
// lost since the last call that could not even be marked; else all processes have
// to be looked at.
func (t *Tracer) TakeDirty() (pids []int, complete bool) {
	m := t.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	complete = m.take(&pids)
	for pid := range m.own {
		pids = append(pids, pid)
	}
	clear(m.own)
	// Counters are read last: what is not marked is counted after it failed.
	now, err := t.tally()
	if err != nil || now.unmarked() != m.unmarked {
		complete = false
	}
	if err == nil {
		m.unmarked = now.unmarked()
	}
	return pids, complete
}

// take empties the kernel's map and puts back what has to settle.
func (m *marks) take(pids *[]int) bool {
	recently := uint64(perf.Now() - settling)
	complete := true
	var cursor ebpf.MapBatchCursor
	var again []uint32
	var since []uint64
	for {
		n, err := m.table.BatchLookupAndDelete(&cursor, m.keys, m.values, nil)
		for i := range n {
			*pids = append(*pids, int(m.keys[i]))
			if m.values[i] > recently {
				again, since = append(again, m.keys[i]), append(since, m.values[i])
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			complete = false
			break
		}
	}
	for i, pid := range again {
		// A newer mark stands.
		err := m.table.Update(pid, since[i], ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			complete = false
		}
	}
	return complete
}
