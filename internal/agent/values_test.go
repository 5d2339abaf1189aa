package agent_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

func TestQuantity(t *testing.T) {
	for in, want := range map[string]agent.Quantity{
		"0": 0, "1024": 1024, "256Mi": 256 << 20, "1.5Gi": 3 << 29, "1G": 1e9, "2k": 2000, "2K": 2000, "1Ti": 1 << 40, " 5M ": 5e6,
	} {
		if got, err := agent.ParseQuantity(in); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "Mi", "-1", "NaN", "Inf", "1e30", "9999999Ti", "1 Q", "0x"} {
		if got, err := agent.ParseQuantity(in); err == nil {
			t.Errorf("%q: accepted as %d", in, got)
		}
	}
	for q, want := range map[agent.Quantity]string{0: "0", 1000: "1000", 1024: "1Ki", 3 << 29: "1536Mi", 1 << 40: "1Ti"} {
		if got := q.String(); got != want {
			t.Errorf("%d: got %s, want %s", int64(q), got, want)
		}
	}
}

func TestSpecRoundTripsThroughJSON(t *testing.T) {
	s := agent.Spec{
		Name: "A", Resources: agent.Resources{Memory: 256 << 20}, StopTimeout: agent.Duration(90 * time.Second),
		Probes: agent.Probes{
			Liveness:  &agent.Probe{TCP: &agent.TCPProbe{Port: "8080"}},
			Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/", Port: "$(PORT)"}},
		},
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"A","resources":{"memory":"256Mi"},"probes":{"liveness":{"tcp":{"port":8080}},"readiness":{"http":{"path":"/","port":"$(PORT)"}}},"stop_timeout":"1m30s"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var back agent.Spec
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := agent.Diff(s, back); len(d) != 0 {
		t.Errorf("came back different: %v", d)
	}
	for _, bad := range []string{`{"stop_timeout":"5"}`, `{"resources":{"memory":"x"}}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}
