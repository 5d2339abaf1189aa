// Package view says how values are shown. Pages and live updates use the same
// cells, so that what is on a page when it loads and what replaces it later are
// of one make.
package view

import (
	"encoding/json"
	"time"
)

// Cell is one value as it is shown. The zero Cell shows nothing.
type Cell struct {
	// Text is what people read.
	Text string `json:"t,omitempty"`
	// Status is what colour and icon hang on, e.g. "running"; a list of words
	// separated by spaces where several apply.
	Status string `json:"s,omitempty"`
	// Hint is what is said on hover and to screen readers: the reason, or the whole of
	// what Text shortens.
	Hint string `json:"h,omitempty"`
	// At is the time that a <time> element shows; its text is Text without scripts,
	// and how long ago it is with them.
	At time.Time `json:"at,omitzero"`
	// Share is the value of a <progress> or <meter> element, 0 to 1; nil for others.
	Share *float64 `json:"n,omitempty"`
	// Href is where a link leads, a path of this portal; "" for others.
	Href string `json:"l,omitempty"`
}

// Row is the cells of one subject by the name that stands in data-cell.
type Row map[string]Cell

// Encode gives each cell of the row as JSON.
func (r Row) Encode() map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(r))
	for name, c := range r {
		out[name] = c.encode()
	}
	return out
}

func (c Cell) encode() json.RawMessage {
	if !c.At.IsZero() {
		c.Text, c.Hint = "", "" // the script writes them by the clock of the reader
	}
	body, err := json.Marshal(c)
	if err != nil { // a share that is no number is the only way
		c.Share = nil
		body, _ = json.Marshal(c)
	}
	return body
}

// Fleet is the key of the row of the whole fleet.
const Fleet = "fleet"

// AgentKey is the key of an agent's row in lists: its Brief cells.
func AgentKey(id string) string { return "agent:" + id }

// DetailKey is the key of the row with all of an agent's cells.
func DetailKey(id string) string { return "detail:" + id }

// OperationKey is the key of an operation's row.
func OperationKey(id string) string { return "operation:" + id }

// BulkKey is the key of a bulk operation's row.
func BulkKey(id string) string { return "bulk:" + id }

// None stands where a value is not known. Why it is not known is its hint.
const None = "–"

// Unknown is the cell of a value that is not known.
func Unknown(why string) Cell { return Cell{Text: None, Status: "none", Hint: why} }

// When is the cell of a time; empty for the zero time.
func When(t time.Time) Cell {
	if t.IsZero() {
		return Cell{}
	}
	t = t.UTC()
	return Cell{Text: t.Format("2 Jan 15:04"), Hint: t.Format("2006-01-02 15:04:05 UTC"), At: t}
}
