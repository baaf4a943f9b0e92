package docker

import "sync"

// cache holds what containers said of themselves. The zero value is empty.
type cache struct {
	mu      sync.Mutex
	entries map[string]*entry
}

// entry is one question to a container, and its answer once there is one.
type entry struct {
	state    string
	answered bool
	known    *details
}

// get returns the answer that the container gave in that state; it may be nil.
func (c *cache) get(id, state string) (*details, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e == nil || !e.answered || e.state != state {
		return nil, false
	}
	return e.known, true
}

// ask notes that the container is being asked.
func (c *cache) ask(id, state string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &entry{state: state}
	if c.entries == nil {
		c.entries = make(map[string]*entry)
	}
	c.entries[id] = e
	return e
}

// answer notes the answer, unless it was asked anew or forgotten meanwhile: then
// the answer may be from before.
func (c *cache) answer(id string, question *entry, known *details) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[id] == question {
		question.answered, question.known = true, known
	}
}

// forget drops what one container said.
func (c *cache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, id)
}

// forgetAll drops everything.
func (c *cache) forgetAll() { c.keep(nil) }

// keep drops what containers said that are not listed, or were in another state: one
// that was seen to end is another process when it is seen to run again.
func (c *cache) keep(all []listed) {
	states := make(map[string]string, len(all))
	for _, l := range all {
		states[l.ID] = l.State
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, e := range c.entries {
		if state, ok := states[id]; !ok || state != e.state {
			delete(c.entries, id)
		}
	}
}
