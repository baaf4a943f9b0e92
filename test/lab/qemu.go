package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Machine is how to boot a kernel in an emulated machine. There is no need for
// hardware virtualisation: the emulation boots a kernel in some seconds.
type Machine struct {
	Kernel    Kernel
	Initramfs string
	Append    string        // to the kernel's command line
	CPUs      int           // 1 if it is 0
	Memory    int           // MiB; 1024 if it is 0
	Args      []string      // further arguments of QEMU, such as for disks and networks
	Limit     time.Duration // after which it is ended and the test fails; 2 minutes if it is 0
}

// VM is a machine that runs. It ends with the test, and with this process.
type VM struct {
	machine Machine
	dir     string
	cmd     *exec.Cmd
	said    Log // of QEMU itself
	ended   chan struct{}
	err     error // how it ended; not to be read before
	ctx     context.Context
}

// Boot starts a machine. It has two serial ports: the first is the console, the second
// is for what the test wants to be told and nobody else writes to. A reboot ends it.
func (m Machine) Boot(t testing.TB) *VM {
	t.Helper()
	if m.CPUs == 0 {
		m.CPUs = 1
	}
	if m.Memory == 0 {
		m.Memory = 1024
	}
	if m.Limit == 0 {
		m.Limit = 2 * time.Minute
	}
	vm := &VM{machine: m, dir: t.TempDir(), ended: make(chan struct{})}
	var cancel context.CancelFunc
	vm.ctx, cancel = context.WithTimeout(context.Background(), m.Limit)
	t.Cleanup(cancel)
	vm.cmd = exec.CommandContext(vm.ctx, "qemu-system-x86_64", m.arguments(vm.file("console"), vm.file("told"))...)
	vm.cmd.Stdout, vm.cmd.Stderr = &vm.said, &vm.said
	vm.cmd.WaitDelay = 5 * time.Second
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go vm.run(started)
	if err := <-started; err != nil {
		t.Fatalf("%v (test/install-deps installs what the labs need)", err)
	}
	t.Cleanup(vm.Kill)
	return vm
}

// run starts QEMU and waits for its end.
func (vm *VM) run(started chan<- error) {
	// The signal comes with the end of the thread that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := vm.cmd.Start()
	started <- err
	if err == nil {
		vm.err = vm.cmd.Wait()
	}
	close(vm.ended)
}

func (m Machine) arguments(console, told string) []string {
	// The microvm machine is quicker, and hangs with some kernels. What newer processors
	// do at once is emulated step by step, so an older one takes two thirds of the time;
	// and what the kernel does about their faults makes an emulated one only slower.
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "Nehalem,+rdrand",
		"-smp", fmt.Sprint(m.CPUs), "-m", fmt.Sprint(m.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:" + console, "-serial", "file:" + told,
		"-kernel", m.Kernel.Image,
		"-append", strings.TrimSpace("console=ttyS0 panic=-1 reboot=t quiet mitigations=off nokaslr " + m.Append),
	}
	if m.Initramfs != "" {
		args = append(args, "-initrd", m.Initramfs)
	}
	return append(args, m.Args...)
}

func (vm *VM) file(name string) string { return filepath.Join(vm.dir, name) }

// Console is what the first serial port has said so far.
func (vm *VM) Console() string { return vm.read("console") }

// Told is what the second serial port has said so far. To keep it as it was written,
// the guest has to begin with "stty -F /dev/ttyS1 raw".
func (vm *VM) Told() string { return vm.read("told") }

func (vm *VM) read(name string) string {
	text, err := os.ReadFile(vm.file(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

// Wait waits until the guest reboots or powers off. It ends the test when it does not
// in time.
func (vm *VM) Wait(t testing.TB) {
	t.Helper()
	<-vm.ended
	if vm.err != nil {
		vm.fail(t, vm.err.Error())
	}
}

// Ended says that the guest is no more.
func (vm *VM) Ended() bool {
	select {
	case <-vm.ended:
		return true
	default:
		return false
	}
}

// Until waits for a condition as long as the guest runs.
func (vm *VM) Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-vm.ended:
			if !holds() {
				vm.fail(t, fmt.Sprintf("ended before %s: %v", what, vm.err))
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (vm *VM) fail(t testing.TB, why string) {
	t.Helper()
	if vm.ctx.Err() != nil {
		why = fmt.Sprintf("%s (it had %v)", why, vm.machine.Limit)
	}
	t.Fatalf("the guest with %v: %s\nQEMU: %s\nconsole: …%s\ntold: …%s", vm.machine.Kernel, why, vm.said.String(), tail(vm.Console()), tail(vm.Told()))
}

// tail is the end of a long text.
func tail(text string) string {
	const enough = 4000
	return text[max(0, len(text)-enough):]
}

// Kill ends the guest at once, as a loss of power does.
func (vm *VM) Kill() {
	if vm.cmd.Process != nil {
		_ = vm.cmd.Process.Kill()
	}
	<-vm.ended
}
