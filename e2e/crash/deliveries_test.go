package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// receiver takes what the portal tells others, or refuses it for a while.
type receiver struct {
	mu      sync.Mutex
	refuses bool
	refused map[string]int // requests, by path
	events  []string       // subjects of events that were taken, each once
	alerts  []string       // what was said of alerts
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Subject string `json:"subject"`
		Alerts  []struct {
			Labels map[string]string `json:"labels"`
			Status string            `json:"status"`
		} `json:"alerts"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20)).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuses {
		r.refused[req.URL.Path]++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if req.URL.Path == "/events" && (len(r.events) == 0 || r.events[len(r.events)-1] != body.Subject) {
		r.events = append(r.events, body.Subject)
	}
	for _, a := range body.Alerts {
		r.alerts = append(r.alerts, a.Labels["agent"]+" "+a.Status)
	}
}

func (r *receiver) refuse(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses = on
}

// until waits for something that the receiver has seen.
func (r *receiver) until(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	err := drive.Poll(ctx, 50*time.Millisecond, func() (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return ok(), nil
	})
	if err != nil {
		t.Fatalf("%s: %v; events %v, alerts %v, refused %v", what, err, r.events, r.alerts, r.refused)
	}
}

// What others are to be told is told by the next portal if this one dies.
func TestDeliveriesOutliveThePortal(t *testing.T) {
	if testing.Short() {
		t.Skip("deliveries are retried after some seconds")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin, err := drive.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{refused: map[string]int{}}
	srv := httptest.NewServer(r)
	defer srv.Close()
	p, err := drive.New(bin, t.TempDir(), "--egress-allow", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	call := func(path string, body map[string]any) {
		t.Helper()
		if err := p.Call(ctx, http.MethodPost, path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	call("/webhooks", map[string]any{"name": "ops", "url": srv.URL + "/events", "types": []string{"agent:created"}})
	secrets := filepath.Join(p.Data, "secrets")
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(secrets, "pager"), []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	call("/alerts/receivers", map[string]any{"name": "pager", "kind": "webhook", "url": srv.URL + "/alerts", "secret": "file:pager", "group_wait_seconds": 1})
	makes := func(name string) { call("/agents", map[string]any{"name": name, "command": "/bin/false"}) }
	makes("one")
	r.until(ctx, t, "the first event", func() bool { return len(r.events) == 1 })

	r.refuse(true)
	for _, name := range []string{"two", "three", "four"} {
		makes(name)
	}
	for _, action := range []string{"provision", "deploy", "start"} {
		if op, err := p.Act(ctx, "two", action); err != nil || op.State != "SUCCEEDED" && action != "start" {
			t.Fatalf("%s: %+v, %v", action, op, err)
		}
	}
	r.until(ctx, t, "both to be refused", func() bool { return r.refused["/events"] > 0 && r.refused["/alerts"] > 0 })
	if err := p.Kill9(); err != nil {
		t.Fatal(err)
	}
	r.refuse(false)
	if err := p.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	r.until(ctx, t, "what was refused", func() bool { return len(r.events) >= 4 && len(r.alerts) > 0 })
	if got, want := fmt.Sprint(r.events), "[agent/one agent/two agent/three agent/four]"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	if !strings.Contains(fmt.Sprint(r.alerts), "two firing") {
		t.Errorf("alerts %v", r.alerts)
	}
}
