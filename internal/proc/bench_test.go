package proc

import (
	"bytes"
	"testing"
)

func BenchmarkParseMaps(b *testing.B) {
	for _, name := range []string{"sleep", "odd"} {
		b.Run(name, func(b *testing.B) {
			text := fixture(b, "maps/"+name)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				if err := ParseMaps(bytes.NewReader(text), func(Area) { n++ }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "areas")
		})
	}
}

func BenchmarkParseRelocated(b *testing.B) {
	text := fixture(b, "smaps/loaded")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := parseRelocated(bytes.NewReader(text), smapsLibm); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkLinkMap(b *testing.B) {
	pid := sleeper(b).Process.Pid
	aux, err := open(b, pid).Auxv()
	if err != nil {
		b.Fatal(err)
	}
	var mem Memory
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = 0
		mem.Reset(pid)
		if err := LinkMap(&mem, aux, func(Linked) { n++ }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n), "objects")
}

// BenchmarkLinkMapHostile is the most that a process can make of its list.
func BenchmarkLinkMapHostile(b *testing.B) {
	m := newImage(8)
	m.words(m.at(2)+3*m.width, m.at(0))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.list(); err == nil {
			b.Fatal("no error")
		}
	}
}

func BenchmarkStat(b *testing.B) {
	p := open(b, sleeper(b).Process.Pid)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Stat(); err != nil {
			b.Fatal(err)
		}
	}
}
