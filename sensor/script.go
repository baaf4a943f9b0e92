package sensor

import (
	"bytes"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// shebangSize is how much of a file the kernel looks at for an interpreter
// (BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h).
const shebangSize = 256

// interpreter returns the program that runs the file name if it is a script
// (execve(2), "Interpreter scripts"): the first word after "#!". With env(1) it is
// found by other means, and the word is empty.
func interpreter(root *file.Root, name string) (interp string, script bool) {
	f, err := root.Open(name)
	if err != nil {
		return "", false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, shebangSize))
	if err != nil {
		return "", false
	}
	return parseShebang(head)
}

func parseShebang(head []byte) (interp string, script bool) {
	rest, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return "", false
	}
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t\x00"); i >= 0 {
		line = line[:i]
	}
	interp = string(line)
	if !strings.HasPrefix(interp, "/") || path.Base(interp) == "env" {
		return "", true
	}
	return interp, true
}

// runnable reports whether what stands at the class's other path can be executed
// although it is no ELF file: a script with permission to run.
func runnable(c *class) bool {
	_, script := interpreter(c.base.root, c.otherPath)
	return script && c.other.Regular() && c.other.Mode&(unix.S_IXUSR|unix.S_IXGRP|unix.S_IXOTH) != 0
}

// ranAsScript reports whether a name that was given to execve is that of a script:
// the kernel then passes it to the interpreter as an argument. A process may have
// written over its arguments, so only a yes says something.
func (sc *scan) ranAsScript(p *process, name string) bool {
	dir, err := sc.open(p)
	if err != nil {
		return false
	}
	defer dir.Close()
	args, err := dir.Cmdline()
	if err != nil {
		return false
	}
	first := true
	for arg := range bytes.SplitSeq(args, []byte{0}) {
		if !first && string(arg) == name {
			return true
		}
		first = false
	}
	return false
}
