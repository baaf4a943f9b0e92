package api

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// oddTexts are strings of every kind that JSON writes in its own way.
var oddTexts = []string{"", "plain", " ~", `"\`, "<&>", "é日本", "a\u202eb", "\x1b[2J\x7f\u0085\n", "\u2028\u2029", "\xff\xfe", "\U000e0001\U0001f600", "\x00"}

// fill gives a value and all that it holds something, of any kind that may be there.
// With fuller nothing is left empty.
func fill(r *rand.Rand, v reflect.Value, fuller bool) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(oddTexts[r.IntN(len(oddTexts))])
		if fuller {
			v.SetString("x")
		}
	case reflect.Bool:
		v.SetBool(fuller || r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64}[r.IntN(5)])
		if fuller {
			v.SetInt(7)
		}
	case reflect.Uint32:
		v.SetUint([]uint64{0, 1, math.MaxUint32}[r.IntN(3)])
		if fuller {
			v.SetUint(7)
		}
	case reflect.Float64:
		v.SetFloat([]float64{0, 1, -2.5, 1e-9, 1e21, math.MaxFloat64}[r.IntN(6)])
		if fuller {
			v.SetFloat(0.5)
		}
	case reflect.Pointer:
		if fuller || r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem(), fuller)
		}
	case reflect.Slice:
		n := r.IntN(4) - 1 // none at all, which is null
		if fuller {
			n = 2
		}
		if n < 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i), fuller)
		}
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			zones := []*time.Location{time.UTC, time.FixedZone("", 3600*5+1800), time.FixedZone("", -60)}
			v.Set(reflect.ValueOf(time.Unix(r.Int64N(1<<33), []int64{0, 1e6, 123456789}[r.IntN(3)]).In(zones[r.IntN(3)])))
			return
		}
		for i := range v.NumField() {
			fill(r, v.Field(i), fuller)
		}
	default:
		panic("a report holds something of kind " + v.Kind().String())
	}
}

func compareEncodings(t *testing.T, r *sensor.Report) {
	t.Helper()
	want, wantErr := encode(r)
	got, err := encodeReport(r, []byte("what was there before"))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%v, want %v", err, wantErr)
	}
	if !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Fatalf("from byte %d on\n%.200q, want\n%.200q", i, got[max(0, i-40):], want[max(0, i-40):])
	}
}

// TestEncodeReport holds that a report is what encoding/json makes of it, whatever is in
// it: a field that was added to any of its types fails here.
func TestEncodeReport(t *testing.T) {
	compareEncodings(t, &sensor.Report{})
	compareEncodings(t, sinktest.Report(3))
	var full sensor.Report
	fill(rand.New(rand.NewPCG(1, 1)), reflect.ValueOf(&full).Elem(), true)
	compareEncodings(t, &full)
	for seed := range uint64(2000) {
		var r sensor.Report
		fill(rand.New(rand.NewPCG(seed, 2)), reflect.ValueOf(&r).Elem(), false)
		compareEncodings(t, &r)
	}
	for _, at := range []time.Time{{}, time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		compareEncodings(t, &sensor.Report{Findings: []sensor.Finding{{Since: &at}}})
	}
	compareEncodings(t, &sensor.Report{DurationSeconds: math.NaN(), Findings: []sensor.Finding{}})
}

// TestPlain holds that the bytes of a string are looked at alike wherever they stand.
func TestPlain(t *testing.T) {
	for c := range 256 {
		for length := range 20 {
			for at := range length {
				b := bytes.Repeat([]byte("z"), length)
				b[at] = byte(c)
				if got, want := plain(string(b)), plainBytes(string(b)); got != want {
					t.Fatalf("%q: %t", b, got)
				}
				for i := range b {
					b[i] = byte(c)
				}
				if got, want := plain(string(b)), plainBytes(string(b)); got != want {
					t.Fatalf("%q: %t", b, got)
				}
			}
		}
	}
}

func FuzzEncodeReport(f *testing.F) {
	for _, s := range oddTexts {
		f.Add(s, uint64(len(s)))
	}
	f.Fuzz(func(t *testing.T, s string, seed uint64) {
		var r sensor.Report
		fill(rand.New(rand.NewPCG(seed, 3)), reflect.ValueOf(&r).Elem(), false)
		r.Findings = append(r.Findings, sensor.Finding{
			ID: s, Workload: sensor.Workload{Name: s}, Packages: []sensor.Package{{Name: s, CVEs: strings.Fields(s)}},
			Processes: []sensor.Process{{Comm: s, Files: []sensor.File{{Path: s, Detail: s}}}},
		})
		compareEncodings(t, &r)
	})
}
