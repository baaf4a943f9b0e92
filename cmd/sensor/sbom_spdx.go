package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"time"

	spdxcommon "github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/patchsensor/patchsensor/sensor"
)

// notAsserted is what SPDX says where nobody looked.
const notAsserted = "NOASSERTION"

// writeSPDX writes a bill of materials by SPDX 2.3 as JSON. But for its time it depends
// on the packages alone.
func writeSPDX(w io.Writer, l *sensor.PackageList) error {
	const host = spdxcommon.ElementID("Host")
	d := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: cmp.Or(l.Host.Name, "host"),
		CreationInfo: &spdx.CreationInfo{Creators: []spdxcommon.Creator{{CreatorType: "Tool", Creator: "sensor-" + l.Version}}},
		Packages: []*spdx.Package{{
			PackageSPDXIdentifier: host, PackageName: cmp.Or(l.Host.Name, "host"), PackageDescription: l.Host.OS,
			PackageDownloadLocation: notAsserted, PrimaryPackagePurpose: "OPERATING-SYSTEM",
		}},
	}
	if !l.Complete {
		d.DocumentComment = "Not everything could be read: packages or processes may be missing."
	}
	relate := func(a spdxcommon.ElementID, how string, b spdxcommon.ElementID) {
		d.Relationships = append(d.Relationships, &spdx.Relationship{
			RefA: spdxcommon.DocElementID{ElementRefID: a}, Relationship: how, RefB: spdxcommon.DocElementID{ElementRefID: b},
		})
	}
	relate(d.SPDXIdentifier, spdxcommon.TypeRelationshipDescribe, host)
	for _, c := range components(l) {
		p := c.packages[0]
		sum := sha256.Sum256([]byte(c.purl))
		one := &spdx.Package{
			PackageSPDXIdentifier: spdxcommon.ElementID("Package-" + hex.EncodeToString(sum[:16])),
			PackageName:           p.Name, PackageVersion: p.Version, PackageDownloadLocation: notAsserted,
			PackageExternalReferences: []*spdx.PackageExternalReference{{
				Category: spdxcommon.CategoryPackageManager, RefType: spdxcommon.TypePackageManagerPURL, Locator: c.purl,
			}},
		}
		if p.Source != "" && p.Source != p.Name {
			one.PackageSourceInfo = "built from the source package " + p.Source
		}
		if p.Vendor != "" {
			one.PackageSupplier = &spdxcommon.Supplier{SupplierType: "Organization", Supplier: p.Vendor}
		}
		var facts []string
		for _, f := range c.facts() {
			facts = append(facts, f.name+"="+f.value)
		}
		one.PackageComment = strings.Join(facts, "\n")
		d.Packages = append(d.Packages, one)
		relate(host, spdxcommon.TypeRelationshipContains, one.PackageSPDXIdentifier)
	}
	id, err := identify(d)
	if err != nil {
		return err
	}
	d.DocumentNamespace = "urn:uuid:" + id
	d.CreationInfo.Created = l.ScannedAt.UTC().Format(time.RFC3339)
	return writeJSON(w, d)
}
