package api

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats counts what went through the door since the start.
type Stats struct {
	// Connections and Streams are how many are open now.
	Connections int
	Streams     int
	Accepted    uint64
	// Refused counts, by why: forbidden, connections, judgements, streams. Those
	// that were refused a connection are in no other count.
	Refused map[string]uint64
	// Dropped counts streams that ended because their reader did not read.
	Dropped uint64
	// Requests counts by endpoint, "other" for what is none, and HTTP status.
	Requests map[string]map[int]uint64
}

// stats are the counters; many goroutines count.
type stats struct {
	accepted, dropped atomic.Uint64

	mu       sync.Mutex
	refused  map[string]uint64
	requests map[string]map[int]uint64
}

func newStats() *stats {
	// A count that is there from the start can be seen to move.
	refused := map[string]uint64{"forbidden": 0, "connections": 0, "judgements": 0, "streams": 0}
	return &stats{refused: refused, requests: make(map[string]map[int]uint64)}
}

func (s *stats) refuse(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[why]++
}

func (s *stats) request(endpoint string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[endpoint] == nil {
		s.requests[endpoint] = make(map[int]uint64)
	}
	s.requests[endpoint][code]++
}

// snapshot copies the counters.
func (s *stats) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{
		Accepted: s.accepted.Load(), Dropped: s.dropped.Load(),
		Refused: maps.Clone(s.refused), Requests: make(map[string]map[int]uint64, len(s.requests)),
	}
	for endpoint, codes := range s.requests {
		out.Requests[endpoint] = maps.Clone(codes)
	}
	return out
}
