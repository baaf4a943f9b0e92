package rpm

import (
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// cvesIn returns the CVE ids in a text, upper case, in order and each once.
func cvesIn(text []byte) (ids []string, err error) {
	for {
		id, rest := owner.NextCVE(text)
		if id == nil {
			break
		}
		text = rest
		if len(ids) == maxCVEs {
			err = errCVEs
			break
		}
		ids = append(ids, strings.ToUpper(string(id)))
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}
