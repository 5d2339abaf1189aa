package logstest

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
)

// Output is a logs.Source in memory. It stays when a portal ends.
type Output struct {
	mu     sync.Mutex
	agents []string
	lines  map[string][]logs.Line
	reads  int
}

// Write appends a line to what an instance of the agent wrote.
func (o *Output) Write(agentID, instance, stream string, at time.Time, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lines == nil {
		o.lines = map[string][]logs.Line{}
	}
	if _, ok := o.lines[agentID]; !ok {
		o.agents = append(o.agents, agentID)
	}
	o.lines[agentID] = append(o.lines[agentID], logs.Line{At: at, Instance: instance, Stream: stream, Text: text, Cursor: strconv.Itoa(len(o.lines[agentID]) + 1)})
}

// Agents implements logs.Source.
func (o *Output) Agents(context.Context) ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string{}, o.agents...), nil
}

// Reads is how often output was read.
func (o *Output) Reads() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reads
}

// Read implements logs.Source.
func (o *Output) Read(_ context.Context, agentID, after string, fn func(logs.Line) error) error {
	from := 0
	if after != "" {
		n, err := strconv.Atoi(after)
		if err != nil {
			return fault.New(fault.Invalid, "logs.cursor", "the log cursor cannot be read")
		}
		from = n
	}
	o.mu.Lock()
	o.reads++
	list := o.lines[agentID]
	o.mu.Unlock()
	for _, l := range list[min(from, len(list)):] {
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}
