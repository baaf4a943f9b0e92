package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// door accepts the connections of those who may ask, as long as there are not
// too many, and sends the others away.
type door struct {
	*socket
	policy policy
	quota  *quota
	stats  *stats
	log    *zap.Logger
	// parting bounds how many that were sent away are waited for, grace how long.
	parting chan struct{}
	parted  sync.WaitGroup
	grace   time.Duration
}

// conn is a connection that was let in.
type conn struct {
	*net.UnixConn
	peer    peer
	release func()
}

// Close also makes room for another. net/http may call it more than once.
func (c *conn) Close() error {
	c.release()
	return c.UnixConn.Close()
}

// Accept returns the next connection that may come in.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.AcceptUnix()
		if err != nil {
			return nil, err
		}
		who, admitted, err := d.policy.identify(c)
		if !admitted {
			d.log.Debug("refused a connection", zap.Uint32("uid", who.uid), zap.Error(err))
			d.refuse(c, "forbidden", errForbidden)
			continue
		}
		release, ok := d.quota.take(who)
		if !ok {
			d.log.Debug("too many connections", zap.Uint32("uid", who.uid))
			d.refuse(c, "connections", errCrowded)
			continue
		}
		d.stats.accepted.Add(1)
		return &conn{c, who, sync.OnceFunc(release)}, nil
	}
}

// refuse answers without a look at the question and closes. The answer fits
// into the empty buffer of a new connection, so nothing waits.
func (d *door) refuse(c *net.UnixConn, why string, p *problem) {
	d.stats.refuse(why)
	c.SetDeadline(time.Now().Add(d.grace))
	if _, err := c.Write(canned(p)); err != nil {
		c.Close()
		return
	}
	// A client that still writes its question when the connection is gone may
	// see only that, and not the answer. A few are given the time.
	select {
	case d.parting <- struct{}{}:
	default:
		c.Close()
		return
	}
	d.parted.Go(func() {
		defer func() { <-d.parting }()
		defer c.Close()
		if c.CloseWrite() == nil {
			io.CopyN(io.Discard, c, maxHeader)
		}
	})
}

// canned is an answer as a whole.
func canned(p *problem) []byte {
	body := p.document()
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n",
		p.code, http.StatusText(p.code), typeJSON, len(body))
	if p.retry > 0 {
		fmt.Fprintf(&b, "Retry-After: %d\r\n", p.retry)
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// Close takes the name away first, so that who comes now finds no sensor rather
// than one that does not answer.
func (d *door) Close() error {
	return errors.Join(d.remove(), d.UnixListener.Close())
}
