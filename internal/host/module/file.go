package module

import (
	"io"
	"os"
	"sync"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/packed"
)

// maxUnpacked bounds a compressed module, in uncompressed bytes. amdgpu, the largest of
// a distribution, has some 30 MB.
const maxUnpacked = 64 << 20

// maxCached bounds how many files a Cache remembers; a machine loads some hundreds.
const maxCached = 8192

// Cache remembers what module files said of themselves, by their identity, size and
// times: unpacking those of a machine takes a second. The zero Cache is empty and ready
// for use, also by several goroutines.
type Cache struct {
	mu    sync.Mutex
	known map[cached]Info
}

type cached struct {
	id           file.ID
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
}

func (c *Cache) get(key cached) (Info, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, ok := c.known[key]
	return info, ok
}

func (c *Cache) put(key cached, info Info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCached {
		c.known = make(map[cached]Info)
	}
	c.known[key] = info
}

// ReadFile reads what the module file name says of itself: ELF, plain or compressed by
// gzip, xz or zstd. The error is an *Error with the file, and wraps fs.ErrNotExist if
// there is none and file.ErrTooLarge if it unpacks to more than 64 MiB.
func (c *Cache) ReadFile(root Root, name string) (Info, error) {
	f, err := root.Open(name)
	if err != nil {
		return Info{}, defect(name, -1, err)
	}
	defer f.Close()
	st, err := file.StatFD(int(f.Fd()))
	if err != nil {
		return Info{}, defect(name, -1, err)
	}
	key := cached{st.ID, st.Size, st.Mtime.UnixNano(), st.Ctime.UnixNano()}
	if info, ok := c.get(key); ok {
		return info, nil
	}
	info, err := parseFile(f, st.Size)
	if err != nil {
		return Info{}, defect(name, -1, err)
	}
	c.put(key, info)
	return info, nil
}

func parseFile(f *os.File, size int64) (Info, error) {
	var head [packed.HeadSize]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return Info{}, err
	}
	switch kind := packed.KindOf(head[:n]); kind {
	case packed.Gzip, packed.XZ, packed.Zstd:
		c, err := packed.Read(f, kind, maxUnpacked)
		if err != nil {
			return Info{}, err
		}
		return ParseELF(c, c.Size())
	}
	return ParseELF(f, size)
}
