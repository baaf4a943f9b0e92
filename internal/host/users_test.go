package host

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseUsers(t *testing.T) {
	tests := []struct {
		name, in string
		want     Users
		wantErr  string
	}{
		{"empty", "", Users{}, ""},
		{"usual", "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:Alice,,,:/home/alice:/bin/sh\n", Users{0: "root", 1000: "alice"}, ""},
		{"first name counts", "root:x:0:0::/:\ntoor:x:0:0::/:\n", Users{0: "root"}, ""},
		{"no newline at the end", "a:x:1:1::/:", Users{1: "a"}, ""},
		{"NIS and comments", "+::::::\n-bob::::::\n# x\n\n  \na:x:1:1::/:\n", Users{1: "a"}, ""},
		{"largest number", "a:x:4294967295:1::/:\n", Users{4294967295: "a"}, ""},

		{"too few fields", "a:x:1\nb:x:2:2::/:\n", Users{2: "b"}, "offset 0: too few fields"},
		{"no name", "b:x:2:2::/:\n:x:1:1::/:\n", Users{2: "b"}, "offset 12: too few fields"},
		{"no number", "a:x:-1:1::/:\n", Users{}, "number"},
		{"number too large", "a:x:4294967296:1::/:\n", Users{}, "number"},
		{"long line", strings.Repeat("a", 3*maxPasswdLine) + ":x:1:1::/:\nb:x:2:2::/:\n", Users{2: "b"}, "offset 0: a line of more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseUsers(strings.NewReader(tt.in))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if tt.wantErr == "" && err != nil {
				t.Errorf("unexpected: %v", err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
		})
	}
	if name, ok := (Users{1: "a"}).Name(1); name != "a" || !ok {
		t.Errorf("%q, %v", name, ok)
	}
	if name, ok := (Users)(nil).Name(1); name != "" || ok {
		t.Errorf("%q, %v", name, ok)
	}
}

// endless repeats lines that are made from a counter.
type endless struct {
	line func(n int) string
	n    int
	rest string
}

func (e *endless) Read(b []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.line(e.n)
		e.n++
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestParseUsersBounds(t *testing.T) {
	got, err := ParseUsers(&endless{line: func(n int) string { return fmt.Sprintf("u:x:%d:0::/:\n", n) }})
	if len(got) != maxUsers || err == nil || !strings.Contains(err.Error(), "users") {
		t.Errorf("%d users, %v", len(got), err)
	}
	got, err = ParseUsers(&endless{line: func(int) string { return "u:x:1:0::/:\n" }})
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("%d users, %v", len(got), err)
	}
	broken := errors.New("broken")
	got, err = ParseUsers(io.MultiReader(strings.NewReader("a:x:1:1::/:\nb:x:2:"), iotest.ErrReader(broken)))
	if len(got) != 1 || !errors.Is(err, broken) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n")
	f.Add("+::::::\n# x\na:x:1\n:x:1:1::/:\nb:x:-1:::\n")
	f.Fuzz(func(t *testing.T, in string) {
		users, err := ParseUsers(strings.NewReader(in))
		if len(users) > strings.Count(in, "\n")+1 {
			t.Fatalf("%d users in %q", len(users), in)
		}
		for uid, name := range users {
			if name == "" || strings.ContainsAny(name, ":\n") || !strings.Contains(in, name+":") {
				t.Fatalf("user %d is %q in %q", uid, name, in)
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), "passwd: offset ") {
			t.Fatal(err)
		}
	})
}
