package fleettest

import (
	"context"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// print adds a line to the instance's output.
func (w *world) print(in *fakeInstance, stream, text string) {
	a := w.agents[in.AgentID]
	if a == nil {
		return
	}
	w.seq++
	at := time.Now()
	if !at.After(w.last) { // lines of one instant keep their order
		at = w.last.Add(1)
	}
	w.last = at
	a.logs = append(a.logs, fleet.LogLine{
		At: at, AgentID: in.AgentID, Instance: in.ID, Stream: stream, Text: text, Cursor: strconv.Itoa(w.seq),
	})
	close(w.wake)
	w.wake = make(chan struct{})
}

func (w *world) lastLines(in *fakeInstance) []string {
	var lines []string
	for _, l := range w.agents[in.AgentID].logs {
		if l.Instance == in.ID {
			lines = append(lines, l.Text)
		}
	}
	return lines[max(0, len(lines)-lastLogs):]
}

// ReadLogs implements fleet.LogReader.
func (f *Fake) ReadLogs(ctx context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error {
	if err := f.enter(ctx, "ReadLogs", q.AgentID); err != nil {
		return err
	}
	f.w.mu.Unlock()
	after := 0
	if q.After != "" {
		var err error
		if after, err = strconv.Atoi(q.After); err != nil {
			return fault.New(fault.Invalid, "logs.cursor", "the cursor is not one of this runtime's").
				Do("Leave it out to read from the oldest line.")
		}
	}
	given := 0
	for {
		f.w.mu.Lock()
		wake := f.w.wake
		lines := f.w.linesAfter(q, after)
		f.w.mu.Unlock()
		for _, l := range lines {
			if err := fn(l); err != nil {
				return err
			}
			if given++; q.Limit > 0 && given >= q.Limit {
				return nil
			}
			after, _ = strconv.Atoi(l.Cursor)
		}
		if !q.Follow {
			return nil
		}
		q.Tail = 0
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// linesAfter gives the lines with a higher number than after that q asks for.
func (w *world) linesAfter(q fleet.LogQuery, after int) []fleet.LogLine {
	a := w.agents[q.AgentID]
	if a == nil {
		return nil
	}
	var lines []fleet.LogLine
	for _, l := range a.logs {
		n, _ := strconv.Atoi(l.Cursor)
		if n > after && (q.Instance == "" || q.Instance == l.Instance) && !l.At.Before(q.Since) {
			lines = append(lines, l)
		}
	}
	if q.Tail > 0 {
		lines = lines[max(0, len(lines)-q.Tail):]
	}
	return lines
}
