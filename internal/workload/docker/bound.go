package docker

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// ErrTooLarge says that an answer is larger than any engine has reason to give.
var ErrTooLarge = errors.New("answer is too large")

// The bounds of what an engine may answer: counts, and lengths in bytes.
const (
	maxHeader     = 64 << 10
	maxList       = 64 << 20 // the answer that lists all containers
	maxListed     = 1 << 20  // one container of it
	maxAnswer     = 2 << 20  // any other answer
	maxEvent      = 1 << 20  // one event of the endless answer
	maxContainers = 20_000
	maxLayers     = 512 // overlayfs stacks 500
	maxLabels     = 256
	maxNames      = 256
	maxString     = 4096
	maxMessage    = 1024
)

// bounded is a transport whose answers end with ErrTooLarge where they are longer
// than their kind may be.
type bounded struct{ base http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := limitedBody{ReadCloser: resp.Body, left: maxAnswer, size: maxAnswer}
	switch {
	case strings.HasSuffix(req.URL.Path, "/events"):
		limit.left, limit.size, limit.lines = maxEvent, maxEvent, true
	case strings.HasSuffix(req.URL.Path, "/containers/json"):
		limit.left, limit.size = maxList, maxList
	}
	resp.Body = &limit
	return resp, nil
}

// limitedBody is a body of at most size bytes; with lines, each line of it is.
type limitedBody struct {
	io.ReadCloser
	left, size int
	lines      bool
}

func (l *limitedBody) Read(p []byte) (int, error) {
	// One byte more than is left tells an end from an excess.
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	if l.lines {
		if end := bytes.LastIndexByte(p[:n], '\n'); end >= 0 {
			l.left = l.size - (n - end - 1)
			return n, err
		}
	}
	if l.left -= n; l.left < 0 {
		l.left = 0
		return 0, ErrTooLarge
	}
	return n, err
}

// clip shortens a string to at most limit bytes, at the end of a rune.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// directory returns the path if it names one directory in one way only, else "".
func directory(path string) string {
	if len(path) > maxString || !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return ""
	}
	return path
}

// isHex reports whether the string is hexadecimal in small letters, as identifiers
// and digests are.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return s != ""
}

// isDigest reports whether the string is a digest in the form of the OCI image
// specification, by one of the two algorithms that it registers for images.
func isDigest(s string) bool {
	algorithm, sum, _ := strings.Cut(s, ":")
	return isHex(sum) && (algorithm == "sha256" && len(sum) == 64 || algorithm == "sha512" && len(sum) == 128)
}
