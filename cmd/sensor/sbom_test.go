package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/patchsensor/patchsensor/sensor"
)

// stockList is the list of the scripts.
func stockList(t testing.TB) *sensor.PackageList {
	t.Helper()
	l := &sensor.PackageList{}
	if err := (answers{filepath.Join("testdata", "answers"), "stock"}).read("packages", l); err != nil {
		t.Fatal(err)
	}
	return l
}

// wantPurls are the components of stockList: each once, whatever it is found in.
var wantPurls = []string{
	"pkg:apk/alpine/%3Devil%1B%5B31m%0A%E2%80%AEgnp@1.0-r0%07?arch=x86_64&distro=alpine-3.20.0",
	"pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12",
	"pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
	"pkg:deb/debian/libssl3@3.0.22-1~deb12u1?arch=amd64&distro=debian-12",
	"pkg:golang/github.com/example/tool",
	"pkg:golang/golang.org/x/sys@v0.30.0",
	"pkg:rpm/almalinux/openssl-libs@3.0.7-27.el9?arch=x86_64&distro=almalinux-9.4&epoch=1",
}

func TestFacts(t *testing.T) {
	var lines []string
	for _, c := range components(stockList(t)) {
		if strings.Contains(c.purl, "libc6") || strings.Contains(c.purl, "libssl3") || strings.Contains(c.purl, "x/sys") {
			lines = append(lines, fmt.Sprint(c.facts()))
		}
	}
	if got, want := strings.Join(lines, "\n"), `[{sensor:processes 414} {sensor:source glibc} {sensor:stale 0} {sensor:where /} {sensor:where image nginx:1.25}]
[{sensor:loaded_version 3.0.20-1~deb12u1} {sensor:processes 20} {sensor:source openssl} {sensor:stale 3} {sensor:where /}]
[{sensor:file /usr/local/bin/other} {sensor:file /usr/local/bin/tool} {sensor:processes 2} {sensor:stale 0} {sensor:where /}]`; got != want {
		t.Errorf("facts\n%s\nwant\n%s", got, want)
	}
}

// deterministic holds that a document depends on the packages and on nothing else but
// the time, and that a change of them changes its identity.
func deterministic(t *testing.T, write func(*sensor.PackageList) string, identity func(string) string) {
	t.Helper()
	first := write(stockList(t))
	shuffled := stockList(t)
	later := shuffled.ScannedAt.Add(time.Hour)
	shuffled.ScannedAt = later
	second := write(shuffled)
	if first == second || first != strings.Replace(second, later.Format(time.RFC3339), "2026-11-21T12:00:00Z", 1) {
		t.Error("two documents of the same packages differ in more than the time")
	}
	// The order of the roots decides which of them a component is named by, and no more.
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(shuffled.Packages), func(i, j int) {
		shuffled.Packages[i], shuffled.Packages[j] = shuffled.Packages[j], shuffled.Packages[i]
	})
	if write(shuffled) != second {
		t.Error("the order of the packages shows")
	}
	other := stockList(t)
	other.Packages = other.Packages[1:]
	if a, b := identity(first), identity(write(other)); a == b || a != identity(second) {
		t.Errorf("identities %s and %s", a, b)
	}
}

func cycloneDX(t *testing.T, l *sensor.PackageList) string {
	t.Helper()
	var b bytes.Buffer
	if err := writeCycloneDX(&b, l); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func parseCycloneDX(t *testing.T, text string) *cyclonedx.BOM {
	t.Helper()
	bom := &cyclonedx.BOM{}
	if err := cyclonedx.NewBOMDecoder(strings.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	return bom
}

func TestCycloneDX(t *testing.T) {
	bom := parseCycloneDX(t, cycloneDX(t, stockList(t)))
	if bom.SpecVersion != cyclonedx.SpecVersion1_6 || bom.Metadata.Timestamp != "2026-11-21T12:00:00Z" || bom.Metadata.Component.Name != "web1" {
		t.Errorf("%+v of %+v", bom, bom.Metadata)
	}
	var got []string
	for _, c := range *bom.Components {
		if c.PackageURL != c.BOMRef {
			t.Errorf("%s is called %s", c.PackageURL, c.BOMRef)
		}
		got = append(got, c.PackageURL)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", wantPurls) {
		t.Errorf("components %q", got)
	}
	deterministic(t, func(l *sensor.PackageList) string { return cycloneDX(t, l) }, func(text string) string {
		return parseCycloneDX(t, text).SerialNumber
	})
	if empty := parseCycloneDX(t, cycloneDX(t, &sensor.PackageList{})); empty.Components == nil || len(*empty.Components) != 0 {
		t.Error("an empty list has no list of components")
	}
}

// The schema is CycloneDX's own, which the library is published with.
func TestCycloneDXSchema(t *testing.T) {
	dir := moduleDir(t, "github.com/CycloneDX/cyclonedx-go")
	compiler := jsonschema.NewCompiler()
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		f, err := os.Open(filepath.Join(dir, "schema", file))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+name, document); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*sensor.PackageList{stockList(t), {}} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(cycloneDX(t, l)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Error(err)
		}
	}
}

// moduleDir is where the source of a module is.
func moduleDir(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.TrimSpace(string(out))
}
