package lifecycle

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
)

const heading = "version,codename,series,created,release,eol,eol-lts\n"

func TestParseDistroInfo(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string // series and phases
		wantErr  string
	}{
		{"usual", heading + "12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30\n", []string{"bookworm: standard until 2026-07-11 lts until 2028-06-30"}, ""},
		{"short line", heading + "14,Forky,forky,2025-08-09\n", []string{"forky:"}, ""},
		{"no last newline, DOS line ends, empty lines", strings.ReplaceAll(heading, "\n", "\r\n") + "\r\n1,A,a,,2000-01-01,2001-01-01\r\n\n2,B,b", []string{"a: standard until 2001-01-01", "b:"}, ""},
		{"months", heading + "1,A,a,2000-01,2000-02,2000-02,2001-04\n", []string{"a: standard until 2000-02-29 lts until 2001-04-30"}, ""},
		{"order of columns", "eol-x,eol,series\n2001-01-01,2000-01-01,a\n", []string{"a: x until 2001-01-01 standard until 2000-01-01"}, ""},
		{"nameless column", "eol-,eol,series\n2001-01-01,2000-01-01,a\n", []string{"a: standard until 2000-01-01"}, ""},

		{"empty", "", nil, ""},
		{"no heading", "12,Bookworm,bookworm\n", nil, "offset 0: no heading"},
		{"wide heading", strings.Repeat("a,", maxColumns) + "series,eol\n", nil, "no heading"},
		{"date", heading + "1,A,a,,2000-01-01,soon\n2,B,b\n", []string{"b:"}, `offset 52: "eol": no date`},
		{"day that is none", heading + "1,A,a,,2000-02-30\n", nil, `"release": no date`},
		{"too many fields", heading + "1,A,a,,,,,2000-01-01\n2,B,b\n", []string{"b:"}, "offset 52: more fields"},
		{"no series", heading + "1,A\n2,B,b\n", []string{"b:"}, "no series"},
		{"too many releases", heading + strings.Repeat("1,A,a\n", maxEntries+1), nil, "more than 4096 releases"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries, err := ParseDistroInfo(strings.NewReader(tt.in))
			var got []string
			for _, e := range entries {
				s := e.Series + ":"
				for _, p := range e.Phases {
					s += " " + p.String()
				}
				got = append(got, s)
			}
			if tt.want != nil && !reflect.DeepEqual(got, tt.want) || len(got) > maxEntries {
				t.Errorf("got %q", got)
			}
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestParseDistroInfoCut(t *testing.T) {
	broken := errors.New("broken")
	line := "1,A,a,,2000-01-01,2000-01-01\n"
	for _, r := range []io.Reader{
		io.MultiReader(strings.NewReader(heading+line+"2,B,b,,2000-01-01,2000-01"), iotest.ErrReader(broken)),
		strings.NewReader(heading + line + "2,B,b,,2000-01-01,2000-01" + strings.Repeat(" ", maxData)),
	} {
		got, err := ParseDistroInfo(r)
		if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "offset 81") {
			t.Errorf("%d releases, %v", len(got), err)
		}
	}
}

func rootOf(t *testing.T, files map[string]string) *file.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestReadData(t *testing.T) {
	data, err := ReadData(rootOf(t, map[string]string{
		"usr/share/distro-info/debian.csv": heading + "broken,,,,,,,,\n12,Bookworm,bookworm,,2023-06-10,2026-07-11\n",
		"usr/share/distro-info/ubuntu.csv": strings.Repeat("x", maxData+1),
	}))
	if got := Decide(Release{ID: "debian", VersionID: "12"}, data, day(t, "2024-01-01")); got.State != Supported {
		t.Errorf("what could be read is lost: %+v", got)
	}
	if !errors.Is(err, file.ErrTooLarge) || !strings.Contains(err.Error(), "debian.csv: distribution data: offset 52") {
		t.Errorf("got %v", err)
	}

	data, err = ReadData(rootOf(t, nil))
	if err != nil || data.knows(debian) {
		t.Errorf("%v, %v", data, err)
	}
	if _, err := ReadData(refusing{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

type refusing struct{}

func (refusing) ReadFile(string, int64) ([]byte, error) { return nil, fs.ErrPermission }

func FuzzParseDistroInfo(f *testing.F) {
	for _, id := range []string{debian, ubuntu} {
		b, err := os.ReadFile(filepath.Join("testdata", id+".csv"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b), "12", "bookworm", "2029-06-30", int64(20000))
	}
	f.Add(heading+"1,A,a,2000-01,2000-02,2000-02,2001-04\r\n\n2,B\n", "1", "", "", int64(0))
	f.Fuzz(func(t *testing.T, in, version, codename, end string, days int64) {
		entries, err := ParseDistroInfo(strings.NewReader(in))
		if len(entries) > maxEntries || len(entries) > strings.Count(in, "\n") {
			t.Fatalf("%d releases", len(entries))
		}
		for _, e := range entries {
			if e.Series == "" || len(e.Phases) > maxColumns {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		data := NewData(map[string][]Entry{"debian": entries})
		r := Release{ID: "debian", VersionID: version, Codename: codename, SupportEnd: end}
		today := day(t, "1990-01-01").AddDate(0, 0, int(days%50000))
		life := Decide(r, data, today)
		checkLife(t, life, today.Format(time.DateOnly))
		// Support that has ended does not come back.
		if life.State == Ended && Decide(r, data, today.AddDate(0, 0, 1)).State != Ended {
			t.Fatalf("ended on %s, not the day after", today)
		}
	})
}

func checkLife(t *testing.T, life Life, today string) {
	t.Helper()
	switch life.State {
	case Supported, Ended:
		ended := life.Phase.Last.Format(time.DateOnly) < today
		if life.Why != "" || life.Source == "" || life.Phase.Kind.Contract() || ended != (life.State == Ended) {
			t.Fatalf("on %s: %+v", today, life)
		}
	case Unknown:
		if life.Why == "" || life.Phase != (Phase{}) {
			t.Fatalf("on %s: %+v", today, life)
		}
	default:
		t.Fatalf("state %q", life.State)
	}
	for i, p := range life.Later {
		if p.Last.Format(time.DateOnly) < today || i > 0 && p.Last.Before(life.Later[i-1].Last) {
			t.Fatalf("on %s: later %v", today, life.Later)
		}
	}
}
