package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
)

// maxOSRelease is the most that is read of an os-release file, in bytes. Real
// ones have less than 1 KiB.
const maxOSRelease = 64 << 10

// OSRelease is what an os-release file says (os-release(5)). What it does not
// say is empty, but for the defaults of that page.
type OSRelease struct {
	ID         string   // lower case: "debian"; "linux" where not given
	IDLike     []string // the distributions it derives from, closest first
	Name       string   // "Debian GNU/Linux"; "Linux" where not given
	PrettyName string   // "Debian GNU/Linux 12 (bookworm)"; "Linux" where not given
	VersionID  string   // "12"; empty for rolling releases
	Codename   string   // "bookworm"
	SupportEnd string   // "2029-06-30", as it is written: the first day without support
}

// ParseOSRelease reads an os-release file: shell assignments without any
// expansion, one a line (os-release(5)). Values may be bare, or quoted as a
// whole with ' or "; in double quotes a backslash quotes ", \, $ and `. Of two
// assignments to one name the later counts, as in a shell.
//
// A line that does not fit is left out, and the first of them is the error,
// with its byte offset; all else is returned beside it.
func ParseOSRelease(r io.Reader) (OSRelease, error) {
	release := OSRelease{ID: "linux", Name: "Linux", PrettyName: "Linux"}
	data, err := io.ReadAll(io.LimitReader(r, maxOSRelease+1))
	if err == nil && len(data) > maxOSRelease {
		err = fmt.Errorf("more than %d bytes", maxOSRelease)
	}
	if err != nil {
		// The last line may be cut, which would make a wrong value.
		data = data[:bytes.LastIndexByte(data, '\n')+1]
		err = fmt.Errorf("os-release: offset %d: %w", len(data), err)
	}
	offset := 0
	for line := range bytes.Lines(data) {
		if lineErr := release.assign(string(bytes.TrimSpace(line))); lineErr != nil && err == nil {
			err = fmt.Errorf("os-release: offset %d: %w", offset, lineErr)
		}
		offset += len(line)
	}
	return release, err
}

func (o *OSRelease) assign(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	name, quoted, ok := strings.Cut(line, "=")
	if !ok || !isName(name) {
		return errors.New("no assignment")
	}
	value, err := unquote(quoted)
	if err != nil {
		return err
	}
	switch name {
	case "ID_LIKE":
		o.IDLike = slices.Collect(strings.FieldsSeq(value))
	case "VERSION_ID":
		o.VersionID = value
	case "VERSION_CODENAME":
		o.Codename = value
	case "SUPPORT_END":
		o.SupportEnd = value
	}
	if value == "" {
		return nil // as good as not given: the default stays
	}
	switch name {
	case "ID":
		o.ID = value
	case "NAME":
		o.Name = value
	case "PRETTY_NAME":
		o.PrettyName = value
	}
	return nil
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_' || '0' <= c && c <= '9' && i > 0) {
			return false
		}
	}
	return s != ""
}

func unquote(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		// Real files have blanks in bare values, so only quotes are refused.
		if strings.ContainsAny(s, `"'`) {
			return "", errors.New("quotes inside a value")
		}
		return s, nil
	}
	quote := s[0]
	if len(s) < 2 || s[len(s)-1] != quote {
		return "", errors.New("no closing quote")
	}
	body := s[1 : len(s)-1]
	if quote == '\'' {
		if strings.Contains(body, "'") {
			return "", errors.New("quotes inside a value")
		}
		return body, nil
	}
	var value strings.Builder
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			return "", errors.New("quotes inside a value")
		case c != '\\':
			value.WriteByte(c)
		case i+1 == len(body):
			return "", errors.New("no closing quote")
		default:
			i++
			if strings.IndexByte("\"\\$`", body[i]) < 0 {
				value.WriteByte('\\')
			}
			value.WriteByte(body[i])
		}
	}
	return value.String(), nil
}

// ReadOSRelease reads /etc/os-release of a root, or /usr/lib/os-release where
// that is missing. The error of a root that has neither is fs.ErrNotExist.
func ReadOSRelease(root *file.Root) (OSRelease, error) {
	f, err := root.Open("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		f, err = root.Open("/usr/lib/os-release")
	}
	if err != nil {
		return OSRelease{}, err
	}
	defer f.Close()
	release, err := ParseOSRelease(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), err)
	}
	return release, err
}
