package rpm

import (
	"errors"
	"fmt"

	"github.com/google/osv-scalibr/semantic"
)

var errVersion = errors.New("not a version of rpm")

// Compare orders two versions, [EPOCH:]VERSION[-RELEASE], by the rules of
// rpm-version(7): negative, zero or positive as a is older than, as old as, or newer
// than b. No epoch is epoch 0.
func Compare(a, b string) (int, error) {
	for _, s := range [...]string{a, b} {
		if !validWord(s) {
			return 0, fmt.Errorf("%w: %.64q", errVersion, s)
		}
	}
	return semantic.ParseRedHatVersion(a).Compare(semantic.ParseRedHatVersion(b))
}
