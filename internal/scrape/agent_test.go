package scrape_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/scrape"
)

// The agents of the kit report what the portal reads.
func TestAnAgentOfTheKitReports(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PORT", strconv.Itoa(port))
	t.Setenv("AGENT_ID", "worker")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- agentkit.Run(ctx, agentkit.Agent{Tasks: map[string]agentkit.Handler{
			"work": func(context.Context, agentkit.Task) (any, error) {
				agentkit.Tokens("input", 30)
				agentkit.Cost(0.5)
				return "done", nil
			},
			"fail": func(context.Context, agentkit.Task) (any, error) { return nil, errors.New("no") },
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	url := "http://127.0.0.1:" + strconv.Itoa(port)
	for deadline := time.Now().Add(time.Minute); ; <-time.After(5 * time.Millisecond) {
		if resp, err := http.Get(url + "/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not become ready")
		}
	}
	started := time.Now()
	target := metrics.Target{AgentID: "worker", InstanceID: "worker-1", Run: "1", Port: port, StartedAt: started}
	w := &metrics.Windows{Now: time.Now}
	w.Watch([]metrics.Target{target})
	take(t, w, target)
	for _, kind := range []string{"work", "work", "work", "fail"} {
		resp, err := http.Post(url+"/v1/tasks", "application/json", strings.NewReader(`{"type":"`+kind+`","payload":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	take(t, w, target)
	list, err := w.Agents(t.Context(), metrics.Window{}, "worker")
	if err != nil {
		t.Fatal(err)
	}
	f := list[0]
	if f.Status != metrics.Reporting || f.Tasks["done"] != 3 || f.Tasks["failed"] != 1 || *f.ErrorRate != 0.25 {
		t.Errorf("%s %s: tasks %v, error rate %v", f.Status, f.Reason, f.Tasks, *f.ErrorRate)
	}
	if f.Tokens["input"] != 90 || *f.CostTotal != 1.5 || f.P95 == nil || f.P95.Seconds <= 0 || *f.Memory < 1<<20 || f.CPU == nil {
		t.Errorf("%+v", f.Figures)
	}
}

func take(t *testing.T, w *metrics.Windows, target metrics.Target) {
	t.Helper()
	p, err := scrape.Client{}.Page(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	w.Take(target, p)
}
