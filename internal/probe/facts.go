package probe

import (
	"bytes"
	"time"
	"unsafe"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// The parts of records that snapshots and traces share. bpf2go generates them for
// each object anew, alike.
type (
	processFacts = sensorProcessFacts
	fileFacts    = sensorFileFacts
)

// bytesOf is a C array up to its first NUL.
func bytesOf(array []int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(array))), len(array))
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// processOf is all of a process but names and mappings.
func processOf(f *processFacts) snapshot.Process {
	p := snapshot.Process{
		PID: int(f.Pid), TID: int(f.Pid), PPID: int(f.Ppid), InnerPID: int(f.InnerPid),
		Start: time.Duration(f.Start), UID: f.Uid,
		PIDNS: f.PidNs, MntNS: f.MntNs, RootKey: f.RootKey, CgroupKey: f.CgroupKey,
		ForkNoExec: f.Flags&uint32(sensorProcessFlagPROCESS_FORKNOEXEC) != 0,
		Aux:        snapshot.Aux{Phdr: f.AtPhdr, Phnum: f.AtPhnum, ExecFn: f.AtExecfn},
	}
	if f.Flags&uint32(sensorProcessFlagPROCESS_ZOMBIE_LEADER) != 0 {
		p.TID = int(f.Tid)
	}
	return p
}

func fileOf(f *fileFacts) snapshot.File {
	return snapshot.File{
		Key: f.Key, ID: file.LayerID(f.Dev, f.Ino),
		Ctime: f.Ctime*int64(time.Second) + int64(f.CtimeNsec), Size: int64(f.Size), FSType: int64(f.FsMagic),
	}
}
