package dpkg

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const docDir = "usr/share/doc/"

// Changelog returns what the changelog that p brought says of the versions
// newer than after, newest first. For a package rebuilt without a change of
// source (+bN), the entries of changelog.Debian.ARCH come first.
//
// The entries are those from p's own version down to, and without, the first
// one that is not newer than after. So an entry that p was made from counts
// even when its version sorts above p's, as 1.2-3 does above 1.2-3~bpo12+1.
// Complete says that such a last one was reached: a changelog whose old
// entries were removed may end before.
//
// Some packages put an epoch or more before the version of their source
// (libbpf1 is 1:1.1.2-1, of libbpf 1.1.2-1), and entries have the source's.
//
// The error is owner.ErrNoChangelog, with the reason, if there is no changelog
// (images often drop them) or it does not have p's version: then it numbers
// something else, which cannot be compared with versions of the package.
// Damage below p's version is told by Problems, and Complete is false.
func (d *Database) Changelog(p owner.Package, after string) (owner.Changelog, error) {
	var out owner.Changelog
	if !validName([]byte(p.Name)) {
		return out, fmt.Errorf("%w: %w", owner.ErrNoChangelog, errPackageName)
	}
	if _, err := Compare(p.Version, after); err != nil {
		return out, err
	}
	dir := docDir + p.Name + "/"
	names := [][]string{
		{dir + "changelog.Debian." + p.Arch + ".gz", dir + "changelog.Debian." + p.Arch},
		// Without a Debian changelog the package is a native one, or one of
		// which only the upstream changelog is left.
		{dir + "changelog.Debian.gz", dir + "changelog.Debian", dir + "changelog.gz", dir + "changelog"},
	}
	prefix := sourcePrefix(p)
	afterSource, ok := strings.CutPrefix(after, prefix)
	if !ok {
		return out, fmt.Errorf("%w: %s and %s are not numbered alike", owner.ErrNoChangelog, after, p.Version)
	}
	w := window{installed: p.Version[len(prefix):], after: afterSource, out: &out}
	var cause error
	for _, alternatives := range names {
		name, r, err := d.openFirst(alternatives)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			out.File = "/" + name
			err = w.read(newChangelogReader(name, r))
			r.Close()
		}
		if err != nil {
			cause = owner.Defect(name, -1, err)
			if oe := (*owner.Error)(nil); errors.As(err, &oe) {
				cause = oe
			}
			d.defects.Add(cause)
		}
		if out.Complete {
			break
		}
	}
	out.Complete = out.Complete && cause == nil
	switch {
	case w.found:
		return out, nil
	case cause != nil:
		return owner.Changelog{}, fmt.Errorf("%w: %w", owner.ErrNoChangelog, cause)
	case out.File != "":
		return owner.Changelog{}, fmt.Errorf("%w: %s does not have version %s", owner.ErrNoChangelog, out.File, w.installed)
	}
	return owner.Changelog{}, fmt.Errorf("%w in /%s", owner.ErrNoChangelog, dir)
}

// sourcePrefix returns what p's version has before that of its source, if it
// is just that version with something before it. Versions with the same prefix
// are ordered as what follows it.
func sourcePrefix(p owner.Package) string {
	prefix, ok := strings.CutSuffix(withoutRebuild(p.Version), withoutRebuild(p.SourceVersion))
	if !ok || p.SourceVersion == "" || !strings.HasSuffix(prefix, ":") && !strings.HasSuffix(prefix, "+") {
		return ""
	}
	return prefix
}

// signed is a version as the source has it of which a signed kernel is made: its own
// revision after a plus sign, as Debian's linux-signed-amd64 6.1.192+2 makes
// linux-image-6.1.0-56-amd64 6.1.192-2.
func signed(version string) string {
	i := strings.LastIndexByte(version, '-')
	if i < 0 {
		return version
	}
	return version[:i] + "+" + version[i+1:]
}

// openFirst opens the first of the files that exists.
func (d *Database) openFirst(names []string) (name string, r io.ReadCloser, err error) {
	for _, name = range names {
		r, err = d.openText(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return name, r, err
		}
	}
	return name, nil, err
}

// window takes the entries between two versions out of changelogs.
type window struct {
	installed, after string
	found            bool // the installed version has been met
	out              *owner.Changelog
}

// read takes what it needs of one changelog and stops as soon as it has it.
func (w *window) read(c *changelogReader) error {
	for {
		ver, err := c.header()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if ver == signed(w.installed) {
			ver = w.installed
		}
		if !w.found {
			newer, err := Compare(ver, w.installed)
			if err != nil {
				return owner.Defect(c.name, c.in.Start, err)
			}
			switch {
			case newer > 0:
				c.entry() // of a newer package that shares the directory
				continue
			case withoutRebuild(ver) != withoutRebuild(w.installed):
				return nil
			}
			w.found = true
		}
		order, err := Compare(ver, w.after)
		if err != nil {
			return owner.Defect(c.name, c.in.Start, err)
		}
		if order <= 0 {
			w.out.Complete = true
			return nil
		}
		if len(w.out.Entries) == maxEntries {
			return owner.Defect(c.name, c.in.Start, errEntries)
		}
		w.out.Entries = append(w.out.Entries, c.entry())
	}
}
