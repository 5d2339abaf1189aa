package docker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// The engine waits so long before the first restart in a row, twice as long before
// each further one, never longer than the last of these, and begins anew after a
// run that was calm.
const (
	enginePause   = 100 * time.Millisecond
	engineLongest = time.Minute
	engineCalm    = 10 * time.Second
)

// byEngine gives the policy by which the engine starts a container again by itself,
// also while no portal runs: none where its pauses are not those that were asked
// for.
func byEngine(p agent.RestartPolicy) container.RestartPolicy {
	first, longest, plain := upkeep.Pauses(p)
	if first != enginePause || longest > engineLongest || !plain {
		return container.RestartPolicy{Name: container.RestartPolicyDisabled}
	}
	switch cmp.Or(p.Policy, agent.DefaultRestartPolicy) {
	case "never":
		return container.RestartPolicy{Name: container.RestartPolicyDisabled}
	case "on-failure":
		return container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: cmp.Or(p.MaxRestarts, agent.DefaultMaxRestarts)}
	}
	return container.RestartPolicy{Name: container.RestartPolicyAlways}
}

// runs tells whether the container has processes; for the engine it also runs
// between two runs.
func runs(st *container.State) bool { return st.Running && !st.Restarting }

// look takes in what became of the container since the last look; true if that is
// anything. What is left of a run's output was taken before.
func (u *unit) look(c container.InspectResponse, turn int) bool {
	u.mu.Lock()
	missed, unseen := 0, !u.looked
	if !c.HostConfig.RestartPolicy.IsNone() {
		missed = u.rec.Missed(c.RestartCount, c.State.StartedAt)
	}
	busy := u.busy(turn)
	since := cmp.Or(u.rec.Seen, instant(c.Created))
	u.mu.Unlock()
	passed := missed
	if c.State.Restarting {
		passed = max(0, missed-1)
	}
	var ends []upkeep.End
	if passed > 0 && !busy {
		ends = u.ends(c.State, since, passed)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	ended := c.State.Status == container.StateExited
	if u.busy(turn) {
		if ended && turn == u.turn {
			u.settle()
		}
		return false
	}
	u.looked = true
	again := u.rec.Resumed(c.State.StartedAt) // what was waited for has come
	if last := u.pass(ends, unseen); last != nil {
		u.conclude(last.Code)
		return true
	}
	if missed > 0 || again || u.rec.Current == "" {
		u.rec.Counted, u.rec.Current = c.RestartCount, c.State.StartedAt
		u.save()
	}
	switch {
	case c.State.Restarting && missed > 0:
		u.ended(c.State)
	case ended:
		u.ended(c.State)
	case passed > 0 || again:
		u.begun()
	}
	return missed > 0 || again
}

// busy tells whether somebody else decides what becomes of the container, or has
// done so since the turn. u.mu is held.
func (u *unit) busy(turn int) bool {
	return u.hold || u.rec.State == fleet.InstanceStopping || turn != u.turn
}

// pass counts ends after which the engine has started the container again, and gives
// the one after which it should not have. u.mu is held.
func (u *unit) pass(ends []upkeep.End, unseen bool) (last *upkeep.End) {
	for _, e := range ends {
		if e.Lived >= engineCalm {
			u.rec.Failures = 0
		}
		if !u.rec.Passed(u.restart, e, unseen) {
			return &e
		}
		when := ""
		if unseen {
			when = " at " + e.At.Format(time.RFC3339) + ", while no portal looked"
		}
		u.copied.Note(e.Why + "; started again by the engine" + when)
	}
	if n := len(ends); unseen && n > 0 {
		u.rec.Reason = "started again " + times(n) + " while no portal looked: " + ends[n-1].Why
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

// conclude notes an end that was the last, although the engine may have begun
// another run. u.mu is held.
func (u *unit) conclude(code int) {
	u.rec.Code, u.ending = &code, true
	u.decide(u.rec.State, u.rec.Reason)
	u.settle()
}

// final tells whether the container is to run no more, but might. u.mu is not held.
func (u *unit) final(c container.InspectResponse) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rec.State != fleet.InstanceFailed && u.rec.State != fleet.InstanceExited {
		return false
	}
	own := c.HostConfig.RestartPolicy.IsNone()
	if own && !c.State.Running {
		u.ending = false
	}
	return u.ending || !own
}

// finish takes the container's policy away and ends what runs in it.
func (u *unit) finish() {
	ctx, cancel := u.r.bounded(u.ctx)
	defer cancel()
	err := u.r.unpolicy(ctx, u)
	if err == nil {
		_, err = u.r.api().ContainerKill(ctx, u.container, client.ContainerKillOptions{Signal: "SIGKILL"})
	}
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) && u.ctx.Err() == nil {
		u.r.cfg.Log.Warn("an instance that is to run no more could not be ended yet", "instance", u.instanceID, "error", err)
	}
}

// unpolicy lets the engine start the container no more. A container that ends just
// then makes the engine put the old policy back, so it is asked again until it has
// seen the end.
func (r *Runtime) unpolicy(ctx context.Context, u *unit) error {
	for {
		_, err := r.api().ContainerUpdate(ctx, u.container, client.ContainerUpdateOptions{
			RestartPolicy: &container.RestartPolicy{Name: container.RestartPolicyDisabled},
		})
		if err == nil || !strings.Contains(err.Error(), "container not running") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ends asks the engine how the last runs ended, of which it says that there were so
// many since. It remembers the newest things alone, and nothing from before its own
// start.
func (u *unit) ends(st *container.State, since time.Time, n int) []upkeep.End {
	ctx, cancel := u.r.bounded(u.ctx)
	defer cancel()
	finished := instant(st.FinishedAt)
	told := u.r.api().Events(ctx, client.EventsListOptions{
		Since: since.Format(time.RFC3339Nano), Until: finished.Add(time.Second).Format(time.RFC3339Nano),
		Filters: make(client.Filters).Add("type", "container").Add("container", u.container).Add("event", "die", "oom", "start"),
	})
	want := n
	if !runs(st) {
		want++ // its last end is among them
	}
	var list []upkeep.End
	var begun time.Time
	oom := false
	for open := true; open && len(list) < want; {
		select {
		case m := <-told.Messages:
			at := time.Unix(0, m.TimeNano).UTC()
			switch {
			case !at.After(since):
			case m.Action == events.ActionStart:
				begun, oom = at, false
			case m.Action == events.ActionOOM:
				oom = true
			case m.Action == events.ActionDie:
				e := upkeep.End{At: at}
				e.Code, _ = strconv.Atoi(m.Actor.Attributes["exitCode"])
				e.Why = u.describe(&container.State{ExitCode: e.Code, OOMKilled: oom})
				if !begun.IsZero() {
					e.Lived = at.Sub(begun)
				}
				list = append(list, e)
			}
		case err := <-told.Err: // io.EOF once it has told all
			if open = false; err != nil && !errors.Is(err, io.EOF) {
				u.r.cfg.Log.Debug("the engine does not tell how runs ended", "instance", u.instanceID, "error", err)
			}
		}
	}
	if len(list) > n {
		list = list[:n]
	}
	if lacks := n - len(list); lacks > 0 {
		unknown := upkeep.End{At: finished, Why: "it ended, and the engine does not know how", Code: -1}
		padded := make([]upkeep.End, lacks, n)
		for i := range padded {
			padded[i] = unknown
		}
		list = append(padded, list...)
	}
	return list
}
