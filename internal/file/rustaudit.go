package file

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// rustSection holds the audit data of cargo-auditable (PARSING.md and
// cargo-auditable.schema.json there): a zlib stream of one JSON object.
const rustSection = ".dep-v0"

// Limits of the audit data.
const (
	maxAuditPacked = 512 << 10 // bytes in the file; that of 11 crates has 237
	maxAudit       = 8 << 20   // bytes of JSON, as cargo-auditable recommends
)

// crate is one of the packages of the audit data. Whom it depends on is not read.
type crate struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Source  string `json:"source"`
	Kind    string `json:"kind"` // "runtime", which may be absent, or "build"
	Root    bool   `json:"root"`
}

// readCrates reads the audit data of a section.
func (m *moduleFile) readCrates(s section) error {
	if err := m.holds(s); err != nil {
		return err
	}
	if s.size > maxAuditPacked {
		return formatErrorf(s.entry, "audit data of %d bytes", s.size)
	}
	packed, err := m.copyAt(s.off, int(s.size))
	if err != nil {
		return err
	}
	m.found = true
	stream, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return formatErrorf(s.off, "audit data: %w", err)
	}
	// One byte more than allowed tells too much from just enough.
	limited := &io.LimitedReader{R: stream, N: maxAudit + 1}
	err = parseCrates(limited, func(c crate) {
		mod := Module{Path: c.Name, Version: c.Version, Source: c.Source}
		if c.Source == EcosystemCrate {
			mod.Ecosystem = EcosystemCrate
		}
		switch {
		case c.Kind == "build":
		case c.Root:
			m.setMain(mod, s.off)
		default:
			m.add(mod, s.off)
		}
	})
	if limited.N <= 0 {
		return formatErrorf(s.off, "audit data of more than %d bytes", maxAudit)
	}
	if err != nil {
		return formatErrorf(s.off, "audit data: %w", err)
	}
	return nil
}

// parseCrates gives every package of the audit data to use, those before a fault
// too. Unknown keys are allowed: new ones come in compatible revisions.
func parseCrates(r io.Reader, use func(crate)) error {
	d := json.NewDecoder(r)
	if err := expect(d, json.Delim('{')); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if key != "packages" {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return err
			}
			continue
		}
		if err := expect(d, json.Delim('[')); err != nil {
			return err
		}
		for d.More() {
			var c crate
			if err := d.Decode(&c); err != nil {
				return err
			}
			use(c)
		}
		if err := expect(d, json.Delim(']')); err != nil {
			return err
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return err
	}
	// The end of the stream holds its checksum.
	switch _, err := d.Token(); {
	case err == nil:
		return errors.New("text after the end")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// expect reads one token, which is to be want.
func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && got != want {
		err = fmt.Errorf("%v at %d instead of %v", got, d.InputOffset(), want)
	}
	return err
}
