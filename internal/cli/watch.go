package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// poll calls look until it says that it is done, at first often and then once
// a second.
func poll(ctx context.Context, look func() (done bool, err error)) error {
	wait := 50 * time.Millisecond
	for {
		done, err := look()
		if done || err != nil {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
		wait = min(wait*3/2, time.Second)
	}
}

// progress shows how far long work is: a bar that is drawn over on a terminal,
// a line a change elsewhere.
type progress struct {
	a     *app
	drawn int
	last  string
}

func (p *progress) show(label string, completed, total int, detail string) {
	if p.a.io.ErrTTY {
		const cells = 24
		full := 0
		if total > 0 {
			full = cells * completed / total
		}
		line := fmt.Sprintf("%s [%s%s] %d/%d %s", clean(label), strings.Repeat("#", full), strings.Repeat(".", cells-full), completed, total, clean(detail))
		if line == p.last {
			return
		}
		p.last = line
		pad := max(0, p.drawn-width(line))
		p.drawn = width(line)
		fmt.Fprintf(p.a.io.Err, "\r%s%s", line, strings.Repeat(" ", pad))
		return
	}
	line := fmt.Sprintf("%s %d/%d %s", clean(label), completed, total, clean(detail))
	if line != p.last {
		p.last = line
		fmt.Fprintln(p.a.io.Err, strings.TrimSpace(line))
	}
}

// end leaves the bar on the screen and goes to the next line.
func (p *progress) end() {
	if p.drawn > 0 {
		fmt.Fprintln(p.a.io.Err)
		p.drawn = 0
	}
}

// leave says how to get back to work that goes on in the server.
func (a *app) leave(err error, what, id string) error {
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(a.io.Err, "The work goes on. Follow it: portal %s get %s   Cancel it: portal %s cancel %s\n", what, clean(id), what, clean(id))
	}
	return err
}

// waitOperation follows an operation to its end. It gives the final operation
// as it came; one that did not succeed is an error.
func (a *app) waitOperation(ctx context.Context, c *conn, id string) (json.RawMessage, error) {
	p := &progress{a: a}
	defer p.end()
	var op operation.Operation
	var raw json.RawMessage
	err := poll(ctx, func() (bool, error) {
		op = operation.Operation{}
		var err error
		raw, err = c.operation(ctx, id, &op)
		if err != nil {
			return false, err
		}
		p.show(strings.TrimSpace(op.Kind+" "+op.AgentID), op.Completed, op.Total, currentStep(&op))
		return op.State.Final(), nil
	})
	if err != nil {
		p.end()
		return nil, a.leave(err, "operations", id)
	}
	p.end()
	return raw, operationFailure(&op)
}

// currentStep says what is being done.
func currentStep(op *operation.Operation) string {
	for _, s := range op.Steps {
		if s.State == operation.StepRunning {
			return strings.TrimSpace(s.Name + "  " + s.Detail)
		}
	}
	return string(op.State)
}

func operationFailure(op *operation.Operation) error {
	if op.State == operation.Succeeded {
		return nil
	}
	subject := strings.TrimSpace(op.Kind + " " + op.AgentID)
	if op.Problem == nil {
		return fault.New(fault.Internal, "operation.not_done", "%s ended as %s", subject, op.State)
	}
	return fault.New(fault.Internal, op.Problem.Code, "%s ended as %s: %s", subject, op.State, op.Problem.What).
		Because("%s", op.Problem.Why).Do("%s", op.Problem.Remedy)
}

// waitBulk follows a bulk operation to its end.
func (a *app) waitBulk(ctx context.Context, c *conn, id string) (json.RawMessage, *bulk.Bulk, error) {
	p := &progress{a: a}
	defer p.end()
	var b bulk.Bulk
	var raw json.RawMessage
	err := poll(ctx, func() (bool, error) {
		b = bulk.Bulk{}
		var err error
		raw, err = c.bulk(ctx, id, &b)
		if err != nil {
			return false, err
		}
		detail := string(b.State)
		if b.Failed > 0 {
			detail += fmt.Sprintf(", %d failed", b.Failed)
		}
		p.show("bulk "+joinActions(b.Actions), b.Completed, b.Total, detail)
		return b.State.Final(), nil
	})
	if err != nil {
		p.end()
		return nil, nil, a.leave(err, "bulk", id)
	}
	return raw, &b, nil
}

func joinActions[T ~string](actions []T) string {
	out := make([]string, len(actions))
	for i, x := range actions {
		out[i] = string(x)
	}
	return strings.Join(out, ",")
}
