package lines

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", Max)
	in := New(strings.NewReader("a\n\n"+long+"y\nb"), 1<<20)
	type result struct {
		line  string
		err   error
		start int64
		whole bool
	}
	want := []result{{"a", nil, 0, true}, {"", nil, 2, true}, {"", ErrLong, 3, true}, {"b", nil, 3 + Max + 2, false}, {"", io.EOF, 4 + Max + 2, false}}
	for i, w := range want {
		line, err := in.Read()
		if got := (result{string(line), err, in.Start, in.Terminated}); got != w {
			t.Errorf("line %d: %.20q %v %d %v, want %.20q %v %d %v", i, got.line, got.err, got.start, got.whole, w.line, w.err, w.start, w.whole)
		}
	}
}

// What is behind the limit is not read, in however long a line it stands.
func TestLimit(t *testing.T) {
	for _, text := range []string{"ab\ncd\n", strings.Repeat("x", 3*Max)} {
		in := New(strings.NewReader(text), 4)
		var err error
		for err == nil {
			_, err = in.Read()
		}
		if !errors.Is(err, file.ErrTooLarge) {
			t.Errorf("%.10q: %v", text, err)
		}
	}
}
