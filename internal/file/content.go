package file

import (
	"context"
	"crypto"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// MaxHashSize is the size in bytes of the largest file that is hashed.
const MaxHashSize = 4 << 30

// DefaultCacheLimit is the number of contents that a Cache remembers unless
// told otherwise: a busy host maps some thousand distinct files.
const DefaultCacheLimit = 8192

// ErrChanged is returned when a file is not, or no longer, what its key says,
// so that nothing read from it can be trusted.
var ErrChanged = errors.New("file changed")

// ContentKey names one content of one file: inode numbers are reused and files
// are written to, so change time and size stand beside the identity.
type ContentKey struct {
	ID        ID    // of any view
	CtimeNsec int64 // status change time, in nanoseconds since 1970
	Size      int64 // in bytes
}

// KeyOf makes the key of a file from what stat says of it.
func KeyOf(i Info) ContentKey {
	return ContentKey{ID: i.ID, CtimeNsec: i.Ctime.UnixNano(), Size: i.Size}
}

// Ref is a content and a way to get at it.
type Ref struct {
	Key ContentKey
	// Open opens the file for reading. It must not open a FIFO or a device,
	// see Root.Open. The Cache closes what it returns.
	Open func() (*os.File, error)
}

// Cache remembers what was read of contents: ELF facts, which cost a few
// kilobytes, and hashes, which cost a reading of the whole file and are made
// only when asked for. Each is computed once per key, however many ask at the
// same time, as long as the cache has room for it. A Cache is safe for
// concurrent use.
//
// Its methods check the opened file against the key, before and after reading,
// and return ErrChanged when its change time or size is another. That guards
// against paths that lead to another content than was mapped, such as
// /proc/PID/map_files on overlayfs after a copy-up. Only what was read of a
// file is remembered, never a failure to read it.
type Cache struct {
	mu sync.Mutex
	// Two generations, each of at most half the limit: what was not asked for
	// while one filled up is forgotten with the next.
	limit      int
	young, old map[ContentKey]*content

	buffers       sync.Pool // of *[hashBuffer]byte
	hashed, bytes atomic.Int64
}

const hashBuffer = 128 << 10 // bytes read between two looks at the context

// content is what is known of one content so far.
type content struct {
	busy    chan struct{} // holds one token while something is being computed
	facts   atomic.Pointer[facts]
	sha256  atomic.Pointer[[sha256.Size]byte]
	sum     atomic.Pointer[sum]
	modules atomic.Pointer[modules]
}

// sum is a hash of one kind, in lower-case hex.
type sum struct {
	hash  crypto.Hash
	value string
}

// facts is an answer of ReadELF; err is ErrNotELF or a *FormatError.
type facts struct {
	elf ELF
	err error
}

// NewCache makes a cache of at most limit contents, or of DefaultCacheLimit
// when limit is 0. A hostile content takes up to some 40 KiB, a usual one 1 KiB.
func NewCache(limit int) *Cache {
	if limit <= 0 {
		limit = DefaultCacheLimit
	}
	return &Cache{
		limit:   max(limit/2, 1),
		young:   make(map[ContentKey]*content),
		buffers: sync.Pool{New: func() any { return new([hashBuffer]byte) }},
	}
}

// Stats says how many times the hashing of a file was begun, and how many bytes
// were read for it.
func (c *Cache) Stats() (files, bytes int64) { return c.hashed.Load(), c.bytes.Load() }

// Facts returns what ReadELF says of the content: facts, ErrNotELF, or facts
// with a *FormatError; such errors are remembered like facts and name no file.
// Any other error is one of opening or reading the file, or of ctx.
func (c *Cache) Facts(ctx context.Context, key ContentKey, open func() (*os.File, error)) (ELF, error) {
	t := c.content(key)
	a, err := once(ctx, t, &t.facts, func() (facts, error) {
		var a facts
		err := readContent(key, open, func(f *os.File) error {
			a.elf, a.err = ReadELF(f, key.Size)
			if _, ok := errors.AsType[*FormatError](a.err); ok || errors.Is(a.err, ErrNotELF) {
				return nil
			}
			return a.err
		})
		return a, err
	})
	if err != nil {
		return ELF{}, err
	}
	return a.elf, a.err
}

// SHA256 returns the SHA-256 of the content. A file of more than MaxHashSize
// gives ErrTooLarge, anything but a regular file ErrNotRegular.
func (c *Cache) SHA256(ctx context.Context, key ContentKey, open func() (*os.File, error)) ([sha256.Size]byte, error) {
	t := c.content(key)
	return once(ctx, t, &t.sha256, func() (sum [sha256.Size]byte, err error) {
		h := sha256.New()
		if err := c.hash(ctx, key, open, h); err != nil {
			return sum, err
		}
		h.Sum(sum[:0])
		return sum, nil
	})
}

// ErrNoHash is returned for a kind of hash that is not made here.
var ErrNoHash = errors.New("unknown kind of checksum")

// Sum returns a hash of the content in lower-case hex, to compare with what a
// package database recorded: of kind MD5, SHA1, SHA224, SHA256, SHA384 or SHA512,
// else the error wraps ErrNoHash. The first two are no evidence against an attacker.
// Other errors are those of SHA256. One kind is remembered of each content: a root
// has one database, which records one.
func (c *Cache) Sum(ctx context.Context, kind crypto.Hash, key ContentKey, open func() (*os.File, error)) (string, error) {
	if kind == crypto.SHA256 {
		b, err := c.SHA256(ctx, key, open)
		if err != nil {
			return "", err
		}
		return hex.EncodeToString(b[:]), nil
	}
	var h hash.Hash
	switch kind {
	case crypto.MD5:
		h = md5.New()
	case crypto.SHA1:
		h = sha1.New()
	case crypto.SHA224:
		h = sha256.New224()
	case crypto.SHA384:
		h = sha512.New384()
	case crypto.SHA512:
		h = sha512.New()
	default:
		return "", fmt.Errorf("%w: %v", ErrNoHash, kind)
	}
	t := c.content(key)
	compute := func() (sum, error) {
		if err := c.hash(ctx, key, open, h); err != nil {
			return sum{}, err
		}
		return sum{kind, hex.EncodeToString(h.Sum(nil))}, nil
	}
	v, err := once(ctx, t, &t.sum, compute)
	if err == nil && v.hash != kind {
		v, err = compute()
	}
	return v.value, err
}

// content returns the place where what is known under key is kept.
func (c *Cache) content(key ContentKey) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.young[key]
	if t != nil {
		return t
	}
	if t = c.old[key]; t == nil {
		t = &content{busy: make(chan struct{}, 1)}
	}
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[ContentKey]*content)
	}
	c.young[key] = t
	return t
}

