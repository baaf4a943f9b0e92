package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Tags of a header (rpm's include/rpm/rpmtag.h).
const (
	tagName            = 1000
	tagVersion         = 1001
	tagRelease         = 1002
	tagEpoch           = 1003
	tagInstallTime     = 1008
	tagVendor          = 1011
	tagArch            = 1022
	tagOldFileNames    = 1027
	tagFileStates      = 1029
	tagFileModes       = 1030
	tagFileDigests     = 1035
	tagFileFlags       = 1037
	tagSourceRPM       = 1044
	tagChangelogTime   = 1080
	tagChangelogName   = 1081
	tagChangelogText   = 1082
	tagDirIndexes      = 1116
	tagBaseNames       = 1117
	tagDirNames        = 1118
	tagFileDigestAlgo  = 5011
	tagModularityLabel = 5096
)

// Types of the values of a tag (rpm's include/rpm/rpmtag.h, rpmTagType_e).
const (
	typeChar        = 1
	typeInt8        = 2
	typeInt16       = 3
	typeInt32       = 4
	typeInt64       = 5
	typeString      = 6
	typeStringArray = 8
	typeI18NString  = 9
)

const (
	// introLen is the length of what stands before the index, two numbers.
	introLen = 8
	// entryLen is the length of one entry of the index, four numbers.
	entryLen = 16
	// maxTags bounds the entries of an index, as rpm does (lib/header.cc,
	// hdrchkTags).
	maxTags = 0xffff
)

var (
	errIntro = errors.New("sizes of a header do not agree with its length")
	errEntry = errors.New("value lies outside of its header")
	errType  = errors.New("value has another type than it must")
)

// header is the header of one package as the database has it, without the magic of
// package files (rpm's docs/manual/format_header.md, lib/header.cc hdrblobInit): two
// numbers, the index of 16 bytes an entry, and the values. All numbers are big endian.
type header struct{ index, data []byte }

// parseHeader takes a header apart. Nothing is copied and no value is looked at.
func parseHeader(blob []byte) (header, error) {
	if len(blob) > maxHeader {
		return header{}, errSize
	}
	if len(blob) < introLen {
		return header{}, errIntro
	}
	n, size := int64(binary.BigEndian.Uint32(blob)), int64(binary.BigEndian.Uint32(blob[4:]))
	if n == 0 || n > maxTags || introLen+n*entryLen+size != int64(len(blob)) {
		return header{}, errIntro
	}
	end := introLen + n*entryLen
	return header{index: blob[introLen:end], data: blob[end:]}, nil
}

// value is the value of a tag: count elements, the first of which begins where data
// does.
type value struct {
	kind, count uint32
	data        []byte
}

// find returns the value of a tag, and false if there is none. Of several the last one
// counts: rpm adds changed values behind the signed ones and replaces those by them
// when it loads the header (lib/header.cc, hdrblobImport).
func (h header) find(tag uint32) (value, bool, error) {
	for i := len(h.index) - entryLen; i >= 0; i -= entryLen {
		e := h.index[i : i+entryLen]
		if binary.BigEndian.Uint32(e) != tag {
			continue
		}
		at := binary.BigEndian.Uint32(e[8:])
		if at > uint32(len(h.data)) {
			return value{}, false, fmt.Errorf("%w: tag %d", errEntry, tag)
		}
		return value{kind: binary.BigEndian.Uint32(e[4:]), count: binary.BigEndian.Uint32(e[12:]), data: h.data[at:]}, true, nil
	}
	return value{}, false, nil
}

// text returns the first string of a tag, empty if there is no such tag.
func (h header) text(tag uint32) (string, error) {
	v, ok, err := h.find(tag)
	if err != nil || !ok {
		return "", err
	}
	if v.kind != typeString && v.kind != typeStringArray && v.kind != typeI18NString {
		return "", fmt.Errorf("%w: tag %d", errType, tag)
	}
	end := bytes.IndexByte(v.data, 0)
	if end < 0 || v.count == 0 {
		return "", fmt.Errorf("%w: tag %d", errEntry, tag)
	}
	return string(v.data[:end]), nil
}

// texts is an array of strings.
type texts struct {
	count int
	data  []byte
}

// array returns the strings of a tag, none if there is no such tag.
func (h header) array(tag uint32) (texts, error) {
	v, ok, err := h.find(tag)
	if err != nil || !ok {
		return texts{}, err
	}
	switch {
	case v.kind == typeString && v.count == 1:
	case v.kind != typeStringArray && v.kind != typeI18NString:
		return texts{}, fmt.Errorf("%w: tag %d", errType, tag)
	}
	// Each has a byte at least, the NUL at its end.
	if int64(v.count) > int64(len(v.data)) {
		return texts{}, fmt.Errorf("%w: tag %d", errEntry, tag)
	}
	return texts{int(v.count), v.data}, nil
}

// all yields the strings with their places in the array. They lie in the header. It
// ends early where the header does.
func (t texts) all() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		rest := t.data
		for i := range t.count {
			end := bytes.IndexByte(rest, 0)
			if end < 0 || !yield(i, rest[:end]) {
				return
			}
			rest = rest[end+1:]
		}
	}
}

// numbers is an array of unsigned numbers, each of size bytes.
type numbers struct {
	count int
	size  int
	data  []byte
}

// numbers returns the numbers of a tag, none if there is no such tag.
func (h header) numbers(tag uint32) (numbers, error) {
	v, ok, err := h.find(tag)
	if err != nil || !ok {
		return numbers{}, err
	}
	var size int
	switch v.kind {
	case typeChar, typeInt8:
		size = 1
	case typeInt16:
		size = 2
	case typeInt32:
		size = 4
	case typeInt64:
		size = 8
	default:
		return numbers{}, fmt.Errorf("%w: tag %d", errType, tag)
	}
	if int64(v.count)*int64(size) > int64(len(v.data)) {
		return numbers{}, fmt.Errorf("%w: tag %d", errEntry, tag)
	}
	return numbers{int(v.count), size, v.data}, nil
}

// at returns the number at a place of the array, 0 if it has no such place.
func (n numbers) at(i int) uint64 {
	if i < 0 || i >= n.count {
		return 0
	}
	b := n.data[i*n.size:]
	switch n.size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}
