package diagnosis

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/txn"
)

// The bounds of a run and of its history.
const (
	// Keep is how many runs of each scope stay.
	Keep = 20
	// CheckTime is how long one check may take.
	CheckTime = 10 * time.Second
	// together is how many checks of a run are made at once.
	together = 6
	// runs is how many runs there are at once.
	runs = 4
	// perRound is how many agents are looked at on one tick of the schedule.
	perRound = 50

	maxEvidence = 12
	maxText     = 400
)

// Agents finds agents.
type Agents interface {
	Get(ctx context.Context, id string) (*agent.Agent, error)
	Find(ctx context.Context, q agent.Query) (agent.Page, error)
}

// Revisions gives the spec of a revision.
type Revisions interface {
	Revision(ctx context.Context, agentID string, number int) (*agent.Revision, error)
}

// Observed gives what was last seen of instances.
type Observed interface {
	Instances(ctx context.Context, agentIDs ...string) (map[string][]fleet.Instance, error)
}

// Announcer appends events.
type Announcer interface {
	Append(ctx context.Context, events ...event.Event) error
}

// Service runs checks and keeps what they found.
type Service struct {
	Checks    []Check
	Agents    Agents
	Revisions Revisions
	Observed  Observed
	Store     Store
	Tx        txn.Runner
	Audit     *audit.Recorder
	Events    Announcer
	Now       func() time.Time
	NewID     func() string
	Log       *slog.Logger // nil means slog.Default()
	// Every is the time between two runs of the schedule; 0 means no schedule.
	Every time.Duration
	// Jitter changes a time of the schedule, so that portals that were started
	// together do not work at the same moments; nil means by up to a tenth.
	Jitter func(time.Duration) time.Duration

	mu     sync.Mutex
	flying map[string]*flight // by scope and agent
	slots  chan struct{}
	once   sync.Once
	loop   lifecycle.Loop
	cursor string // of the agents that come next on the schedule
}

// flight is a run that is going on. Whoever asks for the same meanwhile gets
// what it finds.
type flight struct {
	done  chan struct{}
	found Diagnosis
	err   error
}

func (s *Service) init() {
	s.once.Do(func() {
		s.flying, s.slots = map[string]*flight{}, make(chan struct{}, runs)
	})
}

func (s *Service) log() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}

// Run makes all checks of one agent, or of the portal if agentID is "", and
// gives what they found, which is stored, recorded and announced. Faults:
// NotFound for an unknown agent. While the same is being looked at already, the
// caller gets what comes of that.
func (s *Service) Run(ctx context.Context, agentID string) (Diagnosis, error) {
	return s.run(ctx, agentID, Demand)
}

func (s *Service) run(ctx context.Context, agentID string, why Trigger) (Diagnosis, error) {
	s.init()
	on, err := s.subject(ctx, agentID)
	if err != nil {
		return Diagnosis{}, err
	}
	key := ""
	if on.Agent != nil {
		key = on.Agent.ID
	}
	s.mu.Lock()
	f, going := s.flying[key]
	if !going {
		f = &flight{done: make(chan struct{})}
		s.flying[key] = f
	}
	s.mu.Unlock()
	if going {
		select {
		case <-f.done:
			return f.found, f.err
		case <-ctx.Done():
			return Diagnosis{}, ctx.Err()
		}
	}
	if why == Demand { // a client that goes away does not take the run from those who wait for it too
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*CheckTime)
	defer cancel()
	f.found, f.err = s.perform(ctx, on, why)
	s.mu.Lock()
	delete(s.flying, key)
	s.mu.Unlock()
	close(f.done)
	return f.found, f.err
}

// subject finds the agent, in any spelling of its id or name.
func (s *Service) subject(ctx context.Context, agentID string) (Subject, error) {
	if agentID == "" {
		return Subject{}, nil
	}
	a, err := s.Agents.Get(ctx, agentID)
	if err != nil {
		return Subject{}, err
	}
	on := Subject{Agent: a, Spec: a.Spec}
	if a.DeployedRevision != 0 && a.DeployedRevision != a.Revision {
		rev, err := s.Revisions.Revision(ctx, a.ID, a.DeployedRevision)
		if err != nil {
			return Subject{}, err
		}
		on.Spec = rev.Spec
	}
	seen, err := s.Observed.Instances(ctx, a.ID)
	if err != nil {
		return Subject{}, err
	}
	on.Instances = seen[a.ID]
	return on, nil
}

