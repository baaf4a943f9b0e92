package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are directories with programs of container runtimes. They are taken from
// there before this machine's own, and in this order.
type Programs []string

// Path is where a program is; its name if it is nowhere.
func (p Programs) Path(name string) string {
	for _, dir := range p {
		if file := filepath.Join(dir, name); executable(file) {
			return file
		}
	}
	if file, err := exec.LookPath(name); err == nil {
		return file
	}
	return name
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// command is one of the programs, which finds the others.
func (p Programs) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(p.Path(name), args...)
	cmd.Env = p.environ()
	return cmd
}

// environ is this process's environment, in which programs are found.
func (p Programs) environ() []string {
	path := strings.Join(append(append([]string{}, p...), os.Getenv("PATH")), ":")
	return append(os.Environ(), "PATH="+path)
}
