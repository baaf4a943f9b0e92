package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Limits of a passwd file: entries kept, and bytes of one line and of all.
const (
	maxUsers       = 1 << 17
	maxPasswdLine  = 4 << 10
	maxPasswdBytes = 32 << 20
)

// Users are the names of users by their numbers.
type Users map[uint32]string

// Name returns the name of a user.
func (u Users) Name(uid uint32) (name string, ok bool) {
	name, ok = u[uid]
	return name, ok
}

// ParseUsers reads a passwd file (passwd(5)). Of several names for one number
// the first counts, as it does for getpwuid(3). Lines that begin with "#", "+"
// or "-" (comments, and NIS as in nsswitch.conf(5)) name no user.
//
// A line that does not fit is left out, and the first of them is the error,
// with its byte offset; all else is returned beside it.
func ParseUsers(r io.Reader) (Users, error) {
	users := Users{}
	in := bufio.NewReaderSize(io.LimitReader(r, maxPasswdBytes), maxPasswdLine)
	var firstErr error
	offset := int64(0)
	fail := func(at int64, err error) {
		if firstErr == nil {
			firstErr = fmt.Errorf("passwd: offset %d: %w", at, err)
		}
	}
	for {
		at := offset
		line, err := in.ReadSlice('\n')
		offset += int64(len(line))
		if err == bufio.ErrBufferFull {
			fail(at, fmt.Errorf("a line of more than %d bytes", maxPasswdLine))
			for err == bufio.ErrBufferFull {
				line, err = in.ReadSlice('\n')
				offset += int64(len(line))
			}
			line = nil
		}
		if err != nil && err != io.EOF {
			fail(offset, err)
			return users, firstErr
		}
		if offset == maxPasswdBytes {
			fail(at, fmt.Errorf("more than %d bytes", maxPasswdBytes))
			return users, firstErr
		}
		if lineErr := users.add(string(line)); lineErr != nil {
			fail(at, lineErr)
		}
		if len(users) == maxUsers {
			fail(offset, fmt.Errorf("more than %d users", maxUsers))
			return users, firstErr
		}
		if err == io.EOF {
			return users, firstErr
		}
	}
}

func (u Users) add(line string) error {
	line = strings.TrimSuffix(line, "\n")
	if strings.TrimSpace(line) == "" || strings.IndexByte("#+-", line[0]) >= 0 {
		return nil
	}
	name, rest, _ := strings.Cut(line, ":")
	_, rest, _ = strings.Cut(rest, ":")
	number, _, ok := strings.Cut(rest, ":")
	if !ok || name == "" {
		return errors.New("too few fields")
	}
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return errors.New("the user's number is none")
	}
	if _, known := u[uint32(uid)]; !known {
		u[uint32(uid)] = strings.Clone(name)
	}
	return nil
}

// ReadUsers reads /etc/passwd of a root. Users that are known elsewhere only
// (LDAP, systemd-homed, DynamicUser=) have no names here.
func ReadUsers(root *file.Root) (Users, error) {
	f, err := root.Open("/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	users, err := ParseUsers(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), err)
	}
	return users, err
}
