package metrics

import (
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/patchsensor/patchsensor/sensor"
)

// Door counts what went through the daemon's socket.
type Door struct {
	// Connections and Streams are how many are open now.
	Connections int
	Streams     int
	Accepted    uint64
	// Refused counts by why.
	Refused map[string]uint64
	// Dropped counts streams whose reader did not read.
	Dropped uint64
	// Requests counts by endpoint and HTTP status.
	Requests map[string]map[int]uint64
}

func domains() []sensor.Domain {
	return []sensor.Domain{sensor.DomainHost, sensor.DomainRuntime, sensor.DomainOrchestrator, sensor.DomainImage}
}

// ages are the bounds by which exposures are counted, in seconds: hour, quarter
// of a day, day, three days, week, two weeks, 30 days, 90 days.
func ages() []float64 {
	const hour, day = 3600, 24 * 3600
	return []float64{hour, 6 * hour, day, 3 * day, 7 * day, 14 * day, 30 * day, 90 * day}
}

// descriptions are the metrics that are made when they are asked for.
type descriptions struct {
	build, ready, tracking                          *prometheus.Desc
	findings, reboot, age, events, observed, losses *prometheus.Desc
	judgements, judging, last                       *prometheus.Desc
	processes, loads, files                         *prometheus.Desc
	storeBytes, storeUp, cpu, memory                *prometheus.Desc
	connections, streams, accepted, refused, missed *prometheus.Desc
	requests                                        *prometheus.Desc
	all                                             []*prometheus.Desc
}

func describe() descriptions {
	var all []*prometheus.Desc
	d := func(name, help string, labels ...string) *prometheus.Desc {
		all = append(all, prometheus.NewDesc("sensor_"+name, help, labels, nil))
		return all[len(all)-1]
	}
	out := descriptions{
		build:       d("build_info", "The version of the running sensor; always 1.", "version"),
		ready:       d("ready", "Whether everything that runs was looked at once since the start."),
		tracking:    d("tracking_info", "How executable mappings are seen (tier) and read (source); always 1.", "tier", "source"),
		findings:    d("findings", "Workloads that run code which is not known to be current, as of the last judgement; absent before the first.", "state", "action", "domain"),
		reboot:      d("reboot", "Whether the host is to be rebooted, as of the last judgement: 1 for the one that holds; absent before the first.", "need"),
		age:         d("exposure_age_seconds", "How long the exposures that last have lasted. It is made anew each time, so it is no base for a rate.", "domain"),
		events:      d("events_total", "Events told since the start.", "type"),
		observed:    d("observed_total", "What the kernel told since the start.", "kind"),
		losses:      d("losses_total", "What was not observed or not kept since the start; each is followed by a new look at what it may have hidden.", "what"),
		judgements:  d("judgements_total", "Passes over everything that is tracked, since the start."),
		judging:     d("judgement_seconds_total", "Time spent in these passes."),
		last:        d("last_judgement_seconds", "Length of the last pass."),
		processes:   d("processes", "Processes that are tracked."),
		loads:       d("loads", "Pairs of process and loaded file that are tracked."),
		files:       d("files", "Distinct loaded files that are tracked."),
		storeBytes:  d("store_bytes", "Size of the sensor's database."),
		storeUp:     d("store_up", "Whether the database keeps what it is given."),
		cpu:         d("cpu_seconds_total", "Processor time of the sensor itself, user and system."),
		memory:      d("resident_memory_bytes", "Resident memory of the sensor itself."),
		connections: d("api_connections", "Open connections to the socket."),
		streams:     d("api_streams", "Open streams of events."),
		accepted:    d("api_connections_accepted_total", "Connections that were let in."),
		refused:     d("api_refused_total", "Connections and questions that were refused.", "why"),
		missed:      d("api_streams_dropped_total", "Streams that ended because their reader did not read."),
		requests:    d("api_requests_total", "Requests that were answered.", "endpoint", "code"),
	}
	out.all = all
	return out
}

// collector makes the metrics from what the sensor measures.
type collector struct {
	descriptions
	sink *Sink
}

// Describe sends what there may be.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.all {
		out <- d
	}
}

// Collect makes all metrics from one measurement, so that they agree.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := sender{out}
	s.gauge(c.build, 1, c.sink.opts.Version)
	l := c.sink.live.Load()
	if l == nil {
		s.gauge(c.ready, 0)
		return
	}
	m := (*l).Measure()
	c.tracked(s, &m)
	c.judged(s, &m)
	if c.sink.opts.Door != nil {
		c.door(s, c.sink.opts.Door())
	}
}

