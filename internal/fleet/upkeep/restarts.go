package upkeep

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// Again tells whether the policy starts an instance again that has ended.
func Again(p agent.RestartPolicy, failed bool) bool {
	switch cmp.Or(p.Policy, "always") {
	case "never":
		return false
	case "on-failure":
		return failed
	}
	return true
}

// Restarts is how often an instance was started again.
type Restarts struct {
	Recent   []time.Time `json:"recent,omitempty"` // within the window
	Failures int         `json:"failures"`         // ends in a row, for the back-off
}

// Window is the time within which restarts are counted, where the policy names none.
const Window = 5 * time.Minute

func window(p agent.RestartPolicy) time.Duration { return p.Window.Or(Window) }

// Lived says how long the run was that has ended: after a long one the back-off
// begins anew.
func (r *Restarts) Lived(p agent.RestartPolicy, d time.Duration) {
	if d >= window(p) {
		r.Failures = 0
	}
}

// Count notes a restart if the policy allows one more.
func (r *Restarts) Count(p agent.RestartPolicy, now time.Time) bool {
	r.Recent = slices.DeleteFunc(r.Recent, func(t time.Time) bool { return now.Sub(t) > window(p) })
	if len(r.Recent) >= cmp.Or(p.MaxRestarts, 5) {
		return false
	}
	r.Recent = append(r.Recent, now)
	return true
}

// Pauses gives the first pause that the policy asks for and the longest within its
// limit; plain says that each is twice the one before.
func Pauses(p agent.RestartPolicy) (first, longest time.Duration, plain bool) {
	first = p.Backoff.Initial.Or(100 * time.Millisecond)
	most := p.Backoff.Max.Or(30 * time.Second)
	longest = first
	for range min(cmp.Or(p.MaxRestarts, 5)-1, 20) {
		longest *= 2
	}
	return first, min(longest, most), longest <= most
}

// Wait gives the pause before the next start, which doubles each time.
func (r *Restarts) Wait(p agent.RestartPolicy) time.Duration {
	wait := p.Backoff.Initial.Or(100 * time.Millisecond)
	for range min(r.Failures, 20) {
		wait *= 2
	}
	r.Failures++
	return max(0, min(wait, p.Backoff.Max.Or(30*time.Second)))
}

// Loop says for people that the restarts are used up; why is the last end.
func (r *Restarts) Loop(p agent.RestartPolicy, why string) string {
	within := window(p).String()
	for _, zero := range []string{"m0s", "h0m"} { // 5m0s is 5m
		if strings.HasSuffix(within, zero) {
			within = within[:len(within)-2]
		}
	}
	return "crash loop: " + strconv.Itoa(len(r.Recent)+1) + " starts within " + within + ", last " + why
}
