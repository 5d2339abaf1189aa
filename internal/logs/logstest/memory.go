// Package logstest is a store of log entries in memory, output to be read, and
// what every store does.
package logstest

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
)

// Memory is a logs.Store, logs.Sink and logs.Cursors. It knows searches, and no
// filters in LogsQL.
type Memory struct {
	mu      sync.Mutex
	entries []logs.Entry
	synced  int
	cursors map[string]string
	// Refuse, if it is set, is asked before anything is taken in or given.
	Refuse func() error
}

var (
	_ logs.Store   = (*Memory)(nil)
	_ logs.Sink    = (*Memory)(nil)
	_ logs.Cursors = (*Memory)(nil)
)

func (m *Memory) lock() (func(), error) {
	m.mu.Lock()
	if m.Refuse != nil {
		if err := m.Refuse(); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

// Add implements logs.Sink.
func (m *Memory) Add(_ context.Context, batch []logs.Entry) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, e := range batch {
		e.Cursor = ""
		m.entries = append(m.entries, e)
	}
	return nil
}

// Sync implements logs.Sink.
func (m *Memory) Sync(context.Context) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	m.synced = len(m.entries)
	return nil
}

// Crash loses what was not synced.
func (m *Memory) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = slices.Clone(m.entries[:m.synced])
}

// All gives every entry in the order in which they came.
func (m *Memory) All() []logs.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries)
}

// Times implements logs.Sink.
func (m *Memory) Times(_ context.Context, agentID string, from, to time.Time) (map[string][]time.Time, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := map[string][]time.Time{}
	for _, e := range m.entries {
		if e.AgentID == agentID && !e.At.Before(from) && !e.At.After(to) {
			out[e.Instance] = append(out[e.Instance], e.At)
		}
	}
	return out, nil
}

// Load implements logs.Cursors.
func (m *Memory) Load(context.Context) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for k, v := range m.cursors {
		out[k] = v
	}
	return out, nil
}

// Save implements logs.Cursors.
func (m *Memory) Save(_ context.Context, list map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursors = map[string]string{}
	for k, v := range list {
		m.cursors[k] = v
	}
	return nil
}

// Matcher implements logs.Store.
func (m *Memory) Matcher(q logs.Query) (func(*logs.Entry) bool, error) {
	if q.Filter != "" {
		return nil, fault.New(fault.Invalid, "logs.filter", "The filter can't be understood").At(fault.Field{Path: "query.filter", Message: "this store knows none"})
	}
	terms := logs.Terms(q.Text)
	return func(e *logs.Entry) bool {
		switch {
		case len(q.Agents) > 0 && !slices.Contains(q.Agents, e.AgentID), q.Instance != "" && e.Instance != q.Instance,
			q.Stream != "" && e.Stream != q.Stream, !grave(e.Level, q.Level):
			return false
		}
		return !slices.ContainsFunc(terms, func(t logs.Term) bool { return has(e, t) == t.Not })
	}, nil
}

func grave(level, least logs.Level) bool {
	if level == "" && least != "" && least != logs.Debug {
		level = logs.Info
	}
	return least == "" || least == logs.Debug || slices.Index(logs.Levels, level) >= slices.Index(logs.Levels, least)
}

func has(e *logs.Entry, t logs.Term) bool {
	if t.Field == "" {
		return begins(e.Text+" "+logs.FieldText(*e), t)
	}
	if value, ok := e.Fields[t.Field]; ok {
		for op, fits := range map[string]func(c int) bool{">=": func(c int) bool { return c >= 0 }, "<=": func(c int) bool { return c <= 0 }} {
			if number, ok := strings.CutPrefix(t.Text, op); ok {
				a, err1 := strconv.ParseFloat(value, 64)
				b, err2 := strconv.ParseFloat(number, 64)
				return err1 == nil && err2 == nil && fits(cmp.Compare(a, b))
			}
		}
		return t.Text == "*" || begins(value, t)
	}
	return begins(e.Text, logs.Term{Text: t.Field + ":" + t.Text})
}

// begins tells whether a word, or for a phrase whole words, of a text are the term's.
func begins(text string, t logs.Term) bool {
	text, want := strings.ToLower(text), strings.ToLower(t.Text)
	for at := 0; at < len(text); at++ {
		i := strings.Index(text[at:], want)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(want)
		if (at == 0 || !word(text[at-1]) || !word(want[0])) && (!t.Phrase || end == len(text) || !word(text[end])) {
			return true
		}
	}
	return false
}

func word(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 0x80
}

func (m *Memory) selected(q logs.Query) ([]logs.Entry, error) {
	match, err := m.Matcher(q)
	if err != nil {
		return nil, err
	}
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var out []logs.Entry
	for _, e := range m.entries {
		if !e.At.Before(q.Since) && e.At.Before(q.Until) && match(&e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// Find implements logs.Store.
func (m *Memory) Find(_ context.Context, q logs.Query) ([]logs.Entry, error) {
	out, err := m.selected(q)
	slices.SortStableFunc(out, func(a, b logs.Entry) int {
		c := cmp.Or(a.At.Compare(b.At), strings.Compare(a.AgentID, b.AgentID), strings.Compare(a.Instance, b.Instance), strings.Compare(a.Stream, b.Stream))
		if !q.Oldest {
			return -c
		}
		return c
	})
	return out[min(q.Skip, len(out)):min(q.Skip+q.Limit, len(out))], err
}

// Count implements logs.Store.
func (m *Memory) Count(_ context.Context, q logs.Query, step time.Duration) ([]logs.Bucket, error) {
	list, err := m.selected(q)
	by := map[int64]*logs.Bucket{}
	for _, e := range list {
		at := e.At.Truncate(step)
		b := by[at.UnixNano()]
		if b == nil {
			b = &logs.Bucket{At: at, Counts: map[logs.Level]int{}}
			by[at.UnixNano()] = b
		}
		b.Counts[e.Level]++
		b.Total++
	}
	var out []logs.Bucket
	for _, b := range by {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b logs.Bucket) int { return a.At.Compare(b.At) })
	return out, err
}

// Fields implements logs.Store.
func (m *Memory) Fields(_ context.Context, q logs.Query) ([]logs.Value, error) {
	list, err := m.selected(q)
	counts := map[string]int{}
	for _, e := range list {
		for _, name := range []string{"agent", "instance", "stream"} {
			counts[name]++
		}
		if e.Level != "" {
			counts["level"]++
		}
		for name := range e.Fields {
			counts[name]++
		}
	}
	return values(counts), err
}

func values(counts map[string]int) (out []logs.Value) {
	for v, n := range counts {
		out = append(out, logs.Value{Value: v, Count: n})
	}
	slices.SortFunc(out, func(a, b logs.Value) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Value, b.Value)) })
	return out
}

// Values implements logs.Store.
func (m *Memory) Values(_ context.Context, q logs.Query, field string, limit int) ([]logs.Value, error) {
	list, err := m.selected(q)
	counts := map[string]int{}
	for _, e := range list {
		if v, ok := e.Fields[field]; ok {
			counts[v]++
		} else if field == "level" && e.Level != "" {
			counts[string(e.Level)]++
		}
	}
	out := values(counts)
	return out[:min(limit, len(out))], err
}

// Status implements logs.Store.
func (m *Memory) Status(context.Context) logs.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := logs.Status{Where: "embedded", Entries: int64(len(m.entries))}
	if m.Refuse != nil {
		if f := fault.As(m.Refuse()); f != nil {
			out.Problem, out.Remedy = f.What, f.Remedy
		}
	}
	return out
}
