package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/url"
	"os"
	"strings"

	"modernc.org/sqlite"
)

// settings returns what every connection starts with:
//
//   - locking_mode EXCLUSIVE keeps the index of the log in memory of this process:
//     no -shm file that is mapped, hence no SIGBUS from a full disk or from
//     somebody who truncates it, and no shell that reads for hours and stops
//     checkpoints. The kernel drops the lock with the process.
//   - auto_vacuum INCREMENTAL, which only a new database can be given, returns the
//     space of pruned rows without room for a second copy, which VACUUM needs.
//   - journal WAL, synchronous NORMAL: no commit waits for the disk, only
//     checkpoints do. Killing the process loses nothing. A power cut may lose the
//     last commits, never integrity; what was lost is then within the gap that
//     begins at the last heartbeat, and all processes are new anyway.
//   - The rest is because the file may be hostile (sqlite.org/security.html), keeps
//     temporary data out of the file system, and bounds the log.
//
// The order counts: the locking mode comes before anything reads, auto_vacuum
// before anything is written. Nothing here writes to a database that is there: it
// may have to be moved aside as it is, or the disk may be full.
func settings(isNew bool) string {
	list := []string{
		"PRAGMA busy_timeout = 2000",
		"PRAGMA locking_mode = EXCLUSIVE",
		"PRAGMA trusted_schema = OFF",
		"PRAGMA cell_size_check = ON",
		"PRAGMA temp_store = MEMORY",
	}
	if isNew {
		// Of another one it would rewrite the header.
		list = append(list, "PRAGMA auto_vacuum = INCREMENTAL")
	}
	list = append(list,
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = NORMAL",
		"PRAGMA foreign_keys = ON",
		"PRAGMA wal_autocheckpoint = 1000",
		"PRAGMA journal_size_limit = 4194304",
	)
	return strings.Join(list, ";")
}

// connector applies the settings itself: the driver would sort those of a data
// source name by the alphabet.
type connector struct {
	driver.Connector
	path string
}

func newConnector(path string) (driver.Connector, error) {
	q := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_defensive": {"1"}, "_error_rc": {"1"}}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	return connector{c, path}, err
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	x, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver runs no statements"), conn.Close())
	}
	// The driver watches a context with a goroutine; this takes no longer than
	// busy_timeout and reading the log.
	info, err := os.Stat(c.path)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := x.ExecContext(context.WithoutCancel(ctx), settings(info.Size() == 0), nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
