package rpm

import (
	"crypto"
	_ "crypto/md5" // the kinds that packages record
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

var errDigest = errors.New("checksum of a file is not one")

// digest returns the hash that a number of tag FILEDIGESTALGO stands for (RFC 9580,
// section 9.5); packages without it have MD5.
func digest(algorithm uint64) (crypto.Hash, bool) {
	h, ok := map[uint64]crypto.Hash{0: crypto.MD5, 1: crypto.MD5, 2: crypto.SHA1, 8: crypto.SHA256, 9: crypto.SHA384,
		10: crypto.SHA512, 11: crypto.SHA224}[algorithm]
	return h, ok
}

// Checksum returns what the owning package recorded for o.Path, and false if it recorded
// nothing: directories, links and ghosts have none, and kinds of checksums that are not
// known are none. RecordedAt is when the package was installed. The error is an
// *owner.Error.
func (d *Database) Checksum(o owner.Owned) (owner.Checksum, bool, error) {
	r, ok := d.find(o.Package)
	if !ok {
		return owner.Checksum{}, false, owner.Defect(d.name, -1, errUnknown)
	}
	sum := owner.Checksum{RecordedAt: r.installed}
	err := d.reread(r, func(h header) (err error) {
		sum.Hash, sum.Sum, err = h.checksum(o.Path)
		return err
	})
	if err != nil || sum.Sum == "" {
		return owner.Checksum{}, false, err
	}
	return sum, true, nil
}

// checksum returns the checksum of one file of a package, empty if it has none.
func (h header) checksum(path string) (crypto.Hash, string, error) {
	place := -1
	cut := strings.LastIndexByte(path, '/') + 1
	err := h.listed(func(f listed) bool {
		if string(f.base) == path[cut:] && string(f.dir) == path[:cut] {
			place = f.place
		}
		return place < 0
	})
	if place < 0 {
		return 0, "", err
	}
	algorithm, err := h.numbers(tagFileDigestAlgo)
	if err != nil {
		return 0, "", err
	}
	hash, known := digest(algorithm.at(0))
	sums, err := h.array(tagFileDigests)
	if err != nil || !known {
		return 0, "", err
	}
	for i, s := range sums.all() {
		if i != place || len(s) == 0 {
			continue
		}
		raw, err := hex.DecodeString(string(s))
		if err != nil || len(raw) != hash.Size() {
			return 0, "", errDigest
		}
		return hash, hex.EncodeToString(raw), nil
	}
	return 0, "", nil
}
