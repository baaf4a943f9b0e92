package distros

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// TestInstaller: where there is no apk the lab installs by itself, and that leaves the
// same files and the same database behind as apk does.
func TestInstaller(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	tool := lab.APKTool()
	if tool == "" {
		t.Skip("SKIPPED, NOT TESTED: there is no apk, which SENSOR_LAB_APK may name; Debian has no package of it")
	}
	d := apkDistro("apk", "", "")
	bar := func(history []release, file string) string {
		return d.build(t, pkg{
			name: "libbar1", source: "bar", history: history, links: map[string]string{"/usr/lib/libbar.so.1": file},
			files: map[string]string{"/usr/lib/" + file: d.library(t, "libbar.so.1", file)},
		})
	}
	steps := [][]string{
		{d.build(t, d.libfoo(t, d.first(), "1")), bar(d.first(), "libbar.so.1.0")},
		{d.build(t, d.libfoo(t, d.second(), "2"))},
		{bar(d.second(), "libbar.so.1.1")},
		{d.build(t, d.libfoo(t, d.first(), "1"))},
	}
	ours, theirs := lab.NewAPKTree(t, t.TempDir(), ""), lab.NewAPKTree(t, t.TempDir(), tool)
	compare := func(what string) {
		t.Helper()
		if a, b := installed(t, ours), installed(t, theirs); a != b {
			t.Errorf("%s: the lab's database is\n%s\nthat of %s\n%s", what, a, tool, b)
		}
		if a, b := listed(t, ours), listed(t, theirs); a != b {
			t.Errorf("%s: the lab's files are\n%s\nthose of %s\n%s", what, a, tool, b)
		}
	}
	for _, files := range steps {
		ours.Install(t, files...)
		theirs.Install(t, files...)
		compare(strings.Join(files, " "))
	}
	ours.Remove(t, "libbar1")
	theirs.Remove(t, "libbar1")
	compare("removed")
}

// installed is what the database says of packages and of files, in the order of packages.
func installed(t *testing.T, r lab.APKTree) string {
	t.Helper()
	text, err := os.ReadFile(r.Path("lib/apk/db/installed"))
	must(t, err)
	var stanzas []string
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		var b strings.Builder
		for line := range strings.Lines(strings.TrimSpace(stanza)) {
			// Directories without files are there in the one and not in the other.
			if strings.ContainsRune("PVAoRaZ", rune(line[0])) || line[0] == 'C' {
				b.WriteString(strings.TrimSpace(line) + "\n")
			}
		}
		stanzas = append(stanzas, b.String())
	}
	slices.SortFunc(stanzas, func(a, b string) int { return strings.Compare(after(a, "P:"), after(b, "P:")) })
	return strings.Join(stanzas, "\n")
}

func after(s, prefix string) string {
	_, rest, _ := strings.Cut(s, prefix)
	return rest
}

// listed are the files of packages with their modes, sizes and times.
func listed(t *testing.T, r lab.APKTree) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(r.Path("usr"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(r.Dir, name)
		b.WriteString(rel + " " + info.Mode().String())
		if info.Mode().IsRegular() {
			b.WriteString(" " + info.ModTime().UTC().Truncate(1e9).String())
		} else if target, err := os.Readlink(name); err == nil {
			b.WriteString(" -> " + target)
		}
		b.WriteString("\n")
		return nil
	}))
	return b.String()
}
