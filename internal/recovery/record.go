package recovery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// generic are causes that say how it fails and not why: a better one takes their place.
var generic = []cause.Code{cause.Unknown, cause.Flaky, cause.CrashLoop, cause.Hang}

// guess is how certain a cause is at most that gives way to any that is more so.
const guess = 0.7

// sighting is one time that something was seen to go wrong.
type sighting struct {
	Source     Source
	InstanceID string
	Seq        int64 // of the event; 0 if there was none
	At         time.Time
	// again says that the same is looked at once more: it is not counted.
	again bool
}

// lasting is how long what is measured to go on counts as one sighting.
const lasting = 10 * time.Second

// fingerprint is the same for what is alike.
func fingerprint(agentID string, f *cause.Finding) string {
	sum := sha256.Sum256([]byte(agentID + "\x00" + string(f.Code) + "\x00" + f.Key))
	return hex.EncodeToString(sum[:8])
}

// record takes a finding into the record: into the incident that it belongs to,
// or into a new one.
func (s *Service) record(ctx context.Context, f *cause.Facts, name string, found *cause.Finding, seen sighting) (*Incident, error) {
	var out *Incident
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		active, _, err := s.Store.Incidents(ctx, Query{AgentIDs: []string{f.AgentID}, States: []State{Open, Recovering}, Limit: 50})
		if err != nil {
			return err
		}
		in, better := place(active, f.AgentID, found)
		switch {
		case in == nil && seen.again:
			return nil
		case in == nil:
			out = s.incident(f, name, found, seen)
			if err := s.Store.InsertIncident(ctx, out); err != nil {
				return err
			}
			return s.announce(ctx, event.ErrorRecorded, out)
		case seen.Seq != 0 && seen.Seq <= in.Seq:
			out = in // it was counted in an earlier life
			return nil
		case seen.Seq == 0 && !better && seen.At.Sub(in.LastSeen) < lasting:
			out = in // it goes on
			return nil
		case seen.again && !better:
			out = in
			return nil
		}
		out = in
		in.take(f, found, seen, better)
		return s.save(ctx, in)
	})
	return out, err
}

// place gives the active incident that a finding belongs to, and whether it
// explains that incident better than what is stored.
func place(active []*Incident, agentID string, found *cause.Finding) (in *Incident, better bool) {
	print := fingerprint(agentID, found)
	vague := slices.Contains(generic, found.Code)
	for _, a := range active {
		if a.Fingerprint == print {
			return a, found.Certainty > a.Certainty
		}
	}
	for _, a := range active {
		known := !slices.Contains(generic, a.Cause)
		switch {
		case known && vague:
			return a, false // what fails is explained already
		case !known && !vague && found.Certainty >= a.Certainty, !known && vague && found.Certainty > a.Certainty:
			return a, true
		case !known && vague:
			return a, false
		case known && !vague && a.Certainty < guess && found.Certainty > a.Certainty:
			return a, true
		case known && related(a.Cause, found.Code):
			return a, found.Certainty > a.Certainty || a.State != Recovering && said(a.Cause) && said(found.Code)
		}
	}
	return nil, false
}

// resources are causes that have nothing to do with why a program does not start.
var resources = []cause.Code{cause.QueueBacklog, cause.FDLeak, cause.CPUStarved, cause.PoisonMessage, cause.DiskFull}

// related tells whether two causes can be two looks at one failure: an agent does
// not have two reasons at once for which it does not start.
func related(a, b cause.Code) bool {
	return !slices.Contains(resources, a) && !slices.Contains(resources, b)
}

// said tells whether a cause is what a runtime says of itself: the newest of that is
// true, and what it said before is over.
func said(c cause.Code) bool {
	return c == cause.EngineAway || c == cause.ImageUnavailable || c == cause.NoRoom || c == cause.RuntimeRefuses
}

func (s *Service) incident(f *cause.Facts, name string, found *cause.Finding, seen sighting) *Incident {
	in := &Incident{
		ID: s.NewID(), AgentID: f.AgentID, AgentName: name, State: Open, FirstSeen: seen.At, Source: seen.Source, Version: 1,
	}
	in.take(f, found, seen, true)
	return in
}

// most bounds the evidence of an incident.
const most = 20

// take counts a sighting; better says that the finding replaces what is stored.
func (in *Incident) take(f *cause.Facts, found *cause.Finding, seen sighting, better bool) {
	if !seen.again {
		in.Count++
		in.LastSeen = later(in.LastSeen, seen.At)
		in.Seq = max(in.Seq, seen.Seq)
	}
	in.InstanceID = cmp.Or(seen.InstanceID, in.InstanceID)
	if better {
		in.Class, in.Cause, in.Certainty, in.Fingerprint = found.Class, found.Code, found.Certainty, fingerprint(f.AgentID, found)
		in.Title, in.Summary, in.Suggestions = found.Title, found.Summary, found.Suggestions
		in.Evidence = add(found.Evidence, in.Evidence...)
	} else if in.Cause == found.Code && in.State != Recovering {
		in.Evidence, in.Suggestions = add(found.Evidence, in.Evidence...), found.Suggestions
		in.Title, in.Summary = found.Title, found.Summary
	}
	for i := range in.Evidence {
		if in.Evidence[i].At.IsZero() {
			in.Evidence[i].At = seen.At
		}
		in.Evidence[i].Text = strings.ToValidUTF8(in.Evidence[i].Text, "")
	}
}

// add puts new evidence before the old and leaves out what is there twice.
func add(list []cause.Evidence, more ...cause.Evidence) []cause.Evidence {
	out := slices.Clone(list)
	for _, e := range more {
		if len(out) < most && !slices.ContainsFunc(out, func(o cause.Evidence) bool { return o.Kind == e.Kind && alike(o.Text, e.Text) }) {
			out = append(out, e)
		}
	}
	return out
}

func alike(a, b string) bool { return cause.Normal(a) == cause.Normal(b) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// failed gives the fixes that were tried for the incident and did not help.
func (in *Incident) failed() map[cause.Fix]bool {
	out := map[cause.Fix]bool{}
	for _, t := range in.Tried {
		if t.Helped != nil {
			out[t.Fix] = !*t.Helped
		}
	}
	return out
}

func sortSuggestions(list []cause.Suggestion) {
	slices.SortStableFunc(list, func(a, b cause.Suggestion) int { return cmp.Compare(b.ExpectedSuccess, a.ExpectedSuccess) })
}

func round(x float64) float64 { return math.Round(x*100) / 100 }
