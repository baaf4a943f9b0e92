package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Limits of what systemd-logind says of a session: bytes of all, and of one value.
const (
	maxSession      = 64 << 10
	maxSessionValue = 256
)

// Session is a login session as systemd-logind keeps it. What it does not say is
// empty.
type Session struct {
	UID  uint32
	User string
	// Terminal is that of the login without "/dev/", "pts/3" or "tty1", or else the
	// X display, ":0". For logins by ssh it is mostly empty, since sshd makes the
	// terminal after the session: the processes of the session tell it.
	Terminal string
	Remote   string // host from which the user came, as the login program calls it
	Service  string // PAM service: "sshd", "login"
}

// ParseSession reads a file of /run/systemd/sessions, as session_save of systemd's
// src/login/logind-session.c writes it: assignments, one a line. It calls the format
// private; so everything but the user's number may be missing, and lines that are
// not known, or do not fit, do not count. Values that are long, or not graphic ASCII,
// are as good as missing: the host is what whoever logged in made of it.
func ParseSession(r io.Reader) (Session, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSession+1))
	if err != nil {
		return Session{}, fmt.Errorf("session: %w", err)
	}
	if len(data) > maxSession {
		return Session{}, fmt.Errorf("session: more than %d bytes", maxSession)
	}
	var s Session
	var display string
	known := false
	for line := range bytes.Lines(data) {
		name, quoted, _ := strings.Cut(string(bytes.TrimSpace(line)), "=")
		value, err := unquote(quoted)
		if err != nil || !isGraphic(value) {
			continue
		}
		switch name {
		case "UID":
			uid, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return Session{}, errors.New("session: the user's number is none")
			}
			s.UID, known = uint32(uid), true
		case "USER":
			s.User = value
		case "TTY":
			s.Terminal = strings.TrimPrefix(value, "/dev/")
		case "DISPLAY":
			display = value
		case "REMOTE_HOST":
			s.Remote = value
		case "SERVICE":
			s.Service = value
		}
	}
	if !known {
		return Session{}, errors.New("session: no user")
	}
	if s.Terminal == "" {
		s.Terminal = display
	}
	return s, nil
}

func isGraphic(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxSessionValue
}

// ReadSession reads what systemd-logind knows of the session id of a root. An id
// that can be none, and one that is not known, give fs.ErrNotExist.
func ReadSession(root *file.Root, id string) (Session, error) {
	name := "/run/systemd/sessions/" + id
	if !isSessionID(id) {
		return Session{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := root.Open(name)
	if err != nil {
		return Session{}, err
	}
	defer f.Close()
	s, err := ParseSession(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), err)
	}
	return s, err
}

// isSessionID is session_id_valid of systemd's src/login/logind-session.c, with a
// bound: ASCII letters and digits.
func isSessionID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return id != "" && len(id) <= maxSessionValue
}
