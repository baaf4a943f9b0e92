package host

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseOSReleaseOfDistributions(t *testing.T) {
	want := map[string]OSRelease{
		"debian-12":          {"debian", nil, "Debian GNU/Linux", "Debian GNU/Linux 12 (bookworm)", "12", "bookworm", ""},
		"ubuntu-24.04":       {"ubuntu", []string{"debian"}, "Ubuntu", "Ubuntu 24.04.1 LTS", "24.04", "noble", ""},
		"rocky-9":            {"rocky", []string{"rhel", "centos", "fedora"}, "Rocky Linux", "Rocky Linux 9.4 (Blue Onyx)", "9.4", "", "2032-05-31"},
		"fedora-40":          {"fedora", nil, "Fedora Linux", "Fedora Linux 40 (Server Edition)", "40", "", "2025-05-13"},
		"alpine-3.20":        {"alpine", nil, "Alpine Linux", "Alpine Linux v3.20", "3.20.3", "", ""},
		"opensuse-leap-15.6": {"opensuse-leap", []string{"suse", "opensuse"}, "openSUSE Leap", "openSUSE Leap 15.6", "15.6", "", ""},
		"amazon-2023":        {"amzn", []string{"fedora"}, "Amazon Linux", "Amazon Linux 2023.6.20241121", "2023", "", "2029-06-30"},
		"arch":               {"arch", nil, "Arch Linux", "Arch Linux", "", "", ""},
		"distroless-12":      {"debian", nil, "Debian GNU/Linux", "Distroless", "12", "", ""},
	}
	names, err := filepath.Glob("testdata/os-release/*")
	if err != nil || len(names) != len(want) {
		t.Fatalf("%d fixtures for %d expectations, %v", len(names), len(want), err)
	}
	for name, release := range want {
		f, err := os.Open("testdata/os-release/" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseOSRelease(f)
		f.Close()
		if err != nil || !reflect.DeepEqual(got, release) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestParseOSReleaseQuoting(t *testing.T) {
	tests := []struct {
		name, in, want, wantErr string
	}{
		{"bare", "PRETTY_NAME=Plain", "Plain", ""},
		{"bare with blanks", "PRETTY_NAME=Two Words\n", "Two Words", ""},
		{"double", `PRETTY_NAME="a b"`, "a b", ""},
		{"escapes", `PRETTY_NAME="\"\\\$\` + "`" + `\n"`, `"\$` + "`" + `\n`, ""},
		{"never expanded", `PRETTY_NAME="$(id) ${HOME}"`, "$(id) ${HOME}", ""},
		{"single", `PRETTY_NAME='a "b" \ $c'`, `a "b" \ $c`, ""},
		{"empty", `PRETTY_NAME=""`, "Linux", ""},
		{"missing", "# only a comment\n\n  # another\n", "Linux", ""},
		{"DOS line ends", "PRETTY_NAME=\"a\"\r\nID=x\r\n", "a", ""},
		{"later counts", "PRETTY_NAME=a\nPRETTY_NAME=b\n", "b", ""},
		{"raw bytes", "PRETTY_NAME=\"a\x1b\xff\"", "a\x1b\xff", ""},

		{"open double", "ID=x\nPRETTY_NAME=\"a\n", "Linux", "offset 5: no closing quote"},
		{"lone quote", "PRETTY_NAME=\"", "Linux", "no closing quote"},
		{"escaped end", `PRETTY_NAME="a\"`, "Linux", "no closing quote"},
		{"open single", "PRETTY_NAME='a", "Linux", "no closing quote"},
		{"joined quotes", `PRETTY_NAME="a""b"`, "Linux", "quotes inside"},
		{"joined single quotes", `PRETTY_NAME='a''b'`, "Linux", "quotes inside"},
		{"quote inside a bare value", `PRETTY_NAME=a"b"`, "Linux", "quotes inside"},
		{"no assignment", "rubbish\nPRETTY_NAME=a\n", "a", "offset 0: no assignment"},
		{"blank before the sign", "PRETTY_NAME =a\n", "Linux", "no assignment"},
		{"no name", "=a\nPRETTY_NAME=b", "b", "no assignment"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseOSRelease(strings.NewReader(tt.in))
			if got.PrettyName != tt.want {
				t.Errorf("got %q, want %q", got.PrettyName, tt.want)
			}
			if tt.wantErr == "" && err != nil {
				t.Errorf("unexpected: %v", err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestParseOSReleaseCut(t *testing.T) {
	broken := errors.New("broken")
	for _, r := range []io.Reader{
		io.MultiReader(strings.NewReader("ID=a\nPRETTY_NAME=b"), iotest.ErrReader(broken)),
		strings.NewReader("ID=a\nPRETTY_NAME=" + strings.Repeat("b", maxOSRelease)),
	} {
		got, err := ParseOSRelease(r)
		if got.ID != "a" || got.PrettyName != "Linux" || err == nil || !strings.Contains(err.Error(), "offset 5") {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func FuzzParseOSRelease(f *testing.F) {
	names, err := filepath.Glob("testdata/os-release/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("PRETTY_NAME=\"\\\"\\\\\\$\\`\"\nID='x'\nNAME=\"\n=\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, _ := ParseOSRelease(strings.NewReader(in))
		if got.ID == "" || got.Name == "" || got.PrettyName == "" {
			t.Fatalf("a default is lost: %+v", got)
		}
		// Written out again by the rules, it reads the same.
		quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace
		again, err := ParseOSRelease(strings.NewReader(
			`ID="` + quote(got.ID) + "\"\nID_LIKE=\"" + quote(strings.Join(got.IDLike, " ")) +
				"\"\nNAME=\"" + quote(got.Name) + "\"\nPRETTY_NAME=\"" + quote(got.PrettyName) +
				"\"\nVERSION_ID=\"" + quote(got.VersionID) + "\"\nVERSION_CODENAME=\"" + quote(got.Codename) + "\"\nSUPPORT_END=\"" + quote(got.SupportEnd) + "\"\n"))
		if err != nil && len(in) < maxOSRelease/4 {
			t.Fatal(err)
		}
		if err == nil && !reflect.DeepEqual(got, again) {
			t.Fatalf("%+v became %+v", got, again)
		}
	})
}
