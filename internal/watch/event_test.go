package watch

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// encode makes what the kernel writes for an event: the name is padded with NUL
// to a multiple of the header's size (fs/notify/inotify/inotify_user.c,
// round_event_name_len).
func encode(wd int32, mask uint32, name string) []byte {
	size := 0
	if name != "" {
		size = (len(name)/unix.SizeofInotifyEvent + 1) * unix.SizeofInotifyEvent
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
	b = binary.NativeEndian.AppendUint32(b, mask)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(size))
	return append(append(b, name...), make([]byte, size-len(name))...)
}

// FuzzEvents: a sound event is read whatever follows it, and no name holds a NUL.
func FuzzEvents(f *testing.F) {
	f.Add(int32(1), uint32(unix.IN_MOVED_TO), "status", []byte{})
	f.Add(int32(-1), uint32(unix.IN_Q_OVERFLOW), "", []byte{1, 0, 0})
	f.Add(int32(7), uint32(unix.IN_CREATE), "sixteen bytes at", encode(3, unix.IN_DELETE, "x"))
	f.Add(int32(7), uint32(0), "", bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, wd int32, mask uint32, name string, rest []byte) {
		name, _, _ = strings.Cut(name, "\x00")
		n := 0
		for e := range events(append(encode(wd, mask, name), rest...)) {
			if n == 0 && (e.wd != wd || e.mask != mask || string(e.name) != name) {
				t.Errorf("read %d %x %q, want %d %x %q", e.wd, e.mask, e.name, wd, mask, name)
			}
			if bytes.IndexByte(e.name, 0) >= 0 {
				t.Errorf("name %q", e.name)
			}
			n++
		}
		if n == 0 || n > 1+len(rest)/unix.SizeofInotifyEvent {
			t.Errorf("%d events of one and %d bytes", n, len(rest))
		}
	})
}