func (c *collector) tracked(s sender, m *sensor.Measurements) {
	s.gauge(c.ready, truth(m.Ready))
	if m.Tier != "" || m.Source != "" {
		s.gauge(c.tracking, 1, m.Tier, m.Source)
	}
	s.gauge(c.processes, float64(m.Processes))
	s.gauge(c.loads, float64(m.Loads))
	s.gauge(c.files, float64(m.Files))
	s.counters(c.observed, m.Observed)
	s.counters(c.losses, m.Losses)
	s.gauge(c.storeBytes, float64(m.StoreBytes))
	s.gauge(c.storeUp, truth(m.StoreOK))
	s.counter(c.cpu, m.CPUSeconds)
	s.gauge(c.memory, float64(m.Memory))
}

func (c *collector) judged(s sender, m *sensor.Measurements) {
	s.counter(c.judgements, float64(m.Judgements.Count))
	s.counter(c.judging, m.Judgements.Seconds)
	// Before the first judgement no finding is known, which is not none.
	if m.Judgements.Count > 0 {
		s.gauge(c.last, m.Judgements.LastSeconds)
		c.counted(s, m.Findings)
		for _, need := range []sensor.Need{sensor.NeedReboot, sensor.NeedAdvised, sensor.NeedUnknown, sensor.NeedNone} {
			holds := 0.0
			if need == m.Reboot {
				holds = 1
			}
			s.gauge(c.reboot, holds, string(need))
		}
	}
	for _, e := range []sensor.EventType{
		sensor.EventStale, sensor.EventMissing, sensor.EventUnknown, sensor.EventChanged, sensor.EventResolved, sensor.EventPatch, sensor.EventGap,
	} {
		s.counter(c.events, float64(m.Events[e]), string(e))
	}
	for _, d := range domains() {
		s.histogram(c.age, m.Exposures[d], string(d))
	}
}

// counted sends a zero for what was not found, so that a query sees it go to zero
// and not away.
func (c *collector) counted(s sender, findings map[sensor.FindingKey]int) {
	all := make(map[sensor.FindingKey]int)
	for _, state := range []sensor.State{sensor.Stale, sensor.Missing, sensor.Unknown} {
		for _, action := range []sensor.Action{sensor.Restart, sensor.Redeploy, sensor.Reboot, sensor.Reload, sensor.None} {
			for _, domain := range domains() {
				all[sensor.FindingKey{State: state, Action: action, Domain: domain}] = 0
			}
		}
	}
	maps.Copy(all, findings)
	for key, n := range all {
		s.gauge(c.findings, float64(n), string(key.State), string(key.Action), string(key.Domain))
	}
}

func (c *collector) door(s sender, d Door) {
	s.gauge(c.connections, float64(d.Connections))
	s.gauge(c.streams, float64(d.Streams))
	s.counter(c.accepted, float64(d.Accepted))
	s.counter(c.missed, float64(d.Dropped))
	for why, n := range d.Refused {
		s.counter(c.refused, float64(n), why)
	}
	for endpoint, codes := range d.Requests {
		for code, n := range codes {
			s.counter(c.requests, float64(n), endpoint, strconv.Itoa(code))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sender sends metrics to a registry. One that cannot be made becomes an error
// of the scrape.
type sender struct{ out chan<- prometheus.Metric }

func (s sender) send(d *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	s.out <- m
}

func (s sender) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...)
	s.send(d, m, err)
}

func (s sender) counter(d *prometheus.Desc, v float64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.CounterValue, v, labels...)
	s.send(d, m, err)
}

// counters adds up those of one name: the same metric twice would fail the whole
// scrape.
func (s sender) counters(d *prometheus.Desc, all []sensor.Counter) {
	sums := make(map[string]uint64, len(all))
	for _, c := range all {
		sums[c.Name] += c.Count
	}
	for name, n := range sums {
		s.counter(d, float64(n), name)
	}
}

// histogram counts durations; a bucket holds those up to its bound.
func (s sender) histogram(d *prometheus.Desc, durations []time.Duration, labels ...string) {
	buckets := make(map[float64]uint64)
	for _, bound := range ages() {
		buckets[bound] = 0
	}
	sum := 0.0
	for _, duration := range durations {
		// A clock that was set back makes no exposure shorter than nothing.
		seconds := math.Max(0, duration.Seconds())
		sum += seconds
		for bound := range buckets {
			if seconds <= bound {
				buckets[bound]++
			}
		}
	}
	m, err := prometheus.NewConstHistogram(d, uint64(len(durations)), sum, buckets, labels...)
	s.send(d, m, err)
}
