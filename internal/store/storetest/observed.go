package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/store"
)

var instances = []promise{
	{"instances replace those before and come back in order", func(t *testing.T, s *store.Store) {
		ctx, in := t.Context(), s.Instances()
		one, two := create(t, s, draft("one")), create(t, s, draft("two"))
		code, yes, no := 3, true, false
		full := fleet.Instance{
			ID: fleet.InstanceID(one.ID, 2, 1), AgentID: one.ID, Revision: 2, Index: 1, State: fleet.InstanceBackoff, PID: 42, Port: 20001,
			Restarts: 7, StartedAt: epoch, EndedAt: *after(time.Second), ExitCode: &code, Signal: "SIGKILL", OOMKilled: true,
			Reason: "killed", LastLogs: []string{"a\x00b", "c"}, Live: &yes, Ready: &no,
		}
		bare := fleet.Instance{ID: fleet.InstanceID(one.ID, 2, 0), AgentID: one.ID, Revision: 2, State: fleet.InstanceStarting}
		must(t, in.PutInstances(ctx, one.ID, []fleet.Instance{full, bare}))
		must(t, in.PutInstances(ctx, two.ID, []fleet.Instance{{ID: "x", AgentID: two.ID}}))
		got, err := in.Instances(ctx, one.ID, "none")
		must(t, err)
		equal(t, "instances", got, map[string][]fleet.Instance{one.ID: {bare, full}})
		must(t, in.PutInstances(ctx, one.ID, []fleet.Instance{bare}))
		must(t, in.PutInstances(ctx, two.ID, nil))
		got, err = in.Instances(ctx)
		must(t, err)
		equal(t, "instances", got, map[string][]fleet.Instance{one.ID: {bare}})
	}},
	{"an instance keeps its port until it is given back", func(t *testing.T, s *store.Store) {
		ctx, in := t.Context(), s.Instances()
		a := create(t, s, draft("one"))
		reserve := func(index, want int) {
			t.Helper()
			got, err := in.ReservePort(ctx, a.ID, index, 20000, 20005, anyPort)
			must(t, err)
			equal(t, "port", got, want)
		}
		reserve(0, 20000)
		reserve(1, 20001)
		reserve(0, 20000)
		must(t, in.ReleasePort(ctx, a.ID, 0))
		reserve(0, 20002) // not the one just given back
		reserve(2, 20003)
		must(t, in.ReleasePorts(ctx, a.ID))
		reserve(0, 20004)
		reserve(1, 20005)
		reserve(2, 20000) // round the range
		ports, err := in.Ports(ctx)
		must(t, err)
		equal(t, "ports", ports, map[int]string{20004: a.ID, 20005: a.ID, 20000: a.ID})
	}},
	{"only usable ports are given, and the end of the range is told", func(t *testing.T, s *store.Store) {
		ctx, in := t.Context(), s.Instances()
		a := create(t, s, draft("one"))
		odd := func(port int) bool { return port%2 == 1 }
		for i, want := range []int{20001, 20003} {
			got, err := in.ReservePort(ctx, a.ID, i, 20000, 20004, odd)
			must(t, err)
			equal(t, "port", got, want)
		}
		_, err := in.ReservePort(ctx, a.ID, 2, 20000, 20004, odd)
		wantKind(t, err, fault.Unavailable)
		got, err := in.ReservePort(ctx, a.ID, 2, 30000, 30000, anyPort) // another range
		must(t, err)
		equal(t, "port", got, 30000)
		for _, bad := range [][2]int{{0, 10}, {10, 9}, {65000, 65536}} {
			_, err := in.ReservePort(ctx, a.ID, 3, bad[0], bad[1], anyPort)
			wantKind(t, err, fault.Invalid)
		}
	}},
	{"no two callers get one port", racingPorts},
	{"the search for ports begins where it is told, once", func(t *testing.T, s *store.Store) {
		ctx, in := t.Context(), s.Instances()
		a := create(t, s, draft("one"))
		for i, after := range []int{20007, 20002} {
			must(t, s.BeginPorts(ctx, after))
			got, err := in.ReservePort(ctx, a.ID, i, 20000, 20009, anyPort)
			must(t, err)
			equal(t, "port", got, 20008+i)
		}
	}},
}

func racingPorts(t *testing.T, s *store.Store) {
	const agents, each = 8, 6
	var group sync.WaitGroup
	var mu sync.Mutex
	given := map[int]string{}
	for i := range agents {
		a := create(t, s, draft(fmt.Sprint("a", i)))
		group.Go(func() {
			for index := range each {
				port, err := s.Instances().ReservePort(t.Context(), a.ID, index, 20000, 20000+agents*each-1, anyPort)
				if err != nil {
					t.Errorf("reserve: %v", chain(err))
					return
				}
				mu.Lock()
				if other, taken := given[port]; taken {
					t.Errorf("port %d was given to %s and %s", port, other, a.ID)
				}
				given[port] = a.ID
				mu.Unlock()
			}
		})
	}
	group.Wait()
	ports, err := s.Instances().Ports(t.Context())
	must(t, err)
	equal(t, "ports", ports, given)
	equal(t, "used up", len(ports), agents*each)
}

var results = []promise{
	{"probe results are listed newest first, page by page, and pruned", func(t *testing.T, s *store.Store) {
		ctx, h := t.Context(), s.Health()
		a, other := create(t, s, draft("one")), create(t, s, draft("two"))
		want := []health.Result{}
		for i := range 7 {
			r := health.Result{
				AgentID: a.ID, InstanceID: "i", Kind: health.Readiness, OK: i%2 == 0, Reason: "GET /ready: 503",
				Latency: 1234567 * time.Nanosecond, At: *after(time.Duration(i/2) * time.Second),
			}
			must(t, h.AddResult(ctx, r))
			must(t, h.AddResult(ctx, health.Result{AgentID: other.ID, At: r.At}))
			want = append([]health.Result{r}, want...)
		}
		list := func() []health.Result {
			got, cursor := []health.Result{}, ""
			for {
				page, next, err := h.Results(ctx, a.ID, cursor, 3)
				must(t, err)
				got = append(got, page...)
				if cursor = next; cursor == "" {
					return got
				}
				_, _, err = h.Results(ctx, other.ID, cursor, 3)
				wantKind(t, err, fault.Invalid)
			}
		}
		equal(t, "results", list(), want)
		n, err := h.PruneResults(ctx, *after(2 * time.Second))
		must(t, err)
		equal(t, "pruned", n, 8)
		equal(t, "results", list(), want[:3])
	}},
}
