package fleettest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func itoa(n int) string { return strconv.Itoa(n) }

func testLogs(t *testing.T, b *bench) {
	const n = 1000
	l := b.start("writer", 0, "print", itoa(n))
	b.said(l, "line "+itoa(n-1))
	all := b.read(fleet.LogQuery{AgentID: "writer"})
	if len(all) != n {
		t.Fatalf("%d lines of %d", len(all), n)
	}
	for i, line := range all {
		if line.Text != "line "+itoa(i) || line.AgentID != "writer" || line.Instance != l.InstanceID || line.Stream != "stdout" {
			t.Fatalf("line %d is %+v", i, line)
		}
		if i > 0 && line.At.Before(all[i-1].At) {
			t.Fatalf("line %d is older than the one before", i)
		}
	}
	check := func(what string, q fleet.LogQuery, from, to int) {
		t.Helper()
		q.AgentID = "writer"
		var got []string
		for _, line := range b.read(q) {
			got = append(got, line.Text)
		}
		if len(got) != to-from || len(got) > 0 && (got[0] != all[from].Text || got[len(got)-1] != all[to-1].Text) {
			t.Errorf("%s: %d lines, want %d to %d", what, len(got), from, to)
		}
	}
	for _, i := range []int{0, 1, 499, n - 2, n - 1} {
		check("after "+itoa(i), fleet.LogQuery{After: all[i].Cursor}, i+1, n)
	}
	check("tail", fleet.LogQuery{Tail: 10}, n-10, n)
	check("a tail longer than the log", fleet.LogQuery{Tail: 10 * n}, 0, n)
	check("since", fleet.LogQuery{Since: all[600].At}, 600, n)
	check("after and limit", fleet.LogQuery{After: all[100].Cursor, Limit: 50}, 101, 151)
	check("one instance", fleet.LogQuery{Instance: l.InstanceID}, 0, n)
	check("another instance", fleet.LogQuery{Instance: "writer-r9-0"}, 0, 0)
	stop := errors.New("enough")
	err := b.logs().ReadLogs(b.ctx(), fleet.LogQuery{AgentID: "writer"}, func(fleet.LogLine) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("the reader's error became %v", err)
	}
	err = b.logs().ReadLogs(b.ctx(), fleet.LogQuery{AgentID: "writer", After: "no~cursor"}, nil)
	b.kind(err, fault.Invalid)
}

func testLogsMerged(t *testing.T, b *bench) {
	ids := []string{b.start("choir", 0, "ticks").InstanceID, b.start("choir", 1, "ticks").InstanceID}
	const n = 60
	var got []fleet.LogLine
	heard := map[string]bool{}
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	err := b.logs().ReadLogs(ctx, fleet.LogQuery{AgentID: "choir", Follow: true}, func(l fleet.LogLine) error {
		if l.Stream == "portal" {
			return nil
		}
		got, heard[l.Instance] = append(got, l), true
		if len(got) >= n && len(heard) == len(ids) && l.Instance == ids[0] {
			cancel() // and a following reader ends
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("following ended with %v", err)
	}
	// From the middle on: together with what came before, each line once.
	cut := len(got) / 2
	rest := b.read(fleet.LogQuery{AgentID: "choir", After: got[cut-1].Cursor})
	if len(rest) < len(got)-cut {
		t.Fatalf("%d lines after the cursor, at least %d were seen", len(rest), len(got)-cut)
	}
	next := map[string]int{}
	for _, l := range append(got[:cut:cut], rest...) {
		next[l.Instance]++
		if want := "tick " + itoa(next[l.Instance]); l.Text != want {
			t.Fatalf("%s says %q, want %q", l.Instance, l.Text, want)
		}
	}
	if next[ids[0]] == 0 || next[ids[1]] == 0 {
		t.Errorf("not both were heard: %v", next)
	}
	all := b.read(fleet.LogQuery{AgentID: "choir"})
	for i := 1; i < len(all); i++ {
		if all[i].At.Before(all[i-1].At) {
			t.Fatalf("out of order at line %d", i)
		}
	}
	begun := all[len(all)-1].At
	tail := b.lines(fleet.LogQuery{AgentID: "choir", Tail: 4})
	if len(tail) == 0 || len(tail) > 4 || !strings.HasPrefix(tail[0], "tick ") {
		t.Errorf("tail %q at %s", tail, begun.Format(time.RFC3339))
	}
}

func testChanges(t *testing.T, b *bench) {
	n, ok := b.rt.(fleet.Notifier)
	if !ok {
		t.Skip("the runtime tells no changes")
	}
	for i := range 3 { // nobody listens, and nothing waits for that
		l := b.start("noise", i, "wait")
		b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
	}
	l := b.launch("crasher", 0, "exit", "1")
	l.Restart = agent.RestartPolicy{Policy: "never"}
	b.ok(b.rt.Launch(b.ctx(), l))
	for timeout := time.After(b.most()); ; {
		select {
		case id := <-n.Changes():
			if id == "crasher" && b.instance(l).State == fleet.InstanceFailed {
				return
			}
		case <-timeout:
			t.Fatal("the end of crasher was not told")
		}
	}
}
