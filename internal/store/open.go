package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Options bound the store. Zero is a default.
type Options struct {
	// MaxAge is how long closed exposures, patches, gaps, events, and knowledge that
	// was not seen again are kept. Default 90 days. Open exposures are never pruned.
	MaxAge time.Duration
	// MaxEvents is how many events are kept. Default 100,000.
	MaxEvents int
	// MaxBytes is the size of the database. Prune drops the oldest rows until it is
	// below; Write does so by itself at a quarter more. The log beside the database
	// comes on top: up to 4 MiB and the largest batch. Default 256 MiB.
	MaxBytes int64
	// First is below every Event.Seq that the store gives; 0 is the present time in
	// microseconds.
	First uint64
}

// Store is an open database. Its methods may be called concurrently.
type Store struct {
	place   *place
	db      *sql.DB
	options Options
	// first is below every Event.Seq that this Store gives.
	first  uint64
	closed atomic.Bool
}

// Open opens the store at path, makes it (and its directory) if there is none,
// and brings its schema up to date. Recovery is not nil if what was there had to be
// moved aside.
//
// Errors: [ErrLocked] if another Store has it open, [ErrUnsafe] if path is not a
// plain file of this user in a directory that only this user and root can write to,
// [ErrFull] if there is no space to make it, those of the context, and those of
// the machine (a disk that cannot be read is not cured by starting anew).
func Open(ctx context.Context, path string, o Options) (*Store, *Recovery, error) {
	if o.MaxAge < 0 || o.MaxEvents < 0 || o.MaxBytes < 0 {
		return nil, nil, errors.New("store: negative bound")
	}
	if o.MaxAge == 0 {
		o.MaxAge = 90 * 24 * time.Hour
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = 100_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	p, err := occupy(path)
	if err != nil {
		return nil, nil, err
	}
	first := o.First
	if first == 0 {
		first = uint64(max(0, time.Now().UnixMicro()))
	}
	// Microseconds: nobody writes events faster, so that numbers given after a
	// power cut or a loss of the store are above those that were lost with it.
	s := &Store{place: p, options: o, first: first}
	recovery, err := s.openOrRecover(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, p.leave())
	}
	return s, recovery, nil
}

func (s *Store) openOrRecover(ctx context.Context) (*Recovery, error) {
	why := s.place.leftOver()
	if why == nil {
		why = s.openFile(ctx)
	}
	if why == nil || !unusable(ctx, why) {
		return nil, why
	}
	recovery, err := s.place.moveAside(why)
	if err != nil {
		return nil, errors.Join(why, err)
	}
	if err := s.openFile(ctx); err != nil {
		return nil, err
	}
	return recovery, nil
}

// openFile leaves s.db open and the database checked, or nothing open.
func (s *Store) openFile(ctx context.Context) error {
	if err := s.place.create(); err != nil {
		return err
	}
	c, err := newConnector(s.place.path)
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	// One connection: the locking mode admits no second one.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	db.SetConnMaxLifetime(0)
	err = migrateChecked(ctx, db, s.first)
	if err == nil {
		err = rehearse(ctx, db, s.first)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.db = db
	return nil
}

// Close ends the store. It waits for what is under way.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return errors.Join(wrap(context.Background(), "close the store", err), s.db.Close(), s.place.leave())
	}
	return errors.Join(s.db.Close(), conn.Close(), s.place.leave())
}

// Size returns the bytes of the database and its log on the disk.
func (s *Store) Size() (int64, error) {
	info, err := os.Stat(s.place.path)
	if err != nil {
		return 0, fmt.Errorf("size of the store: %w", err)
	}
	size := info.Size()
	if info, err := os.Stat(s.place.path + "-wal"); err == nil {
		size += info.Size()
	}
	return size, nil
}
