package host

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"
)

// sshSession and loginSession are what systemd-logind 252 wrote for a login by
// OpenSSH 9.2, with another address, and for one by login(1). That of ssh has no
// terminal, because sshd makes it later; logind learns of it without writing it down.
const sshSession = `# This is private data. Do not parse.
UID=1000
USER=alice
ACTIVE=1
IS_DISPLAY=1
STATE=active
REMOTE=1
TYPE=tty
ORIGINAL_TYPE=tty
CLASS=user
SCOPE=session-9.scope
FIFO=/run/systemd/sessions/9.ref
REMOTE_HOST=192.0.2.7
SERVICE=sshd
POSITION=0
LEADER=90
AUDIT=9
REALTIME=1795339067260985
MONOTONIC=45390899564
`

const loginSession = `# This is private data. Do not parse.
UID=1000
USER=alice
ACTIVE=1
IS_DISPLAY=0
STATE=active
REMOTE=0
TYPE=tty
ORIGINAL_TYPE=tty
CLASS=user
SCOPE=session-11.scope
FIFO=/run/systemd/sessions/11.ref
TTY=pts/1
TTY_VALIDITY=from-pam
SERVICE=login
POSITION=0
LEADER=108
AUDIT=11
REALTIME=1795339094316452
MONOTONIC=45417955030
`

func TestParseSession(t *testing.T) {
	tests := []struct {
		name, in string
		want     Session
		wantErr  string
	}{
		{"ssh", sshSession, Session{1000, "alice", "", "192.0.2.7", "sshd"}, ""},
		{"login", loginSession, Session{1000, "alice", "pts/1", "", "login"}, ""},
		{"console", "UID=0\nUSER=root\nSEAT=seat0\nTTY=/dev/tty1\nSERVICE=login\nVTNR=1\n", Session{0, "root", "tty1", "", "login"}, ""},
		{"desktop", "UID=1000\nUSER=alice\nDISPLAY=:0\nSERVICE=gdm-password\n", Session{1000, "alice", ":0", "", "gdm-password"}, ""},
		{"desktop on a terminal", "UID=1000\nDISPLAY=:0\nTTY=tty2\n", Session{1000, "", "tty2", "", ""}, ""},
		{"quoted", "UID=\"1000\"\nREMOTE_HOST=\"fe80::1%eth0\"\n", Session{UID: 1000, Remote: "fe80::1%eth0"}, ""},
		{"hostile host", "UID=1000\nREMOTE_HOST=\x1b[31mred\nTTY=pts/3\u202e\nSERVICE=" + strings.Repeat("x", maxSessionValue+1) + "\n", Session{UID: 1000}, ""},
		{"rubbish", "\x00\nUID=1000\nTTY=\"\nUSER\n=\n", Session{UID: 1000}, ""},
		{"no user", "USER=alice\nTTY=pts/3\n", Session{}, "no user"},
		{"empty", "", Session{}, "no user"},
		{"user is no number", "UID=alice\n", Session{}, "number"},
		{"user is too large", "UID=4294967296\n", Session{}, "number"},
		{"too large", sshSession + strings.Repeat("\n", maxSession), Session{}, "more than 65536 bytes"},
	}
	for _, tt := range tests {
		got, err := ParseSession(strings.NewReader(tt.in))
		if got != tt.want {
			t.Errorf("%s: got %+v", tt.name, got)
		}
		if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.wantErr)
		}
	}
	broken := errors.New("broken")
	if got, err := ParseSession(io.MultiReader(strings.NewReader("UID=1"), iotest.ErrReader(broken))); got != (Session{}) || !errors.Is(err, broken) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadSession(t *testing.T) {
	root := rootWith(t, map[string]string{
		"run/systemd/sessions/3":     loginSession,
		"run/systemd/sessions/c1":    "broken",
		"run/systemd/sessions/3.ref": sshSession,
		"run/secret":                 sshSession,
	})
	if s, err := ReadSession(root, "3"); err != nil || s.Terminal != "pts/1" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ReadSession(root, "c1"); err == nil || !strings.Contains(err.Error(), "sessions/c1: session: no user") {
		t.Errorf("got %v", err)
	}
	for _, id := range []string{"4", "", ".", "../secret", "3.ref", "3/", strings.Repeat("1", maxSessionValue+1)} {
		if s, err := ReadSession(root, id); !errors.Is(err, fs.ErrNotExist) || s != (Session{}) {
			t.Errorf("%q: %+v, %v", id, s, err)
		}
	}
}

func FuzzParseSession(f *testing.F) {
	f.Add(sshSession)
	f.Add(loginSession)
	f.Add("UID=1\nTTY=/dev/\nDISPLAY=\":0\"\nREMOTE_HOST='a'\n")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSession(strings.NewReader(in))
		if err != nil && s != (Session{}) {
			t.Fatalf("%+v beside %v", s, err)
		}
		for _, v := range []string{s.User, s.Terminal, s.Remote, s.Service} {
			if v != "" && !isGraphic(v) {
				t.Fatalf("%+v", s)
			}
		}
	})
}
