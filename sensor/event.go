package sensor

import "time"

// EventSchema is the identifier of the format of an Event. Fields may be added
// under it; none is ever renamed or given another meaning.
const EventSchema = "sensor.event/v1"

// EventType says what happened.
type EventType string

// The types of events.
const (
	// EventStale, EventMissing and EventUnknown: a workload has a finding of that
	// state that it did not have before.
	EventStale   EventType = "stale"
	EventMissing EventType = "missing"
	EventUnknown EventType = "unknown"
	// EventChanged: the finding is still there but says something else.
	EventChanged EventType = "changed"
	// EventResolved: the workload has no finding any more.
	EventResolved EventType = "resolved"
	// EventPatch: a package changed on disk.
	EventPatch EventType = "patch"
	// EventGap: for a time not everything was observed.
	EventGap EventType = "gap"
)

// Event is something that happened, as the running sensor tells it.
type Event struct {
	Schema string `json:"schema"`
	// Cursor grows with each event and survives restarts; asking for what came
	// after one resumes a stream.
	Cursor uint64    `json:"cursor"`
	Time   time.Time `json:"time"`
	Type   EventType `json:"type"`
	Host   Host      `json:"host"`
	// Finding is the finding that appeared, as it is now, or, of type resolved,
	// as it was last; null for patches and gaps.
	Finding *Finding `json:"finding,omitempty"`
	// Exposure is how long the workload has run, or ran, code that is not current.
	Exposure *Exposure `json:"exposure,omitempty"`
	Patch    *Patch    `json:"patch,omitempty"`
	Gap      *Gap      `json:"gap,omitempty"`
}

// Exposure is the time in which a workload ran code that was not current: from
// when both the newer code was installed and the old code ran, until it ran no more.
type Exposure struct {
	Opened time.Time `json:"opened"`
	// Closed is null as long as it lasts.
	Closed *time.Time `json:"closed"`
	// Seconds is its length, until now if it lasts.
	Seconds float64 `json:"seconds"`
	// AtLeast says that Opened is only when it was first seen.
	AtLeast bool `json:"at_least"`
}

// Patch is one package that changed on disk.
type Patch struct {
	Time   time.Time `json:"time"`
	Domain Domain    `json:"domain"`
	// Root is the root directory whose package database changed.
	Root    string `json:"root"`
	Manager string `json:"manager"`
	Package string `json:"package"`
	Source  string `json:"source"`
	Arch    string `json:"arch"`
	// From is empty for a new package, To for a removed one.
	From string `json:"from"`
	To   string `json:"to"`
}
