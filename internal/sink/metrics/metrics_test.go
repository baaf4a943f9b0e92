package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/patchsensor/patchsensor/internal/api"
	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// patience is how long a test waits before it takes something for hung.
const patience = 30 * time.Second

// underTest gives a Sink the Live of the contract.
type underTest struct{ *Sink }

func (u underTest) Run(ctx context.Context, l *sinktest.Live) error { return u.run(ctx, l) }

func TestContract(t *testing.T) {
	for name, address := range map[string]string{"no address": "", "an address": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, func(*testing.T) sinktest.Sink { return underTest{New(Options{Address: address})} })
		})
	}
	var _ sensor.Sink = (*Sink)(nil)
	var _ live = (*sensor.Live)(nil)
}

// start runs a sink until the test ends.
func start(t *testing.T, s *Sink, l live) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	for give := time.Now().Add(patience); s.live.Load() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatal("Run does not begin")
		}
	}
}

const day = 24 * time.Hour

func rich() *sinktest.Live {
	return &sinktest.Live{Measured: sensor.Measurements{
		Ready: true, Tier: "lsm", Source: "bpf", Processes: 412, Loads: 8201, Files: 903,
		Findings: map[sensor.FindingKey]int{
			{State: sensor.Stale, Action: sensor.Restart, Domain: sensor.DomainHost}:    4,
			{State: sensor.Missing, Action: sensor.None, Domain: sensor.DomainRuntime}:  1,
			{State: sensor.Unknown, Action: sensor.None, Domain: sensor.DomainHost}:     3,
			{State: sensor.Stale, Action: sensor.Redeploy, Domain: sensor.DomainImage}:  2,
			{State: sensor.State("new"), Action: "new", Domain: sensor.Domain("other")}: 9,
		},
		Exposures: map[sensor.Domain][]time.Duration{
			sensor.DomainHost:  {time.Minute, time.Hour, 2 * time.Hour, 100 * day, -time.Second},
			sensor.DomainImage: {8 * day},
		},
		Events:     map[sensor.EventType]uint64{sensor.EventStale: 5, sensor.EventResolved: 2},
		Observed:   []sensor.Counter{{Name: "exec", Count: 10}, {Name: "fork", Count: 20}},
		Losses:     []sensor.Counter{{Name: "ring", Count: 1}, {Name: "ring", Count: 2}, {Name: "queue", Count: 0}},
		Judgements: sensor.Judgements{Count: 3, Seconds: 1.5, LastSeconds: 0.25},
		StoreBytes: 4096, StoreOK: true, CPUSeconds: 12.5, Memory: 30 << 20,
	}}
}

// The door's own count is what a Door is made from.
var _ = Door(api.Stats{})

func door() Door {
	return Door{
		Connections: 2, Streams: 1, Accepted: 7, Dropped: 1, Refused: map[string]uint64{"forbidden": 3},
		Requests: map[string]map[int]uint64{"/v1/stale": {200: 5, 503: 1}},
	}
}

func TestMetrics(t *testing.T) {
	s := New(Options{Version: "1.2.3", Door: door})
	start(t, s, rich())
	const want = `
# HELP sensor_api_connections Open connections to the socket.
# TYPE sensor_api_connections gauge
sensor_api_connections 2
# HELP sensor_api_refused_total Connections and questions that were refused.
# TYPE sensor_api_refused_total counter
sensor_api_refused_total{why="forbidden"} 3
# HELP sensor_api_requests_total Requests that were answered.
# TYPE sensor_api_requests_total counter
sensor_api_requests_total{code="200",endpoint="/v1/stale"} 5
sensor_api_requests_total{code="503",endpoint="/v1/stale"} 1
# HELP sensor_build_info The version of the running sensor; always 1.
# TYPE sensor_build_info gauge
sensor_build_info{version="1.2.3"} 1
# HELP sensor_cpu_seconds_total Processor time of the sensor itself, user and system.
# TYPE sensor_cpu_seconds_total counter
sensor_cpu_seconds_total 12.5
# HELP sensor_events_total Events told since the start.
# TYPE sensor_events_total counter
sensor_events_total{type="changed"} 0
sensor_events_total{type="gap"} 0
sensor_events_total{type="missing"} 0
sensor_events_total{type="patch"} 0
sensor_events_total{type="resolved"} 2
sensor_events_total{type="stale"} 5
sensor_events_total{type="unknown"} 0
# HELP sensor_judgement_seconds_total Time spent in these passes.
# TYPE sensor_judgement_seconds_total counter
sensor_judgement_seconds_total 1.5
# HELP sensor_judgements_total Passes over everything that is tracked, since the start.
# TYPE sensor_judgements_total counter
sensor_judgements_total 3
# HELP sensor_last_judgement_seconds Length of the last pass.
# TYPE sensor_last_judgement_seconds gauge
sensor_last_judgement_seconds 0.25
# HELP sensor_losses_total What was not observed or not kept since the start; each is followed by a new look at what it may have hidden.
# TYPE sensor_losses_total counter
sensor_losses_total{what="queue"} 0
sensor_losses_total{what="ring"} 3
# HELP sensor_observed_total What the kernel told since the start.
# TYPE sensor_observed_total counter
sensor_observed_total{kind="exec"} 10
sensor_observed_total{kind="fork"} 20
# HELP sensor_ready Whether everything that runs was looked at once since the start.
# TYPE sensor_ready gauge
sensor_ready 1
# HELP sensor_resident_memory_bytes Resident memory of the sensor itself.
# TYPE sensor_resident_memory_bytes gauge
sensor_resident_memory_bytes 3.145728e+07
# HELP sensor_store_bytes Size of the sensor's database.
# TYPE sensor_store_bytes gauge
sensor_store_bytes 4096
# HELP sensor_store_up Whether the database keeps what it is given.
# TYPE sensor_store_up gauge
sensor_store_up 1
# HELP sensor_tracking_info How executable mappings are seen (tier) and read (source); always 1.
# TYPE sensor_tracking_info gauge
sensor_tracking_info{source="bpf",tier="lsm"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]float64{"sensor_processes": 412, "sensor_loads": 8201, "sensor_files": 903, "sensor_api_streams": 1,
		"sensor_api_connections_accepted_total": 7, "sensor_api_streams_dropped_total": 1} {
		if got := family(t, s, name).Metric; len(got) != 1 || got[0].GetGauge().GetValue()+got[0].GetCounter().GetValue() != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func family(t *testing.T, s *Sink, name string) *dto.MetricFamily {
	t.Helper()
	all, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

// label returns the value of a label.
func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// TestLint holds what Prometheus asks of names and help texts.
func TestLint(t *testing.T) {
	s := New(Options{Version: "1", Door: door})
	start(t, s, rich())
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestFindings(t *testing.T) {
	s := New(Options{})
	start(t, s, rich())
	got := make(map[[3]string]float64)
	for _, m := range family(t, s, "sensor_findings").Metric {
		got[[3]string{label(m, "state"), label(m, "action"), label(m, "domain")}] = m.GetGauge().GetValue()
	}
	for key, want := range map[[3]string]float64{
		{"stale", "restart", "host"}: 4, {"missing", "none", "container-runtime"}: 1, {"unknown", "none", "host"}: 3,
		{"stale", "redeploy", "image"}: 2, {"stale", "reboot", "host"}: 0, {"new", "new", "other"}: 9,
	} {
		if n, ok := got[key]; !ok || n != want {
			t.Errorf("%v: %v, %t, want %v", key, n, ok, want)
		}
	}
}

// TestUnjudged holds that what is not known yet is not told as none.
func TestUnjudged(t *testing.T) {
	s := New(Options{})
	names := func() string {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if got := names(); !strings.Contains(got, "sensor_ready 0\n") || strings.Contains(got, "sensor_processes") {
		t.Errorf("before the start:\n%s", got)
	}
	start(t, s, &sinktest.Live{Measured: sensor.Measurements{Findings: map[sensor.FindingKey]int{}}})
	got := names()
	for _, name := range []string{"sensor_findings", "sensor_last_judgement_seconds", "sensor_tracking_info"} {
		if strings.Contains(got, name) {
			t.Errorf("before the first judgement there is %s", name)
		}
	}
	if !strings.Contains(got, "sensor_ready 0\n") || !strings.Contains(got, "sensor_judgements_total 0\n") {
		t.Errorf("before the first judgement:\n%s", got)
	}
}

// TestAges holds that each bucket counts the exposures up to its bound.
func TestAges(t *testing.T) {
	s := New(Options{})
	l := rich()
	start(t, s, l)
	metrics := family(t, s, "sensor_exposure_age_seconds").Metric
	if len(metrics) != len(domains()) {
		t.Errorf("%d domains", len(metrics))
	}
	for _, m := range metrics {
		exposures := l.Measured.Exposures[sensor.Domain(label(m, "domain"))]
		h := m.GetHistogram()
		if h.GetSampleCount() != uint64(len(exposures)) {
			t.Errorf("%v: %d exposures, want %d", m.Label, h.GetSampleCount(), len(exposures))
		}
		for _, b := range h.Bucket {
			want := uint64(0)
			for _, e := range exposures {
				if e <= time.Duration(b.GetUpperBound())*time.Second {
					want++
				}
			}
			if b.GetCumulativeCount() != want {
				t.Errorf("%v up to %v: %d, want %d", m.Label, b.GetUpperBound(), b.GetCumulativeCount(), want)
			}
		}
	}
}

// TestDurations holds that every exposure that ended is counted once, whatever
// becomes of other events.
func TestDurations(t *testing.T) {
	l := &sinktest.Live{}
	ended := func(domain sensor.Domain, seconds float64) {
		l.Emit(sensor.Event{Type: sensor.EventResolved, Finding: &sensor.Finding{Domain: domain}, Exposure: &sensor.Exposure{Seconds: seconds}})
	}
	// This was before the start.
	ended(sensor.DomainHost, 1)
	failures := 1
	l.Reading = func(context.Context) error {
		if failures > 0 {
			failures--
			return errors.New("no database")
		}
		return nil
	}
	s := New(Options{})
	s.pause = time.Millisecond
	start(t, s, l)
	waitFor := func(domain string, count uint64, sum float64) {
		t.Helper()
		for give := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			for _, m := range family(t, s, "sensor_exposure_duration_seconds").Metric {
				h := m.GetHistogram()
				if label(m, "domain") == domain && h.GetSampleCount() == count && h.GetSampleSum() == sum {
					return
				}
			}
			if time.Now().After(give) {
				t.Fatalf("%s: never %d of %v s: %v", domain, count, sum, family(t, s, "sensor_exposure_duration_seconds"))
			}
		}
	}
	waitFor("image", 0, 0)
	ended(sensor.DomainHost, 90)
	ended(sensor.DomainImage, 30)
	l.Emit(sensor.Event{Type: sensor.EventStale, Finding: &sensor.Finding{Domain: sensor.DomainHost}, Exposure: &sensor.Exposure{Seconds: 1000}})
	l.Emit(sensor.Event{Type: sensor.EventResolved, Finding: &sensor.Finding{Domain: sensor.DomainHost}})
	for range 300 {
		ended(sensor.DomainHost, 1)
	}
	waitFor("image", 1, 30)
	waitFor("host", 301, 390)
	l.Forget(l.Emit(sensor.Event{Type: sensor.EventPatch}))
	ended(sensor.DomainHost, 10)
	waitFor("host", 302, 400)
}

func TestLocal(t *testing.T) {
	for _, test := range []struct {
		address string
		remote  bool
		want    string
		is      error
	}{
		{"127.0.0.1:9100", false, "127.0.0.1:9100", nil},
		{"127.9.9.9:0", false, "127.9.9.9:0", nil},
		{"[::1]:9100", false, "[::1]:9100", nil},
		{"[::ffff:127.0.0.1]:9100", false, "[::ffff:127.0.0.1]:9100", nil},
		{"localhost:9100", false, "127.0.0.1:9100", nil},
		{"0.0.0.0:9100", false, "", ErrRemote},
		{"[::]:9100", false, "", ErrRemote},
		{":9100", false, "", ErrRemote},
		{"192.0.2.1:9100", false, "", ErrRemote},
		{"[fe80::1%lo]:9100", false, "", ErrRemote},
		{"[::ffff:192.0.2.1]:9100", false, "", ErrRemote},
		{":9100", true, ":9100", nil},
		{"192.0.2.1:9100", true, "192.0.2.1:9100", nil},
		{"example.org:9100", false, "", nil},
		{"example.org:9100", true, "", nil},
		{"127.1:9100", false, "", nil},
		{"9100", false, "", nil},
		{"127.0.0.1", false, "", nil},
	} {
		got, err := local(test.address, test.remote)
		if got != test.want || (err == nil) != (test.want != "") || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%q, remote %t: %q, %v", test.address, test.remote, got, err)
		}
	}
	if err := New(Options{Address: "0.0.0.0:0"}).Listen(); !errors.Is(err, ErrRemote) {
		t.Errorf("Listen: %v", err)
	}
}

// TestServe asks over TCP, with more connections open than there may be.
func TestServe(t *testing.T) {
	s := New(Options{Address: "127.0.0.1:0"})
	start(t, s, rich())
	address := s.listener.Addr().String()
	ask := func(path string) (int, string, error) {
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		r, err := c.Get("http://" + address + path)
		if err != nil {
			return 0, "", err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return r.StatusCode, string(b), err
	}
	if code, body, err := ask("/metrics"); err != nil || code != http.StatusOK || !strings.Contains(body, "sensor_processes 412\n") {
		t.Errorf("%d %s %v", code, body, err)
	}
	if code, _, err := ask("/v1/stale"); err != nil || code != http.StatusNotFound {
		t.Errorf("%d %v", code, err)
	}
	var held []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	slots := s.listener.(*bounded).slots
	for give := time.Now().Add(patience); len(slots) < maxConnections; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("%d connections are let in", len(slots))
		}
	}
	if code, _, err := ask("/metrics"); err == nil {
		t.Errorf("one more connection: %d", code)
	}
	for _, c := range held {
		c.Close()
	}
	for give := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if code, _, err := ask("/metrics"); err == nil && code == http.StatusOK {
			break
		}
		if time.Now().After(give) {
			t.Fatal("no connection becomes free")
		}
	}
}