// perform runs the checks and stores what they found.
func (s *Service) perform(ctx context.Context, on Subject, why Trigger) (Diagnosis, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return Diagnosis{}, fault.New(fault.Unavailable, "diagnostic.busy", "The checks could not begin").
			Because("others are being made and take long").Do("Try again in a moment.")
	}
	d := Diagnosis{ID: s.NewID(), Scope: Portal, Trigger: why, By: auth.From(ctx).ID, StartedAt: s.Now()}
	if on.Agent != nil {
		d.Scope, d.AgentID, d.AgentName = Agent, on.Agent.ID, on.Agent.Spec.Name
	}
	d.Findings = Look(ctx, s.Checks, d.Scope, on, s.Now, s.log())
	d.EndedAt = s.Now()
	d.Sum()
	return d, s.keep(ctx, d)
}

// keep stores a run with its entry in the record and its event.
func (s *Service) keep(ctx context.Context, d Diagnosis) error {
	target, rooms := "portal", []string{event.RoomDiagnostics}
	if d.AgentID != "" {
		target, rooms = "agent/"+d.AgentID, append(rooms, event.RoomAgent(d.AgentID))
	}
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Store.PutDiagnosis(ctx, d, Keep); err != nil {
			return err
		}
		if d.Trigger == Demand {
			result := map[string]any{"diagnostic_id": d.ID, "status": d.Status}
			if err := s.Audit.Record(ctx, "diagnostic.run", target, audit.Done, "", nil, result); err != nil {
				return err
			}
		}
		return s.Events.Append(ctx, event.New(event.DiagnosticFinished, d.AgentID, d.By, d.EndedAt, event.Diagnostic{
			DiagnosticID: d.ID, Scope: string(d.Scope), AgentID: d.AgentID, Status: string(d.Status), Trigger: string(d.Trigger),
			OK: d.Counts[OK], Warnings: d.Counts[Warning], Failed: d.Counts[Failed], Skipped: d.Counts[Skipped], Timestamp: d.EndedAt,
		}, rooms...))
	})
}

// History lists earlier runs, newest first.
func (s *Service) History(ctx context.Context, q Query) ([]Diagnosis, string, error) {
	return s.Store.Diagnoses(ctx, q)
}

// Get gives an earlier run; NotFound.
func (s *Service) Get(ctx context.Context, id string) (*Diagnosis, error) {
	return s.Store.Diagnosis(ctx, id)
}

// Look makes the checks of a scope, some at a time and each within its time, and
// gives what they found in the order of the checks.
func Look(ctx context.Context, checks []Check, scope Scope, on Subject, now func() time.Time, log *slog.Logger) []Finding {
	var mine []Check
	for _, c := range checks {
		if c.Scope() == scope {
			mine = append(mine, c)
		}
	}
	out := make([]Finding, len(mine))
	slots := make(chan struct{}, together)
	var all sync.WaitGroup
	for i, c := range mine {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			start := now()
			o := look(ctx, c, on, log)
			out[i] = Finding{Check: c.Name(), Outcome: tidy(o), Took: float64(now().Sub(start).Microseconds()) / 1000}
		})
	}
	all.Wait()
	return out
}

// look makes one check. One that does not come back in its time, or that
// breaks, is a finding like any other.
func look(ctx context.Context, c Check, on Subject, log *slog.Logger) Outcome {
	ctx, cancel := context.WithTimeout(ctx, CheckTime)
	defer cancel()
	came := make(chan Outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				log.ErrorContext(ctx, "a diagnostic check broke", "check", c.Name(), "panic", fmt.Sprint(p))
				came <- Outcome{Status: Failed, Meaning: "The check itself is broken and says nothing of what it is about.",
					Remedy: "This is a fault of the portal; its log has the details."}
			}
		}()
		came <- c.Run(ctx, on)
	}()
	select {
	case o := <-came:
		return o
	case <-ctx.Done():
		return Outcome{Status: Failed, Evidence: []string{"no answer within " + CheckTime.String()},
			Meaning: "What was looked at does not answer, or the machine is overloaded.", Remedy: "Look again; if it stays so, see the portal's log."}
	}
}

// tidy bounds what a check says, and takes credentials out of it.
func tidy(o Outcome) Outcome {
	if rank(o.Status) == len(Statuses) {
		o.Status = Failed
	}
	lines := make([]string, 0, min(len(o.Evidence), maxEvidence+1))
	for i, line := range o.Evidence {
		if i == maxEvidence {
			lines = append(lines, fmt.Sprintf("and %d more", len(o.Evidence)-i))
			break
		}
		lines = append(lines, short(line))
	}
	o.Evidence, o.Meaning, o.Remedy = lines, short(o.Meaning), short(o.Remedy)
	return o
}

func short(text string) string {
	text = Redact(strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD"))
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return text
}
