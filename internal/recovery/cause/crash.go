package cause

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// loopAfter is how many restarts make a loop of crashes.
const loopAfter = 3

// crash: a program ends again and again, and nothing says why.
func crash(f *Facts) *Finding {
	if !f.failed() || f.Problem != nil && f.Ended == nil {
		return nil
	}
	restarts, loop := 0, f.code() == "crash_loop" || f.code() == "agent.instance_failed"
	for _, in := range f.Instances {
		restarts = max(restarts, in.Restarts)
		loop = loop || in.State == fleet.InstanceFailed
	}
	if f.Ended != nil {
		restarts = max(restarts, f.Ended.Restarts)
	}
	running := f.State == agent.Running && f.up()
	if !loop && (restarts < loopAfter || running) {
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
		Code: CrashLoop, Certainty: 0.6, Key: Normal(f.telling()), Evidence: f.evidence(),
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

// flips is how often a probe changes its mind before it counts as flaky.
const flips = 3

// flakyWindow is how far back changes of probes count.
const flakyWindow = 2 * time.Minute

// flaky: it fails now and then, and recovers by itself.
func flaky(f *Facts) *Finding {
	if f.State != agent.Running {
		return nil
	}
	changes := 0
	for _, r := range f.Probes {
		if f.Now.Sub(r.At) <= flakyWindow {
			changes++
		}
	}
	restarts := 0
	for _, in := range f.Instances {
		restarts = max(restarts, in.Restarts)
	}
	if changes < 2*flips-1 && (restarts == 0 || restarts >= loopAfter && !f.up()) {
		return nil
	}
	out := &Finding{
		Code: Flaky, Certainty: 0.5, Key: "", Evidence: f.evidence(),
		Title: "It fails now and then", Summary: "It fails and recovers by itself, without one cause that would be seen.",
	}
	if changes >= 2*flips-1 {
		out.Certainty = 0.55
		out.Evidence = append(out.Evidence, Evidence{Kind: "probe", Text: fmt.Sprintf("Its probes changed their answer %d times within %s", changes, flakyWindow), At: f.Now})
	}
	if restarts > 0 {
		out.Evidence = append(out.Evidence, Evidence{Kind: "exit", Text: fmt.Sprintf("It was restarted %d times and ran again each time", restarts), At: f.Now})
	}
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }
