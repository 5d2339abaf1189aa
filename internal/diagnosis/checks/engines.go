package checks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// The marks of slow engines.
const (
	slowWrite  = 250 * time.Millisecond
	stuckWrite = 3 * time.Second
	slowQueue  = 500 * time.Millisecond
)

// Trier writes a row of its own into the store, commits it, and reads it back.
type Trier interface {
	Try(ctx context.Context) (write, read time.Duration, err error)
}

// Store looks how quickly something is stored and read again.
func Store(t Trier) diagnosis.Check {
	return ofPortal("store_latency", func(ctx context.Context) diagnosis.Outcome {
		write, read, err := t.Try(ctx)
		if err != nil {
			return broken("Nothing can be stored: every change is refused.", "See that the database runs and has space.", err)
		}
		evidence := fmt.Sprintf("stored in %s, read again in %s", within(write), within(read))
		const remedy = "See the load and the disk of the database; other programs on the same disk are the usual cause."
		switch {
		case write >= stuckWrite:
			return fail("Changes take so long that requests give up.", remedy, evidence)
		case write >= slowWrite || read >= slowWrite:
			return warn("The database is slow; every action waits for it.", remedy, evidence)
		}
		return fine("The database stores and reads quickly.", evidence)
	})
}

// Audit looks whether the record of who did what is whole.
func Audit(s audit.Store) diagnosis.Check {
	return ofPortal("audit_chain", func(ctx context.Context) diagnosis.Outcome {
		r, err := audit.Verify(ctx, s)
		switch {
		case err != nil && ctx.Err() != nil:
			return skip("The record is too long to be read in the time of a check; `portal audit verify` takes its time.")
		case err != nil:
			return broken("The record can't be read.", "See that the database answers.", err)
		case !r.OK:
			return fail("Somebody changed the record of who did what.", "Compare it with an export or a backup.", fmt.Sprintf("entry %d: %s", r.FirstBad, r.Problem))
		}
		return fine("The record of who did what is whole.", fmt.Sprintf("%d entries, each in its place", r.Entries))
	})
}

// Messenger sends a message to itself through the queue.
type Messenger interface {
	RoundTrip(ctx context.Context) (time.Duration, error)
}

// Queue looks whether a message that is sent also arrives.
func Queue(m Messenger) diagnosis.Check {
	return ofPortal("queue_round_trip", func(ctx context.Context) diagnosis.Outcome {
		took, err := m.RoundTrip(ctx)
		if err != nil {
			return broken("Messages do not get through: agents get no tasks.", "See the portal's log; restart the portal if it stays so.", err)
		}
		evidence := "a message was stored, delivered and read back in " + within(took)
		if took >= slowQueue {
			return warn("Messages are slow: tasks reach agents late.", "See the load and the disk of the message queue.", evidence)
		}
		return fine("Messages are stored and delivered.", evidence)
	})
}

// Component looks at a part of the portal that can say itself how it is.
func Component(name string, ask func(ctx context.Context) error) diagnosis.Check {
	return ofPortal(name, func(ctx context.Context) diagnosis.Outcome {
		if err := ask(ctx); err != nil {
			return broken("A part of the portal does not work.", "See the portal's log; restart the portal if it stays so.", err)
		}
		return fine("It answers.", "it says that it is well")
	})
}

// Runtime looks at what a runtime can enforce on this machine.
func Runtime(name string, report func(ctx context.Context) []fleet.Check) diagnosis.Check {
	return ofPortal(name+"_runtime", func(ctx context.Context) diagnosis.Outcome {
		var w worse
		for _, c := range report(ctx) {
			switch {
			case c.Down:
				w.add(fail("No agent can be run on the runtime "+name+".", c.Remedy, c.Name+": "+c.Why))
				continue
			case c.OK:
				w.add(fine("Agents can be run with their limits.", c.Name+": "+c.How))
				continue
			case !strings.HasSuffix(c.Name, "_limit") && c.Name != "kill_tree":
				// What this kind of runtime can't do anywhere is nothing to be woken up for.
				w.add(fine("Agents can be run with their limits.", c.Name+": not here, "+c.Why))
				continue
			}
			o := warn("Not every limit of a specification can be enforced on this machine.", c.Remedy, c.Name+": not here, "+c.Why)
			if c.Remedy != "" {
				o.Evidence[0] += ". " + c.Remedy
			}
			w.add(o)
		}
		if w.Status == "" {
			return skip("The runtime has nothing to say of itself.")
		}
		return w.Outcome
	})
}

// Secrets are references in the configuration, by the setting that holds them.
func Secrets(references map[string]string, resolve func(ctx context.Context, reference string) (string, error)) diagnosis.Check {
	return ofPortal("configured_secrets", func(ctx context.Context) diagnosis.Outcome { return resolved(ctx, references, resolve) })
}

// Unavailable stands in for a check that needs a running portal.
func Unavailable(name, why string) diagnosis.Check {
	return ofPortal(name, func(context.Context) diagnosis.Outcome { return skip(why) })
}
