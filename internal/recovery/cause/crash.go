package cause

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
)

const (
	// loopAfter is how many restarts make a loop of crashes, however long the
	// program lived in between.
	loopAfter = 3
	// shortLife is how long a program lives at most that crashes in a loop.
	shortLife = 15 * time.Second
)

// crash: a program ends again and again, and nothing says why.
func crash(f *Facts) *Finding {
	if f.Problem != nil && f.Ended == nil && f.State != agent.Running {
		return nil
	}
	restarts, loop, brief := 0, f.code() == "crash_loop" || f.code() == "agent.instance_failed", false
	for _, in := range append(f.Instances, deref(f.Ended)...) {
		if in.Displaced {
			continue
		}
		restarts = max(restarts, in.Restarts)
		loop = loop || in.State == fleet.InstanceFailed
		lived := f.Now.Sub(in.StartedAt)
		if in.State != fleet.InstanceRunning {
			lived = in.EndedAt.Sub(in.StartedAt)
		}
		brief = brief || in.Restarts > 0 && lived < shortLife
	}
	steady := f.State == agent.Running && f.up() && !brief
	if !loop && (restarts < loopAfter && !brief || steady) || restarts == 0 && !f.failed() {
		return nil
	}
	how := "ends"
	if code, known := f.exit(); known {
		how = fmt.Sprintf("ends with exit code %d", code)
	}
	if s := f.signal(); s != "" {
		how = "is ended by " + s
	}
	return &Finding{
		Code: CrashLoop, Certainty: 0.58, Key: Normal(f.telling()), Evidence: f.evidence(),
		Title:   "It crashes again and again",
		Summary: fmt.Sprintf("The program %s soon after each start. The last that was printed: %s", how, cmp.Or(short(f.telling()), "nothing")),
	}
}

// up tells whether all its instances run.
func (f *Facts) up() bool {
	for _, in := range f.Instances {
		if in.State != fleet.InstanceRunning {
			return false
		}
	}
	return len(f.Instances) > 0
}

// listless tells whether it lives, was never restarted, and is not ready for a
// reason that nobody gives.
func (f *Facts) listless() bool {
	if f.Health != agent.HealthUnhealthy && f.Health != agent.HealthDegraded || !f.up() {
		return false
	}
	for _, in := range f.Instances {
		if in.Restarts > 0 || in.Live != nil && !*in.Live {
			return false
		}
	}
	return true
}

// flips is how often a probe changes its mind before it counts as flaky.
const flips = 3

// flakyWindow is how far back changes of probes count.
const flakyWindow = 2 * time.Minute

// flaky: it fails now and then, and recovers by itself.
func flaky(f *Facts) *Finding {
	if f.State != agent.Running {
		return nil
	}
	changes := f.changes()
	restarts := 0
	for _, in := range f.Instances {
		restarts = max(restarts, in.Restarts)
	}
	if changes < 2*flips-1 && (restarts == 0 || !f.up()) && !f.listless() {
		return nil
	}
	out := &Finding{
		Code: Flaky, Certainty: 0.4, Key: "flaky", Evidence: f.evidence(),
		Title: "It fails now and then", Summary: "It fails and recovers by itself, without one cause that would be seen.",
	}
	if changes >= 2*flips-1 {
		out.Certainty = 0.55
		out.Evidence = append(out.Evidence, Evidence{Kind: "probe", Text: fmt.Sprintf("A probe changed its answer %d times within %s", changes, flakyWindow), At: f.Now})
	}
	if restarts > 0 {
		out.Evidence = append(out.Evidence, Evidence{Kind: "exit", Text: fmt.Sprintf("It was restarted %d times and ran again each time", restarts), At: f.Now})
	}
	return out
}

// changes is how often the probe that did so most changed its answer of late, about
// an instance as it runs now: what was started and ended on purpose says nothing.
func (f *Facts) changes() int {
	type probe struct {
		instance string
		kind     health.Kind
	}
	most, count := 0, map[probe]int{}
	for _, in := range f.Instances {
		for _, r := range f.Probes {
			if r.InstanceID == in.ID && f.Now.Sub(r.At) <= flakyWindow && r.At.After(in.StartedAt) {
				count[probe{in.ID, r.Kind}]++
				most = max(most, count[probe{in.ID, r.Kind}])
			}
		}
	}
	return most
}

func itoa(n int) string { return strconv.Itoa(n) }
