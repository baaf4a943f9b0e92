// Command intruder takes the place of /usr/bin/sensor under the shipped unit: it is
// what the sensor would be in the hands of somebody who took it over. It drops its
// privileges as the sensor does, tries what the sandbox has to refuse, writes into its
// state directory what came of it, attempts.json, and stays.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/privilege"
)

func main() {
	if err := run(os.Getenv("STATE_DIRECTORY")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func run(state string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	if _, err := privilege.Drop(privilege.Tracking()); err != nil {
		return err
	}
	text, err := json.Marshal(attempts(state))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(state, "attempts.json"), text, 0o600); err != nil {
		return err
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	<-end
	return nil
}

// attempts are the errors, empty for none, of each attempt.
func attempts(state string) map[string]string {
	said := make(map[string]string)
	try := func(what string, err error) {
		said[what] = ""
		if err != nil {
			said[what] = err.Error()
		}
	}
	for _, dir := range []string{"/usr/bin", "/etc", "/root", "/home", "/tmp", "/var/tmp", "/var/lib", "/run", "/dev", "/dev/shm"} {
		name := filepath.Join(dir, "intruder-was-here")
		err := os.WriteFile(name, nil, 0o600)
		if err == nil {
			err = os.Remove(name)
		}
		try("write "+dir, err)
	}
	try("write its own program", os.Truncate("/usr/bin/sensor", 0))
	try("execute a program", exec.Command("/bin/true").Run())
	own := filepath.Join(state, "program")
	err := os.WriteFile(own, []byte("#!/bin/true\n"), 0o700)
	if err == nil {
		err = exec.Command(own).Run()
	}
	try("execute what it wrote", err)
	try("give a file away", os.Chown(own, 1, 1))
	// The host's own view of its files is writable.
	try("write a file of process 1", os.WriteFile("/proc/1/root/etc/hostname", []byte("intruder\n"), 0o644))

	const first = 1
	memory, err := os.OpenFile("/proc/1/mem", os.O_RDWR, 0)
	if err == nil {
		err = memory.Close()
	}
	try("write into the memory of process 1", err)
	var b byte
	_, err = unix.ProcessVMWritev(first, []unix.Iovec{{Base: &b, Len: 1}}, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
	try("write into process 1 by process_vm_writev", err)
	try("trace process 1", unix.PtraceSeize(first))
	_, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)
	try("open a netlink socket", err)
	try("enter a namespace", unix.Unshare(unix.CLONE_NEWNS))
	try("mount", unix.Mount("none", "/mnt", "tmpfs", 0, ""))
	try("set the host's name", unix.Sethostname([]byte("intruder")))
	_, err = unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
	try("read a keyring", err)
	return said
}
