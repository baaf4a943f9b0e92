package proc

import "io"

// parseRelocated asks the text of smaps about one address.
func parseRelocated(r io.Reader, addr uint64) (int64, bool, error) {
	rel, err := parseSmaps(r)
	if err != nil {
		return 0, false, err
	}
	n, ok := rel.Bytes(addr)
	return n, ok, nil
}

// relocatedBytes asks a live process about one address.
func relocatedBytes(p *Process, addr uint64) (int64, bool, error) {
	rel, err := p.Relocated()
	if err != nil {
		return 0, false, err
	}
	n, ok := rel.Bytes(addr)
	return n, ok, nil
}
