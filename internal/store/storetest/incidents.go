package storetest

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
	"github.com/waooaw/platform-portal/internal/store"
)

// incident gives the n-th: those of the same fingerprint are alike.
func incident(n int, agentID, fingerprint string) *recovery.Incident {
	return &recovery.Incident{
		ID: uuid(n), AgentID: agentID, AgentName: "one", Source: recovery.FromCrash, Class: cause.Configuration, Cause: cause.PortInUse,
		Certainty: 0.9, Fingerprint: fingerprint, Title: "The port is taken", Summary: "Somebody else listens.",
		Evidence:    []cause.Evidence{{Kind: "port", Text: "8080 is held by pid 7", At: *after(0)}},
		Suggestions: []cause.Suggestion{{Fix: cause.ChangePort, Title: "Use 8081", ExpectedSuccess: 0.9, OneClick: true}},
		State:       recovery.Open, Count: n + 1, FirstSeen: *after(time.Duration(n) * time.Second), LastSeen: *after(time.Duration(n) * time.Minute),
		Seq: int64(n),
	}
}

var incidents = []promise{
	{"incidents come back as they were, and a change on top of an older one is refused", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Incidents()
		in := incident(1, "one", "f")
		must(t, st.InsertIncident(ctx, in))
		got, err := st.Incident(ctx, in.ID)
		must(t, err)
		equal(t, "incident", got, in)
		stale := *got
		got.State, got.RecoveredAt, got.Note = recovery.Recovered, after(time.Hour), "it runs"
		must(t, st.UpdateIncident(ctx, got))
		again, err := st.Incident(ctx, in.ID)
		must(t, err)
		equal(t, "changed", again, got)
		wantKind(t, st.UpdateIncident(ctx, &stale), fault.Stale)
		_, err = st.Incident(ctx, uuid(99))
		wantKind(t, err, fault.NotFound)
	}},
	{"incidents are selected, page by page, and what ended long ago goes", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Incidents()
		for n := range 6 {
			in := incident(n, map[bool]string{true: "one", false: "two"}[n%2 == 0], map[bool]string{true: "often", false: uuid(n)}[n%2 == 0])
			if n == 0 {
				in.State = recovery.Dismissed
			}
			must(t, st.InsertIncident(ctx, in))
		}
		ids := func(q recovery.Query) (out []string) {
			for q.Limit = 2; ; {
				list, next, err := st.Incidents(ctx, q)
				must(t, err)
				for _, in := range list {
					out = append(out, in.ID)
				}
				if q.Cursor = next; next == "" {
					return out
				}
			}
		}
		equal(t, "all", ids(recovery.Query{}), []string{uuid(5), uuid(4), uuid(3), uuid(2), uuid(1), uuid(0)})
		equal(t, "of one", ids(recovery.Query{AgentIDs: []string{"one"}, States: []recovery.State{recovery.Open}}), []string{uuid(4), uuid(2)})
		equal(t, "alike", ids(recovery.Query{Fingerprint: "often", Since: *after(2 * time.Minute)}), []string{uuid(4), uuid(2)})
		equal(t, "of another cause", ids(recovery.Query{Causes: []cause.Code{cause.Hang}}), []string(nil))

		found, err := st.Patterns(ctx, nil, 2, *after(0), 10)
		must(t, err)
		if len(found) != 1 || found[0].Fingerprint != "often" || found[0].Incidents != 3 || found[0].Count != 1+3+5 {
			t.Errorf("patterns %+v", found)
		}
		n, err := st.PruneIncidents(ctx, *after(time.Hour))
		must(t, err)
		equal(t, "removed", n, 1)
		equal(t, "left", len(ids(recovery.Query{})), 5)
	}},
	{"recovery remembers its place, what helped, what ran well and its policies", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Incidents()
		place, err := st.Cursor(ctx)
		must(t, err)
		equal(t, "place", place, int64(-1))
		must(t, st.SetCursor(ctx, 5))
		must(t, st.SetCursor(ctx, 7))
		place, err = st.Cursor(ctx)
		must(t, err)
		equal(t, "place", place, int64(7))

		must(t, st.AddOutcome(ctx, cause.Hang, cause.Restart, true))
		must(t, st.AddOutcome(ctx, cause.Hang, cause.Restart, false))
		outcomes, err := st.Outcomes(ctx)
		must(t, err)
		equal(t, "outcomes", outcomes, []recovery.Outcome{{Cause: cause.Hang, Fix: cause.Restart, Tried: 2, Helped: 1}})

		a := create(t, s, draft("one"))
		for _, revision := range []int{1, 3, 2} {
			must(t, st.SetGood(ctx, a.ID, revision, true, *after(0)))
		}
		must(t, st.SetGood(ctx, a.ID, 2, false, *after(0)))
		good, err := st.GoodRevisions(ctx, a.ID)
		must(t, err)
		equal(t, "good revisions", good, []int{3, 1})
		wantKind(t, st.SetGood(ctx, "nobody", 1, true, *after(0)), fault.NotFound)

		none, err := st.Policies(ctx)
		must(t, err)
		if none != nil {
			t.Errorf("policies %+v that nobody set", none)
		}
		want := recovery.DefaultPolicies()
		want.Agents[a.ID] = recovery.Automatic
		must(t, st.SetPolicies(ctx, want))
		got, err := st.Policies(ctx)
		must(t, err)
		equal(t, "policies", *got, want)
	}},
}
