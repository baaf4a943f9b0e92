// Package advisory answers, offline, which published vulnerabilities affect a
// version of a package and which were fixed between two versions. The data are
// files that an operator put in a directory:
//
//   - OSV records (ossf.github.io/osv-schema): one a file, many in one file, or
//     the all.zip of an ecosystem as osv.dev exports it;
//   - the JSON of Debian's security tracker (security-tracker.debian.org/tracker/data/json);
//   - CISA's catalogue of known exploited vulnerabilities (known_exploited_vulnerabilities.json).
//
// Any of them may be compressed by gzip or zstd. What a file is its content
// tells, not its name. [Import] reads them once into one SQLite file, built aside
// and renamed; [Open] reads that file and never writes.
//
// # Who is believed
//
// Several records may speak of one CVE in one package of one release. The
// tracker counts before the records of a single CVE (DEBIAN-CVE-…, UBUNTU-CVE-…),
// and those before advisories about several (DSA, USN, RHSA). Among advisories each
// is taken for itself, because releases with module streams have several lines of
// versions at once: a CVE is fixed as soon as one advisory that names it is.
//
// # Not known
//
// No answer is never "not affected": a version that cannot be compared is
// [ErrVersion], an ecosystem that no record speaks of is [ErrNotCovered].
package advisory
