package kernel

import (
	"bytes"
	"io"
	"strings"
)

// maxGrubEnv bounds an environment block; GRUB makes them 1,024 bytes long.
const maxGrubEnv = 64 << 10

// grubEnvHeader begins an environment block (include/grub/lib/envblk.h).
const grubEnvHeader = "# GRUB Environment Block\n"

// ParseGrubEnv reads GRUB's environment block: the header, a line an
// assignment with a backslash before what is meant as it stands, and a filling of
// '#'. What stands before a defect is returned beside the error.
func ParseGrubEnv(r io.Reader) (map[string]string, error) {
	env := make(map[string]string)
	data, err := readAll(r, maxGrubEnv)
	if err != nil {
		return env, err
	}
	rest, ok := bytes.CutPrefix(data, []byte(grubEnvHeader))
	if !ok {
		return env, errorAt(0, "not a GRUB environment block")
	}
	for len(rest) > 0 {
		line, after := cutEnvLine(rest)
		off := len(data) - len(rest)
		rest = after
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return env, errorAt(int64(off), "no assignment")
		}
		env[name] = value
	}
	return env, nil
}

// cutEnvLine cuts the first line, which may have newlines behind backslashes,
// and takes these away.
func cutEnvLine(data []byte) (line string, rest []byte) {
	var b strings.Builder
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\\' && i+1 < len(data):
			i++
			b.WriteByte(data[i])
		case c == '\n':
			return b.String(), data[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
