package advisory

import (
	"strings"
	"time"
)

// Ranks of records about one CVE: the lowest that there is decides.
const (
	rankTracker = 0 // Debian's security tracker
	rankSingle  = 1 // a record that is about one CVE by its name
	rankBundle  = 2 // an advisory, which may be about several
)

// Bounds on what is taken from one record. Real ones stay far below.
const (
	maxID       = 128     // bytes of an ID
	maxIDs      = 4096    // IDs in a record
	maxName     = 512     // bytes of the name of a package or an ecosystem
	maxAffected = 50_000  // packages in a record
	maxVersions = 100_000 // versions in one list
	maxEvents   = 10_000  // events of one package
)

// record is one advisory, from whichever file.
type record struct {
	id        string
	rank      int
	modified  time.Time
	withdrawn bool
	cves      []string // what it is about, without repetition; never empty
	aliases   []string
	severity  Severity
	packages  []affectedPackage
}

// affectedPackage is what a record says of one package in one ecosystem.
type affectedPackage struct {
	ecosystem, name string
	spans           []span
	versions        []string
	severity        Severity
	undetermined    bool
}

// cveOf returns the CVE that an ID is or that a distribution put a prefix to, as in
// UBUNTU-CVE-2024-1234.
func cveOf(id string) (string, bool) {
	i := strings.Index(id, "CVE-")
	if i < 0 || i > 0 && (id[i-1] != '-' || !of(id[:i], "-")) {
		return "", false
	}
	year, number, ok := strings.Cut(id[i+len("CVE-"):], "-")
	if !ok || len(year) != 4 || digits(year) != 4 || len(number) < 4 || len(number) > 19 || digits(number) != len(number) {
		return "", false
	}
	return id[i:], true
}

// validID holds IDs to what can stand in a list with blanks between.
func validID(id string) bool { return id != "" && len(id) <= maxID && printable(id) }

// ofDistribution tells whether an ID is that of a distribution's advisory, for which
// "related" lists the CVEs that it fixes. Elsewhere it lists different
// vulnerabilities that merely have to do with it.
func ofDistribution(id string) bool {
	for _, prefix := range []string{"DSA-", "DLA-", "DTSA-", "USN-", "LSN-", "RHSA-", "RHBA-", "RHEA-", "ALSA-", "ALBA-",
		"ALEA-", "RLSA-", "RXSA-", "SUSE-", "openSUSE-", "MGASA-", "OESA-"} {
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}

// noVulnerability tells whether an advisory without a CVE is about bugs or features
// only.
func noVulnerability(id string) bool {
	for _, prefix := range []string{"RHBA-", "RHEA-", "ALBA-", "ALEA-", "SUSE-RU-", "SUSE-FU-", "SUSE-OU-",
		"openSUSE-RU-", "openSUSE-FU-", "openSUSE-OU-"} {
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}

// name fills in what a record is about, from its own ID, else from those that it
// refers to.
func (r *record) name(aliases, upstream, related []string) {
	if cve, ok := cveOf(r.id); ok {
		r.rank, r.cves = rankSingle, []string{cve}
		r.addAliases(aliases, upstream)
		return
	}
	r.rank = rankBundle
	r.addCVEs(aliases, upstream)
	if len(r.cves) == 0 && ofDistribution(r.id) {
		r.addCVEs(related)
	}
	if len(r.cves) == 0 {
		r.cves = []string{r.id}
	}
	if len(r.cves) == 1 {
		r.addAliases(aliases, upstream)
	}
}

func (r *record) addCVEs(lists ...[]string) {
	seen := make(map[string]bool)
	for _, list := range lists {
		for _, id := range list {
			if cve, ok := cveOf(id); ok && !seen[cve] && len(r.cves) < maxIDs {
				seen[cve] = true
				r.cves = append(r.cves, cve)
			}
		}
	}
}

func (r *record) addAliases(lists ...[]string) {
	seen := map[string]bool{r.id: true}
	for _, list := range lists {
		for _, id := range list {
			if _, isCVE := cveOf(id); !isCVE && !seen[id] && validID(id) && len(r.aliases) < maxIDs {
				seen[id] = true
				r.aliases = append(r.aliases, id)
			}
		}
	}
}
