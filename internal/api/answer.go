package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
)

// problem is an answer that is not what was asked for.
type problem struct {
	code int
	// Message says what is wrong, Help what to do about it.
	Message string `json:"error"`
	Help    string `json:"help"`
	// retry is after how many seconds to ask again, if that helps.
	retry int
}

func (p *problem) Error() string { return p.Message }

func (p *problem) document() []byte {
	// Two strings can always be encoded.
	b, _ := encode(p)
	return b
}

// The answers that need to know nothing of the question.
var (
	errForbidden = &problem{code: http.StatusForbidden, Message: "this user may not ask the sensor",
		Help: "ask as root, or as a member of the group that the sensor's configuration names"}
	errCrowded = &problem{code: http.StatusServiceUnavailable, retry: 1, Message: "too many connections are open",
		Help: "close some, or ask again later"}
	errBusy = &problem{code: http.StatusServiceUnavailable, retry: 1, Message: "too many questions wait for an answer",
		Help: "ask again later"}
	errStreams = &problem{code: http.StatusServiceUnavailable, retry: 10, Message: "too many streams of events are open",
		Help: "close some, or ask again later"}
	errEnding = &problem{code: http.StatusServiceUnavailable, retry: 5, Message: "the sensor is ending",
		Help: "ask again when it runs again, or scan without it"}
	errSlow = &problem{code: http.StatusServiceUnavailable, retry: 10, Message: "judging all that runs did not end in time",
		Help: "ask again later; /v1/status tells how long it took the last time"}
)

// encode makes one line of JSON. What could drive a terminal, reorder text or
// hide it is spelled out, which JSON allows in any string, so that what comes
// from a process or a package can be looked at with any tool.
func encode(document any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return nil, err
	}
	return printable(b.Bytes()), nil
}

// printable replaces each character that cannot be shown by \uNNNN, in pairs of
// surrogates above U+FFFF (RFC 8259, section 7). In a JSON document on one line
// such a character can only be part of a string.
func printable(line []byte) []byte {
	plain := 0
	for plain < len(line) && (' ' <= line[plain] && line[plain] <= '~' || line[plain] == '\n') {
		plain++
	}
	if plain == len(line) {
		return line
	}
	out := bytes.NewBuffer(make([]byte, 0, len(line)+64))
	out.Write(line[:plain])
	for i := plain; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.Write(line[i : i+n])
		case r <= 0xffff:
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		i += n
	}
	return out.Bytes()
}

// paced writes an answer in pieces, each of which the client has to take in
// time: who reads slowly gets all of it, who does not read is let go.
type paced struct {
	w     http.ResponseWriter
	grace time.Duration
}

// piece is less than what fits into the buffers of a unix socket, in bytes.
const piece = 64 << 10

func (p paced) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		p.extend()
		n, err := p.w.Write(b[:min(len(b), piece)])
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

// Flush sends what is buffered.
func (p paced) Flush() error {
	p.extend()
	return http.NewResponseController(p.w).Flush()
}

func (p paced) extend() {
	// A connection without deadlines is only that of a test.
	_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(p.grace))
}

// send answers with one document of JSON.
func (h *handler) send(w http.ResponseWriter, code int, document []byte) error {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(document)))
	w.WriteHeader(code)
	out := paced{w, h.limits.progress}
	if _, err := out.Write(document); err != nil {
		return err
	}
	return out.Flush()
}

// sendDocument answers with what a question was answered with.
func (h *handler) sendDocument(w http.ResponseWriter, document any) error {
	b, err := encode(document)
	if err != nil {
		return err
	}
	return h.send(w, http.StatusOK, b)
}

var _ io.Writer = paced{}
