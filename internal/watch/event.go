package watch

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// event is one struct inotify_event (inotify(7); include/uapi/linux/inotify.h).
type event struct {
	wd   int32
	mask uint32
	name []byte // of the entry of the watched directory; empty for the directory itself
}

// events yields the events that one read(2) of an inotify descriptor returned.
// The names are valid for as long as buf is. What is cut off ends it.
func events(buf []byte) iter.Seq[event] {
	return func(yield func(event) bool) {
		for len(buf) >= unix.SizeofInotifyEvent {
			e := event{
				wd:   int32(binary.NativeEndian.Uint32(buf[0:])),
				mask: binary.NativeEndian.Uint32(buf[4:]),
			}
			// Bytes 8 to 12 are the cookie that pairs the two ends of a rename.
			size := uint64(binary.NativeEndian.Uint32(buf[12:]))
			buf = buf[unix.SizeofInotifyEvent:]
			if size > uint64(len(buf)) {
				return
			}
			e.name, _, _ = bytes.Cut(buf[:size], []byte{0})
			buf = buf[size:]
			if !yield(e) {
				return
			}
		}
	}
}
