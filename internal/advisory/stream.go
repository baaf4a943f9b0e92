package advisory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxTotal bounds what one file may unfold to, in bytes. All of OSV has about 10 GiB.
const maxTotal = 64 << 30

var errTooLong = errors.New("too long")

// guard lets a decoder read only so far ahead of where it stands, for it keeps all
// of a value in memory.
type guard struct {
	ctx   context.Context
	r     io.Reader
	read  int64
	until int64
}

func (g *guard) Read(p []byte) (int, error) {
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	if g.read >= min(g.until, maxTotal) {
		return 0, errTooLong
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.until-g.read)])
	g.read += int64(n)
	return n, err
}

// stream is a JSON decoder whose values are bounded.
type stream struct {
	*json.Decoder
	guard *guard
}

func newStream(ctx context.Context, r io.Reader) *stream {
	g := &guard{ctx: ctx, r: r}
	return &stream{json.NewDecoder(g), g}
}

// allow lets the next value or token have so many bytes. It needs what is buffered
// to be read beyond by less than that.
func (s *stream) allow(n int64) { s.guard.until = max(s.guard.until, s.InputOffset()+n) }

// key reads the next key of the object that the stream is in, of at most maxName
// bytes; false is the end of the object, which has been read then.
func (s *stream) key() (string, bool, error) {
	s.allow(64 << 10)
	t, err := s.Token()
	if err != nil {
		return "", false, err
	}
	switch t := t.(type) {
	case string:
		if len(t) > maxName {
			return "", false, fmt.Errorf("a key of %d bytes", len(t))
		}
		return t, true, nil
	default:
		return "", false, nil // Only '}' can stand here.
	}
}

// open reads the bracket that a value begins with. If it is another value, that is
// read to its end, and what it was is a *shapeError.
func (s *stream) open(bracket json.Delim) error {
	s.allow(maxSkipped)
	t, err := s.Token()
	if err != nil || t == bracket {
		return err
	}
	if d, ok := t.(json.Delim); ok && (d == '{' || d == '[') {
		if err := s.close(); err != nil {
			return err
		}
	}
	return &shapeError{fmt.Sprintf("%.32v", t), bracket}
}

// shapeError says that a value is not an object, or not an array.
type shapeError struct {
	got  string
	want json.Delim
}

func (e *shapeError) Error() string { return fmt.Sprintf("%q where %q should begin", e.got, e.want) }

// maxSkipped bounds single values within what is skipped, in bytes, and maxNesting
// how deep they lie: the decoder remembers all that is open.
const (
	maxSkipped = 1 << 20
	maxNesting = 1000
)

// close reads to the end of the object or array that the stream is in.
func (s *stream) close() error {
	for depth := 1; depth > 0; {
		s.allow(maxSkipped)
		t, err := s.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxNesting {
				return errors.New("nested too deeply")
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

// skip reads past one value.
func (s *stream) skip() error {
	s.allow(maxSkipped)
	t, err := s.Token()
	if d, ok := t.(json.Delim); ok && err == nil && (d == '{' || d == '[') {
		return s.close()
	}
	return err
}

// mismatch tells errors after which the stream goes on behind the value.
func mismatch(err error) bool {
	var inside *json.UnmarshalTypeError
	var whole *shapeError
	return errors.As(err, &inside) || errors.As(err, &whole)
}

// kindOf tells from the beginning of a JSON text what it holds, empty if it is
// nothing that this package knows. It looks at the first key that decides; the text
// may be cut off anywhere.
func kindOf(begin []byte) string {
	d := json.NewDecoder(bytes.NewReader(begin))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for depth, key := 0, ""; depth >= 0; {
		t, err := d.Token()
		if err != nil {
			return kindByKey(key)
		}
		switch t := t.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
		case string:
			switch {
			case depth == 1 && (strings.HasPrefix(t, "CVE-") || strings.HasPrefix(t, "TEMP-")) && kindByKey(key) == "":
				return KindTracker
			case depth == 0 && key == "":
				key = t
				continue
			}
		}
		if depth == 0 {
			// The value is at its end.
			if kind := kindByKey(key); kind != "" {
				return kind
			}
			key = ""
		}
	}
	return ""
}

// kindByKey knows the keys that stand at the top of OSV's, Alpine's and CISA's files.
func kindByKey(key string) string {
	switch key {
	case "schema_version", "id", "modified", "published", "withdrawn", "aliases", "upstream", "related", "affected",
		"details", "summary", "severity", "references", "credits", "database_specific":
		return KindOSV
	case "apkurl", "archs", "reponame", "urlprefix", "distroversion":
		return KindSecDB
	case "catalogVersion", "dateReleased", "vulnerabilities":
		return KindKEV
	}
	return ""
}
