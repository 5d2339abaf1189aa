package cause

import (
	"fmt"
	"regexp"
	"time"

	"github.com/waooaw/platform-portal/internal/queue"
)

const (
	// lagging is how long the oldest message may wait before a backlog that does
	// not shrink is an error.
	lagging = 10 * time.Second
	// looksOfBacklog is how often it must be seen.
	looksOfBacklog = 3
	// deadFor is how long a dead letter counts as new.
	deadFor = 2 * time.Minute
)

var poisoned = regexp.MustCompile(`(?i)poison|(message|task|command|job|payload)\b.{0,60}\b(crash|cannot be processed|could not be processed|undecodable|unprocessable|malformed)`)

// message: one message cannot be worked on, however often it is tried.
func message(f *Facts) *Finding {
	out := &Finding{
		Code: PoisonMessage, Title: "A message in its queue can't be worked on",
		Summary: "One message fails however often it is tried.",
	}
	line := last(f.texts(), poisoned)
	if m := f.Oldest; m != nil && m.Deliveries >= 2 && f.failed() {
		out.Certainty, out.Key = 0.94, "message"
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", At: f.Now, Text: fmt.Sprintf("Message %d was delivered %d times, and the program ended while it was worked on", m.Sequence, m.Deliveries)})
	}
	for _, d := range f.Dead {
		if f.Now.Sub(d.At) > deadFor {
			continue
		}
		out.Certainty, out.Key = max(out.Certainty, 0.97), "message"
		text := fmt.Sprintf("Message %d became a dead letter after %d deliveries", d.Original, d.Deliveries)
		if d.Reason == queue.ReasonPermanent {
			text = fmt.Sprintf("The program refused message %d for good", d.Original)
		}
		if d.Error != "" {
			text += ": " + d.Error
		}
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", Text: short(text), At: d.At})
		break
	}
	if line != nil && out.Certainty > 0 {
		out.Certainty = 0.98
		out.Evidence = append(out.Evidence, line.evidence())
	}
	if line != nil && out.Certainty == 0 && len(f.Backlog) > 0 && f.Backlog[len(f.Backlog)-1].InFlight > 0 {
		out.Certainty, out.Key, out.Evidence = 0.8, "message", []Evidence{line.evidence()}
	}
	if out.Certainty == 0 {
		return nil
	}
	return out
}

// backlog: its queue grows, or does not shrink.
func backlog(f *Facts) *Finding {
	if !f.serving() || len(f.Backlog) < looksOfBacklog {
		return nil
	}
	recent := f.Backlog[len(f.Backlog)-looksOfBacklog:]
	first, now := recent[0], recent[len(recent)-1]
	if now.Pending < 5 || now.Oldest.IsZero() || f.Now.Sub(now.Oldest) < lagging {
		return nil
	}
	for i := 1; i < len(recent); i++ {
		if recent[i].Pending < recent[i-1].Pending*9/10 {
			return nil // it is being worked off
		}
	}
	waits := f.Now.Sub(now.Oldest).Round(time.Second)
	return &Finding{
		Code: QueueBacklog, Certainty: 0.9, Key: "backlog", Title: "Its queue does not shrink",
		Summary: fmt.Sprintf("%d messages wait in its queue, the oldest for %s.", now.Pending, waits),
		Evidence: []Evidence{
			{Kind: "metric", Text: fmt.Sprintf("%d messages wait, %d are being worked on; %s before it were %d", now.Pending, now.InFlight, now.At.Sub(first.At).Round(time.Second), first.Pending), At: now.At},
			{Kind: "metric", Text: fmt.Sprintf("The oldest waits for %s", waits), At: now.At},
		},
	}
}
