package perf

// maxNames is the memory in bytes of each of the two generations of names.
const maxNames = 1 << 20

// names holds each name once, however many records carry it. A name that was not
// asked for while one generation filled up is forgotten with the next, so that
// processes that make up names cannot fill the memory.
type names struct {
	young, old map[string]string
	size       int // of young, in bytes
}

func newNames() *names { return &names{young: make(map[string]string)} }

func (n *names) get(b []byte) string {
	if s, ok := n.young[string(b)]; ok {
		return s
	}
	s, ok := n.old[string(b)]
	if !ok {
		s = string(b)
	}
	const entry = 64 // two string headers and their share of the map
	if n.size += len(s) + entry; n.size > maxNames {
		n.old, n.young, n.size = n.young, make(map[string]string), len(s)+entry
	}
	n.young[s] = s
	return s
}
