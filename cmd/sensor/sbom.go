package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"

	"github.com/patchsensor/patchsensor/sensor"
)

// component is one package of a bill of materials, wherever it is.
type component struct {
	purl     string
	packages []*sensor.ListedPackage // one at least
}

// components are those of a list, each once, by purl.
func components(l *sensor.PackageList) []component {
	list := []component{}
	at := make(map[string]int)
	for i := range l.Packages {
		p := &l.Packages[i]
		id := purl(p)
		if _, ok := at[id]; !ok {
			at[id] = len(list)
			list = append(list, component{purl: id})
		}
		list[at[id]].packages = append(list[at[id]].packages, p)
	}
	slices.SortFunc(list, func(a, b component) int { return cmp.Compare(a.purl, b.purl) })
	return list
}

// fact is something that a bill of materials has no field for.
type fact struct{ name, value string }

// facts are what sensor alone knows of a component; a name may stand more than once.
func (c *component) facts() []fact {
	var processes, stale int
	var list []fact
	add := func(name, value string) {
		if f := (fact{"sensor:" + name, value}); value != "" && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	for _, p := range c.packages {
		processes += p.Processes
		stale += p.Stale
		if p.Source != p.Name {
			add("source", p.Source)
		}
		add("module", p.Module)
		add("where", p.Where)
		add("file", p.File)
		for _, v := range p.LoadedVersions {
			add("loaded_version", v.Version)
		}
	}
	add("processes", strconv.Itoa(processes))
	add("stale", strconv.Itoa(stale))
	slices.SortFunc(list, func(a, b fact) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value)) })
	return list
}

// identify derives a UUID from a document: equal content has an equal one (RFC 9562,
// version 8).
func identify(document any) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(document); err != nil {
		return "", err
	}
	id := h.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	s := hex.EncodeToString(id)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-"), nil
}

// writeCycloneDX writes a bill of materials by CycloneDX 1.6 (ECMA-424) as JSON. But for
// its time it depends on the packages alone.
func writeCycloneDX(w io.Writer, l *sensor.PackageList) error {
	bom := cyclonedx.NewBOM()
	bom.SpecVersion, bom.JSONSchema = cyclonedx.SpecVersion1_6, "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.Metadata = &cyclonedx.Metadata{
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{
			Type: cyclonedx.ComponentTypeApplication, Name: "sensor", Version: l.Version,
		}}},
		Component: &cyclonedx.Component{
			BOMRef: "host", Type: cyclonedx.ComponentTypeOS, Name: cmp.Or(l.Host.Name, "host"), Description: l.Host.OS,
		},
		Properties: &[]cyclonedx.Property{{Name: "sensor:complete", Value: strconv.FormatBool(l.Complete)}},
	}
	list := []cyclonedx.Component{}
	for _, c := range components(l) {
		p := c.packages[0]
		one := cyclonedx.Component{
			BOMRef: c.purl, Type: cyclonedx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, Publisher: p.Vendor, PackageURL: c.purl,
		}
		properties := []cyclonedx.Property{}
		for _, f := range c.facts() {
			properties = append(properties, cyclonedx.Property{Name: f.name, Value: f.value})
		}
		one.Properties = &properties
		list = append(list, one)
	}
	bom.Components = &list
	id, err := identify(bom)
	if err != nil {
		return err
	}
	bom.SerialNumber = "urn:uuid:" + id
	bom.Metadata.Timestamp = l.ScannedAt.UTC().Format(time.RFC3339)
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom)
}
