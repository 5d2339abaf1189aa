// Package logs knows what agents write: it follows the output of all of them,
// makes entries of its lines, puts these into a store that can be searched, and
// answers who wrote what, when and how much of it.
//
// The files that hold the output are the source. The store is an index of them
// that may be lost and is filled again; the collector remembers how far it came
// only once the store has put everything before on disk.
package logs

import (
	"context"
	"time"
)

// Level says how grave an entry is; "" if it does not say.
type Level string

// The levels, from the least grave.
const (
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
)

// Levels are all levels, from the least grave.
var Levels = []Level{Debug, Info, Warn, Error}

// Bounds of what is kept of one entry. The file that it comes from has all of it.
const (
	MaxText   = 256 << 10 // bytes of text
	MaxLines  = 1000      // lines of a stack trace
	maxFields = 64        // of a line in JSON or logfmt; one with more is kept as text
	maxName   = 100       // bytes of a field's name
	maxValue  = 8 << 10   // bytes of a field's value
)

// Entry is one thing that an instance wrote: a line, or the lines of a stack
// trace together.
type Entry struct {
	At       time.Time         `json:"at" doc:"When the line was read from the instance"`
	AgentID  string            `json:"agent_id"`
	Instance string            `json:"instance"`
	Stream   string            `json:"stream" doc:"stdout, stderr, or portal for the supervisor's own notes"`
	Level    Level             `json:"level,omitempty" enum:"debug,info,warn,error" doc:"Absent if the line does not say"`
	Text     string            `json:"text" doc:"The message, without colours; several lines for a stack trace"`
	Raw      string            `json:"raw,omitempty" doc:"As it was written, where that holds colours"`
	Fields   map[string]string `json:"fields,omitempty" doc:"What else a line in JSON or logfmt says"`
	Lines    int               `json:"lines,omitempty" doc:"How many lines it is, if more than one"`
	Cut      int64             `json:"cut_bytes,omitempty" doc:"How many bytes are left out; the agent's own output has them"`
	Cursor   string            `json:"cursor" doc:"To go on after this entry"`
}

// Query selects entries.
type Query struct {
	Text     string // words and "phrases" that must be in it, field:value, -without
	Filter   string // a filter in LogsQL
	Level    Level  // at least
	Agents   []string
	Instance string
	Stream   string
	Since    time.Time // from then on
	Until    time.Time // before then
	Oldest   bool      // the oldest first
	Limit    int
	Skip     int // so many of the first, in a store's order
}

// Bucket is how many entries there are in a span of time, by level ("" for those
// that don't say).
type Bucket struct {
	At     time.Time     `json:"at" doc:"Start of the span"`
	Counts map[Level]int `json:"counts" doc:"Entries by level; \"\" for those that do not say"`
	Total  int           `json:"total"`
}

// Value is a value of a field, or a field, with how many entries have it.
type Value struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

// Status is how a store is.
type Status struct {
	Where    string    `json:"where" doc:"embedded, or the address of the server"`
	Entries  int64     `json:"entries,omitempty"`
	Bytes    int64     `json:"bytes,omitempty" doc:"On disk"`
	Oldest   time.Time `json:"oldest,omitzero" doc:"Of the entries"`
	Problem  string    `json:"problem,omitempty" doc:"Why nothing new can be taken in"`
	Remedy   string    `json:"remedy,omitempty"`
	Behind   int       `json:"agents_behind" doc:"Agents whose newest output was not read yet"`
	TakenIn  int64     `json:"taken_in" doc:"Entries taken in since the portal was started"`
	TakenAt  time.Time `json:"taken_at,omitzero" doc:"When the last one was"`
	SavedAt  time.Time `json:"saved_at,omitzero" doc:"Up to when everything read is on disk"`
	Refusals int64     `json:"refusals,omitempty" doc:"How often the store could not take something in; it was tried again"`
}

// Store keeps entries and finds them again. Faults: Invalid for a query that
// can't be understood (it names the place), TooLarge for one that takes too long,
// Unavailable.
type Store interface {
	// Find gives up to Limit entries.
	Find(ctx context.Context, q Query) ([]Entry, error)
	// Count gives how many entries there are in each step of the time, those
	// steps that have any.
	Count(ctx context.Context, q Query, step time.Duration) ([]Bucket, error)
	// Fields names the fields that entries have, the most frequent first.
	Fields(ctx context.Context, q Query) ([]Value, error)
	// Values gives the most frequent values of a field.
	Values(ctx context.Context, q Query, field string, limit int) ([]Value, error)
	// Matcher tells which entries a query selects, whatever their time.
	Matcher(q Query) (func(*Entry) bool, error)
	// Status says how it is.
	Status(ctx context.Context) Status
}

// Sink takes entries in. Faults: Unavailable while it can't, for example because
// the disk is full; nothing of the batch is taken in then.
type Sink interface {
	Add(ctx context.Context, batch []Entry) error
	// Sync returns once all that was added survives the end of the process.
	Sync(ctx context.Context) error
	// Times gives when the agent's entries of a span of time were written, by
	// instance; both ends are part of it. Everything that was added is in it.
	Times(ctx context.Context, agentID string, from, to time.Time) (map[string][]time.Time, error)
}

// Line is one line of output with the cursor to go on after it.
type Line struct {
	At       time.Time
	Instance string
	Stream   string
	Text     string
	Cursor   string

	cut   int  // bytes that were left out at once
	split bool // what goes on after it is another entry
}

// Source is where output is read: files that outlive the portal.
type Source interface {
	// Agents names all agents.
	Agents(ctx context.Context) ([]string, error)
	// Read gives the lines of an agent after the cursor, in the order of time,
	// until there is none or fn fails. Invalid for a cursor that it can't read.
	Read(ctx context.Context, agentID, after string, fn func(Line) error) error
}

// Cursors remembers how far the output of each agent was read.
type Cursors interface {
	Load(ctx context.Context) (map[string]string, error)
	Save(ctx context.Context, cursors map[string]string) error
}
