package sensor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/store"
)

// seenBefore is a store of what was observed, by build ID alone.
type seenBefore map[string][]store.Knowledge

func (seenBefore) Known(context.Context, []store.FileKey) (map[store.FileKey]store.Knowledge, error) {
	return nil, nil
}

func (s seenBefore) KnownBuildID(_ context.Context, id string) ([]store.Knowledge, error) {
	return s[id], nil
}

// The order of trust: observed, embedded, matched, history, unknown; each of them alone,
// and before what follows.
func TestLoadedVersion(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "a.c")
	if err := os.WriteFile(source, []byte("int a;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := func(name, id, note string) *loaded {
		t.Helper()
		argv := []string{"-shared", "-Wl,--build-id=0x" + id, "-o", filepath.Join(dir, name), source}
		if note != "" {
			argv = append(argv, "-Xlinker", "--package-metadata="+note)
		}
		if out, err := exec.Command("gcc", argv...).CombinedOutput(); err != nil {
			t.Fatalf("gcc %q: %v\n%s", argv, err, out)
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		info, err := file.StatFD(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return &loaded{info: info, known: true, shown: f.Name(), id: info.ID}
	}
	plain := build("plain.so", "aa01", "")
	noted := build("noted.so", "aa02", `{"type":"rpm","name":"alpha","version":"1.embedded"}`)
	p := owner.Package{Manager: "rpm", Name: "alpha", Source: "alpha", Arch: "x86_64", Version: "9", SourceVersion: "9", State: owner.StateInstalled}
	known := func(version string) store.Knowledge {
		return store.Knowledge{Manager: p.Manager, Name: p.Name, Arch: p.Arch, Version: version}
	}
	other := known("1.other")
	other.Name = "beta"
	began := time.Unix(1_700_000_000, 0)
	changes := []owner.Change{
		{Name: "alpha", Arch: "x86_64", To: "1.history", Begin: began, End: began.Add(time.Minute)},
		{Name: "alpha", Arch: "x86_64", From: "1.history", To: "9", Begin: began.Add(time.Hour), End: began.Add(time.Hour + time.Minute)},
	}
	for _, c := range []struct {
		name     string
		file     *loaded
		observed bool
		seen     []store.Knowledge
		history  []owner.Change
		version  string
		evidence Evidence
	}{
		{"nothing", plain, false, nil, nil, "", EvidenceUnknown},
		{"history", plain, false, nil, changes, "1.history", History},
		{"matched", plain, false, []store.Knowledge{other, known("1.matched"), known("1.matched")}, changes, "1.matched", Matched},
		{"build ID of several versions", plain, false, []store.Knowledge{known("1.a"), known("1.b")}, nil, "", EvidenceUnknown},
		{"build ID of another package", plain, false, []store.Knowledge{other}, nil, "", EvidenceUnknown},
		{"embedded", noted, false, []store.Knowledge{known("1.matched")}, changes, "1.embedded", Embedded},
		{"observed", noted, true, []store.Knowledge{known("1.matched")}, changes, "1.observed", Observed},
	} {
		fs, err := proc.NewFS(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		root, err := file.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		sc := newScan(New(Options{Log: zap.NewNop()}), fs, root, SourceMaps, snapshot.BootTime(time.Now()))
		sc.mem = newMemory(zap.NewNop(), seenBefore{"aa01": c.seen, "aa02": c.seen})
		if c.observed {
			k := known("1.observed")
			sc.mem.observed[keyOfFile(c.file.info)] = &k
		}
		// Facts are read through a process as a rule; here they are read before.
		if _, err := sc.cache.Facts(t.Context(), sc.ref(c.file).Key, func() (*os.File, error) { return os.Open(c.file.shown) }); err != nil {
			t.Fatal(err)
		}
		pk := newPackages("/", managers()[1])
		pk.history = make(map[nameArch][]owner.Change)
		pk.history[nameArch{p.Name, p.Arch}] = c.history
		class := &class{file: c.file, shown: c.file.shown, owners: pk, first: place{process: &process{Process: new(snapshot.Process)}}}
		epoch := p
		epoch.Version, epoch.SourceVersion = "2:9", "2:9"
		if c.evidence == Embedded {
			// rpm's notes name no epoch.
			if version := sc.embedded(t.Context(), epoch, class); version != "2:"+c.version {
				t.Errorf("%s, of a package with an epoch: %q", c.name, version)
			}
		}
		version, evidence := sc.loadedVersion(t.Context(), pk, p, judgement{class: class, verdict: Verdict{State: Stale, Reason: Replaced}, facts: Facts{Started: began.Add(30 * time.Minute)}})
		over := judgement{class: class, verdict: Verdict{State: Stale, Reason: Overwritten}, facts: Facts{Started: began.Add(30 * time.Minute)}}
		if version, evidence := sc.loadedVersion(t.Context(), pk, p, over); evidence != History && evidence != EvidenceUnknown {
			t.Errorf("%s, written over: %q, %s", c.name, version, evidence)
		}
		if version != c.version || evidence != c.evidence {
			t.Errorf("%s: %q, %s; want %q, %s", c.name, version, evidence, c.version, c.evidence)
		}
		root.Close()
	}
}
