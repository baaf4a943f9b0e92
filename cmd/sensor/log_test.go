package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Whatever is logged as JSON stays JSON and says the same, and drives no terminal.
func FuzzJSONWriter(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m\n", "\u202e\u009b", "\U000e0001\U0001f600", "\x7f\xff", `\u001b"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line, err := json.Marshal(map[string]string{"a": s})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if n, err := (jsonWriter{&b}).Write(append(line, '\n')); err != nil || n != len(line)+1 {
			t.Fatalf("wrote %d of %d: %v", n, len(line)+1, err)
		}
		text, ok := strings.CutSuffix(b.String(), "\n")
		if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !ok {
			t.Fatalf("%q", b.String())
		}
		var before, after map[string]string
		if err := json.Unmarshal(line, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &after); err != nil || before["a"] != after["a"] {
			t.Fatalf("%q became %q, %v", before["a"], after["a"], err)
		}
	})
}

// The journal gets a priority in front of each line, and neither time nor level.
func TestJournal(t *testing.T) {
	name := filepath.Join(t.TempDir(), "stderr")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	env := scripted(failing{})
	env.stderr = f
	env.getenv = func(name string) string { return map[string]string{"JOURNAL_STREAM": stream}[name] }
	a := &app{environment: env, logLevel: choice{value: "debug"}}
	log, err := a.daemonLogger("text", true)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("d")
	log.With(zap.String("unit", "a\nb\x1b")).Info("i")
	log.Warn("w\n<0>x")
	log.Error("e")
	got, err := os.ReadFile(name)
	want := "<7>d\n<6>i\t{\"unit\": \"a\\nb\\u001b\"}\n<4>w\\x0a<0>x\n<3>e\n"
	if err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	// What only came by inheritance is not the journal.
	if toJournal(os.Stdout, stream) || toJournal(&strings.Builder{}, stream) || toJournal(f, "") || toJournal(f, "1:"+stream) {
		t.Error("taken for the journal")
	}
}
