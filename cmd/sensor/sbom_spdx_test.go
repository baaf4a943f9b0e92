package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	spdxjson "github.com/spdx/tools-golang/json"
	spdxcommon "github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/patchsensor/patchsensor/sensor"
)

func spdxText(t *testing.T, l *sensor.PackageList) string {
	t.Helper()
	var b bytes.Buffer
	if err := writeSPDX(&b, l); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func parseSPDX(t *testing.T, text string) *spdx.Document {
	t.Helper()
	d := &spdx.Document{}
	if err := spdxjson.ReadInto(strings.NewReader(text), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSPDX(t *testing.T) {
	d := parseSPDX(t, spdxText(t, stockList(t)))
	if d.SPDXVersion != "SPDX-2.3" || d.DataLicense != "CC0-1.0" || d.CreationInfo.Created != "2026-11-21T12:00:00Z" || d.DocumentComment != "" {
		t.Errorf("%+v of %+v", d, d.CreationInfo)
	}
	var got []string
	ids := make(map[spdxcommon.ElementID]bool)
	for _, p := range d.Packages {
		if ids[p.PackageSPDXIdentifier] {
			t.Errorf("%s is there twice", p.PackageSPDXIdentifier)
		}
		ids[p.PackageSPDXIdentifier] = true
		for _, r := range p.PackageExternalReferences {
			got = append(got, r.Locator)
		}
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", wantPurls) {
		t.Errorf("packages %q", got)
	}
	// The document describes the host, which contains all else.
	if len(d.Relationships) != len(d.Packages) {
		t.Errorf("%d relationships of %d packages", len(d.Relationships), len(d.Packages))
	}
	for i, r := range d.Relationships {
		from, how := spdxcommon.ElementID("Host"), spdxcommon.TypeRelationshipContains
		if i == 0 {
			from, how = "DOCUMENT", spdxcommon.TypeRelationshipDescribe
		}
		if r.RefA.ElementRefID != from || r.Relationship != how || !ids[r.RefB.ElementRefID] {
			t.Errorf("%+v", r)
		}
	}
	deterministic(t, func(l *sensor.PackageList) string { return spdxText(t, l) }, func(text string) string {
		return parseSPDX(t, text).DocumentNamespace
	})
	if d := parseSPDX(t, spdxText(t, &sensor.PackageList{})); len(d.Packages) != 1 || d.DocumentComment == "" {
		t.Errorf("an empty list gives %+v", d)
	}
}
