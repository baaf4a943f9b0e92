package rpm

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxWord bounds a name, a version or an architecture, in bytes.
	maxWord = 256
	// maxText bounds a vendor or a modularity label, in bytes.
	maxText = 1 << 10
)

var errWord = errors.New("not a name, version or architecture of a package")

// describe returns what a header says of its package.
func (h header) describe() (record, error) {
	var (
		r     record
		words [4]string
		err   error
	)
	for i, tag := range [...]uint32{tagName, tagVersion, tagRelease, tagArch} {
		if words[i], err = h.text(tag); err != nil {
			return r, err
		}
	}
	name, ver, release, arch := words[0], words[1], words[2], words[3]
	if arch == "" && name == "gpg-pubkey" {
		arch = "(none)"
	}
	for _, w := range [...]string{name, ver, release, arch} {
		if !validWord(w) {
			return r, fmt.Errorf("%w: %.64q", errWord, w)
		}
	}
	epoch, err := h.numbers(tagEpoch)
	if err != nil {
		return r, err
	}
	at, err := h.numbers(tagInstallTime)
	if err != nil {
		return r, err
	}
	source, err := h.text(tagSourceRPM)
	if err != nil {
		return r, err
	}
	r.Package = owner.Package{Manager: "rpm", Name: name, Arch: arch, Version: versionOf(epoch.at(0), ver, release), State: owner.StateInstalled}
	r.Source, r.SourceVersion = r.Name, r.Version
	if n, v, ok := sourceOf(source); ok {
		// The name of the source package has no epoch; it is taken to be the
		// package's own.
		r.Source = n
		if epoch.at(0) != 0 {
			v = strconv.FormatUint(epoch.at(0), 10) + ":" + v
		}
		r.SourceVersion = v
	}
	if r.Vendor, err = h.text(tagVendor); err != nil {
		return r, err
	}
	if r.Module, err = h.text(tagModularityLabel); err != nil {
		return r, err
	}
	if len(r.Vendor) > maxText || len(r.Module) > maxText {
		return r, fmt.Errorf("%w: vendor or module of %s", errWord, name)
	}
	if secs := at.at(0); secs > 0 && secs < math.MaxInt32*4 {
		r.installed = time.Unix(int64(secs), 0).UTC()
	}
	return r, nil
}

// versionOf is the version as rpm and its front ends print it; an epoch of 0 is as none.
func versionOf(epoch uint64, version, release string) string {
	if epoch == 0 {
		return version + "-" + release
	}
	return strconv.FormatUint(epoch, 10) + ":" + version + "-" + release
}

// sourceOf takes the name of a source package apart, NAME-VERSION-RELEASE.src.rpm.
func sourceOf(file string) (name, version string, ok bool) {
	stem, isSource := strings.CutSuffix(file, ".src.rpm")
	if !isSource {
		stem, isSource = strings.CutSuffix(file, ".nosrc.rpm")
	}
	release := strings.LastIndexByte(stem, '-')
	if !isSource || release <= 0 {
		return "", "", false
	}
	v := strings.LastIndexByte(stem[:release], '-')
	if v <= 0 || !validWord(stem) {
		return "", "", false
	}
	return stem[:v], stem[v+1:], true
}

// validWord holds names, versions and architectures to printable ASCII without blanks
// and slashes. rpm is stricter when it builds (build/parsePreamble.cc), and was laxer.
func validWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '/' {
			return false
		}
	}
	return s != "" && len(s) <= maxWord && s != "." && s != ".."
}
