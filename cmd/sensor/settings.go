package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// maxSocketName is the longest name of the socket in bytes: sun_path of unix(7)
// has 108, and takes ".new" and a NUL behind it while the socket is made.
const maxSocketName = 103

// parseSocket takes the absolute name of a unix socket.
func parseSocket(s string) (string, error) {
	if _, err := parseAbsolute(s); err != nil {
		return "", err
	}
	if len(s) > maxSocketName {
		return "", fmt.Errorf("%d bytes are more than the %d that a unix socket's name may have", len(s), maxSocketName)
	}
	return filepath.Clean(s), nil
}

// runtimeProtocols are the ways to speak to container runtimes.
var runtimeProtocols = []string{"docker", "containerd", "cri"}

// parseRuntime takes the socket of a container runtime as sensor.Options.Runtimes has
// it: its absolute path, which "docker:", "containerd:" or "cri:" may precede, or
// sensor.NoRuntimes.
func parseRuntime(s string) (string, error) {
	if s == sensor.NoRuntimes {
		return s, nil
	}
	path := s
	if protocol, rest, ok := strings.Cut(s, ":"); ok && slices.Contains(runtimeProtocols, protocol) {
		path = rest
	}
	if _, err := parseAbsolute(path); err != nil {
		return "", fmt.Errorf("%w, such as /run/docker.sock or containerd:/run/containerd/containerd.sock, or %s", err, sensor.NoRuntimes)
	}
	return s, nil
}

func parseAbsolute(s string) (string, error) {
	if !filepath.IsAbs(s) || strings.IndexByte(s, 0) >= 0 {
		return "", errors.New("want an absolute path")
	}
	return filepath.Clean(s), nil
}

// parseMode takes permission bits in octal, as chmod(1) does. Its owner must be
// able to use the socket, and nobody can execute one.
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n&^0o666 != 0 || n&0o600 != 0o600 {
		return 0, errors.New("want an octal mode such as 0660, with read and write alone, and both for the owner")
	}
	return fs.FileMode(n), nil
}

// parseGroup takes the name or the number of a group; whether it exists shows
// when the socket is made. Empty is nobody's.
func parseGroup(s string) (string, error) {
	if strings.ContainsAny(s, ": \t\n/\x00") {
		return "", errors.New("want the name or the number of a group")
	}
	return s, nil
}

// The kernel's buffers are a power of two of bytes and at least one page (ringbuf_map_alloc
// in kernel/bpf/ringbuf.c, perf_mmap in kernel/events/core.c); pages have up to 64 KiB.
const (
	minRing = 4 << 10
	maxRing = 1 << 30
)

// parseSentinel takes the absolute name of a directory, or nothing.
func parseSentinel(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return parseAbsolute(s)
}

// parsePercent takes a part of a hundred; 0 stands for never.
func parsePercent(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > 100 {
		return 0, errors.New("want percent: a number from 0, which is never, to 100")
	}
	return int(n), nil
}

// parseRing takes a size of buffers in bytes; 0 leaves the choice to the sensor.
func parseRing(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n != 0 && (n < minRing || n > maxRing || bits.OnesCount64(n) != 1) {
		return 0, fmt.Errorf("want bytes: a power of two from %d to %d, or 0", minRing, maxRing)
	}
	return int(n), nil
}

// parseSpan takes a length of time in Go's notation (time.ParseDuration) with a
// number of days of 24 hours before all else: 90s, 1h30m, 30d, 1d12h.
func parseSpan(s string) (time.Duration, error) {
	const day, longest = 24 * time.Hour, 36500 * 24 * time.Hour
	var sum time.Duration
	rest := s
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errSpan
		}
		sum, rest = time.Duration(n)*day, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > longest {
			return 0, errSpan
		}
		sum += d
	}
	if sum <= 0 || sum > longest {
		return 0, errSpan
	}
	return sum, nil
}

var errSpan = errors.New("want a length of time such as 90s, 12h or 30d")

// parseSweep takes a length of time, or "off".
func parseSweep(s string) (time.Duration, error) {
	if s == "off" {
		return -1, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return 0, fmt.Errorf("%w, or off", err)
	}
	return d, nil
}

// parseAddress takes HOST:PORT to listen on, of this machine alone; empty is
// nowhere. A name other than localhost could lead anywhere.
func parseAddress(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err == nil && host != "localhost" {
		var ip netip.Addr
		if ip, err = netip.ParseAddr(host); err == nil && !ip.Unmap().IsLoopback() {
			err = errAddress
		}
	}
	if err != nil {
		return "", errAddress
	}
	return s, nil
}

var errAddress = errors.New("want an address of this machine alone and a port, such as 127.0.0.1:9911")
