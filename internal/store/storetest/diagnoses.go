package storetest

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

// diagnosed gives a run of the agent, or of the portal for "".
func diagnosed(n int, agentID string) diagnosis.Diagnosis {
	d := diagnosis.Diagnosis{
		ID: uuid(n), Scope: diagnosis.Portal, Trigger: diagnosis.Demand, By: "local", StartedAt: *after(time.Duration(n/2) * time.Second),
		EndedAt: *after(time.Duration(n) * time.Second),
		Findings: []diagnosis.Finding{
			{Check: "a", Outcome: diagnosis.Outcome{Status: diagnosis.Warning, Evidence: []string{"x", "y"}, Meaning: "m", Remedy: "r"}, Took: 1.5},
			{Check: "b", Outcome: diagnosis.Outcome{Status: diagnosis.OK, Evidence: []string{}}},
		},
	}
	if agentID != "" {
		d.Scope, d.AgentID, d.AgentName, d.Trigger = diagnosis.Agent, agentID, "one", diagnosis.Scheduled
	}
	d.Sum()
	return d
}

var diagnoses = []promise{
	{"diagnoses come back, page by page, and only the last of each scope stay", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Diagnoses()
		a := create(t, s, draft("one"))
		const keep = 3
		for n := range 12 {
			must(t, st.PutDiagnosis(ctx, diagnosed(n, map[bool]string{true: a.ID}[n%3 == 0]), keep))
		}
		list := func(q diagnosis.Query) (ids []string) {
			q.Limit = 2
			for {
				page, next, err := st.Diagnoses(ctx, q)
				must(t, err)
				for _, d := range page {
					ids = append(ids, d.ID)
				}
				if q.Cursor = next; next == "" {
					return ids
				}
			}
		}
		equal(t, "all", list(diagnosis.Query{}), []string{uuid(11), uuid(10), uuid(9), uuid(8), uuid(6), uuid(3)})
		equal(t, "of the portal", list(diagnosis.Query{Scope: diagnosis.Portal}), []string{uuid(11), uuid(10), uuid(8)})
		equal(t, "of agents", list(diagnosis.Query{Scope: diagnosis.Agent}), []string{uuid(9), uuid(6), uuid(3)})
		equal(t, "of the agent", list(diagnosis.Query{AgentIDs: []string{a.ID, "none"}}), []string{uuid(9), uuid(6), uuid(3)})
		equal(t, "of no agent", len(list(diagnosis.Query{AgentIDs: []string{"none"}})), 0)
		for n, id := range map[int]string{9: a.ID, 11: ""} {
			got, err := st.Diagnosis(ctx, uuid(n))
			must(t, err)
			equal(t, "diagnosis", *got, diagnosed(n, id))
		}
		for _, gone := range []string{uuid(0), uuid(99), "no id", ""} {
			_, err := st.Diagnosis(ctx, gone)
			wantKind(t, err, fault.NotFound)
		}
		_, _, err := st.Diagnoses(ctx, diagnosis.Query{Cursor: "x"})
		wantKind(t, err, fault.Invalid)
	}},
	{"diagnoses go with their agent", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Diagnoses()
		a := create(t, s, draft("one"))
		must(t, st.PutDiagnosis(ctx, diagnosed(1, a.ID), 20))
		must(t, st.PutDiagnosis(ctx, diagnosed(2, ""), 20))
		must(t, s.Agents().Delete(ctx, a.ID))
		page, _, err := st.Diagnoses(ctx, diagnosis.Query{})
		must(t, err)
		equal(t, "left", len(page), 1)
		wantKind(t, st.PutDiagnosis(ctx, diagnosed(3, a.ID), 20), fault.NotFound)
	}},
	{"a trial is written and read again", func(t *testing.T, s *store.Store) {
		for range 2 {
			_, _, err := s.Diagnoses().Try(t.Context())
			must(t, err)
		}
	}},
}