// once returns what slot holds, and computes it first if need be. Who waits
// for another's computation stops waiting when ctx ends.
func once[T any](ctx context.Context, t *content, slot *atomic.Pointer[T], compute func() (T, error)) (T, error) {
	if v := slot.Load(); v != nil {
		return *v, nil
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if v := slot.Load(); v != nil {
		return *v, nil
	}
	v, err := compute()
	if err != nil {
		return none, err
	}
	slot.Store(&v)
	return v, nil
}

// readContent opens a file, lets use read it, and vouches that it was the one
// that key names all the time, as far as the grain of change times tells: some
// milliseconds before Linux 6.13.
func readContent(key ContentKey, open func() (*os.File, error), use func(*os.File) error) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkKey(f, key); err != nil {
		return err
	}
	err = use(f)
	// A change explains any error of the reading better than its own words.
	if changed := checkKey(f, key); changed != nil {
		return changed
	}
	return err
}

func checkKey(f *os.File, key ContentKey) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: f.Name(), Err: ErrNotRegular}
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || fi.Size() != key.Size || st.Ctim.Nano() != key.CtimeNsec {
		return &fs.PathError{Op: "read", Path: f.Name(), Err: ErrChanged}
	}
	return nil
}

// hash feeds the whole content to h.
func (c *Cache) hash(ctx context.Context, key ContentKey, open func() (*os.File, error), h hash.Hash) error {
	return readContent(key, open, func(f *os.File) error {
		if key.Size > MaxHashSize {
			return &fs.PathError{Op: "hash", Path: f.Name(), Err: ErrTooLarge}
		}
		buf := c.buffers.Get().(*[hashBuffer]byte)
		defer c.buffers.Put(buf)
		c.hashed.Add(1)
		for at := int64(0); at < key.Size; {
			if err := ctx.Err(); err != nil {
				return err
			}
			// Reading at an offset does not depend on where the descriptor stands.
			n, err := f.ReadAt(buf[:min(hashBuffer, key.Size-at)], at)
			h.Write(buf[:n])
			c.bytes.Add(int64(n))
			at += int64(n)
			if at == key.Size {
				return nil
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return &fs.PathError{Op: "hash", Path: f.Name(), Err: err}
			}
		}
		return nil
	})
}

// The ways in which SameContent decides.
const (
	ByBuildID = "build-id"
	BySize    = "size"
	BySHA256  = "sha256"
)

// SameContent reports whether a and b hold the same code, and what decided.
//
// Two GNU build IDs decide alone: a linker makes them from what it links, so
// equal ones mean equal code even when one file was stripped; and they stand in
// the file, so different ones mean different files. Otherwise the sizes are
// compared, and then the SHA-256 of the files. Go build IDs do not count, for
// they name the inputs of a build. Of a malformed ELF file counts what can be
// read.
func SameContent(ctx context.Context, c *Cache, a, b Ref) (same bool, how string, err error) {
	idA, err := c.buildID(ctx, a)
	if err != nil {
		return false, "", err
	}
	idB, err := c.buildID(ctx, b)
	if err != nil {
		return false, "", err
	}
	if idA != "" && idB != "" {
		return idA == idB, ByBuildID, nil
	}
	if a.Key.Size != b.Key.Size {
		return false, BySize, nil
	}
	sumA, err := c.SHA256(ctx, a.Key, a.Open)
	if err != nil {
		return false, "", err
	}
	sumB, err := c.SHA256(ctx, b.Key, b.Open)
	if err != nil {
		return false, "", err
	}
	return sumA == sumB, BySHA256, nil
}

// buildID returns the GNU build ID of r, empty if it has none.
func (c *Cache) buildID(ctx context.Context, r Ref) (string, error) {
	e, err := c.Facts(ctx, r.Key, r.Open)
	if _, ok := errors.AsType[*FormatError](err); ok || errors.Is(err, ErrNotELF) {
		err = nil
	}
	return e.BuildID, err
}
