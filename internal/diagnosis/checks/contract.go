package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fleet"
)

const (
	askTime   = 3 * time.Second
	maxAnswer = 1 << 20
)

// Contract asks running instances what the contract of agents says they answer.
type Contract struct {
	// Metrics reads GET /metrics of an instance as the portal does for its figures;
	// nil: it is only looked whether there is an answer.
	Metrics func(ctx context.Context, agentID string, in fleet.Instance) error
}

// Checks are one check for each part of the contract.
func (c Contract) Checks() []diagnosis.Check {
	list := []diagnosis.Check{}
	for _, part := range []part{
		{"contract_health", "/health", 1, "The portal sees whether the agent lives.", "Answer GET /health with 200 while the process works.", isStatus},
		{"contract_ready", "/ready", 1, "The portal sees whether the agent takes work.", "Answer GET /ready with 200 once work can be taken, 503 before.", isReady},
		{"contract_metrics", "/metrics", 2, "The portal can read the agent's figures.", "Answer GET /metrics with the Prometheus text format.", isStatus},
		{"contract_config", "/v1/config", 2, "The agent can be configured while it runs.", "Answer GET /v1/config with a JSON object of values and fields.", isConfig},
	} {
		list = append(list, ofAgent(part.name, func(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome { return c.ask(ctx, on, part) }))
	}
	return list
}

// part is one request of the contract.
type part struct {
	name, path string
	level      int
	meaning    string
	remedy     string
	judge      func(answer) (problem string, severe bool)
}

// answer is what an instance said.
type answer struct {
	status int
	body   []byte
	took   time.Duration
}

// expected is the level of the contract that the agent says it meets: built-in
// agents all of it, others with a probe over HTTP the first.
func expected(on diagnosis.Subject) int {
	p := on.Spec.Probes
	switch {
	case on.Spec.Template != "":
		return 2
	case p.Liveness != nil && p.Liveness.HTTP != nil, p.Readiness != nil && p.Readiness.HTTP != nil:
		return 1
	}
	return 0
}

func (c Contract) ask(ctx context.Context, on diagnosis.Subject, p part) diagnosis.Outcome {
	running := on.Running()
	if len(running) == 0 {
		return skip("No instance runs that could be asked.")
	}
	var w worse
	for _, in := range running {
		w.add(c.one(ctx, on, in, p))
	}
	return w.Outcome
}

// one asks one instance.
func (c Contract) one(ctx context.Context, on diagnosis.Subject, in fleet.Instance, p part) diagnosis.Outcome {
	level := fmt.Sprintf("level %d of the contract", p.level)
	if in.Port == 0 {
		return skip("The instance has no port to be asked on.", in.ID)
	}
	a, err := get(ctx, in, p.path)
	what := fmt.Sprintf("%s: GET %s", in.ID, p.path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return c.absent(on, p, what+": nothing listens on its port "+strconv.Itoa(in.Port))
	case err != nil:
		return fail("The agent accepts connections and does not answer ("+level+").", "See its logs: it hangs, or it is overloaded.", what+": "+plain(err))
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed, a.status == http.StatusNotImplemented:
		return c.absent(on, p, fmt.Sprintf("%s: %d", what, a.status))
	}
	evidence := fmt.Sprintf("%s: %d in %s", what, a.status, within(a.took))
	problem, severe := p.judge(a)
	if problem == "" && p.path == "/metrics" && c.Metrics != nil {
		if err := c.Metrics(ctx, on.Agent.ID, in); err != nil {
			problem = err.Error()
		}
	}
	switch {
	case problem == "":
		return fine(p.meaning+" That is of "+level+".", evidence)
	case severe:
		return fail("The agent answers otherwise than the contract says ("+level+").", p.remedy, evidence, problem)
	}
	return warn("The agent answers otherwise than the contract says ("+level+").", p.remedy, evidence, problem)
}

// absent is the outcome for a part that the agent does not have.
func (c Contract) absent(on diagnosis.Subject, p part, evidence string) diagnosis.Outcome {
	if expected(on) >= p.level {
		return fail(fmt.Sprintf("The agent says that it meets level %d of the contract, and this is missing.", p.level), p.remedy, evidence)
	}
	return skip(fmt.Sprintf("The agent does not have this part; it belongs to level %d of the contract, which nobody has to meet.", p.level), evidence)
}

func isStatus(a answer) (string, bool) {
	if a.status < 200 || a.status > 299 {
		return fmt.Sprintf("the status should be 200 and is %d", a.status), true
	}
	return "", false
}

// isReady takes 503 for a proper answer: not now.
func isReady(a answer) (string, bool) {
	if a.status == http.StatusServiceUnavailable {
		return "it says that it takes no work now", false
	}
	return isStatus(a)
}

func isConfig(a answer) (string, bool) {
	if problem, severe := isStatus(a); problem != "" {
		return problem, severe
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &c); err != nil {
		return "the answer is not a JSON object", false
	}
	if _, ok := c["values"]; !ok {
		return `the answer has no "values"`, false
	}
	return "", false
}

// get asks an instance, and nothing else: a redirect is an answer, not an order.
func get(ctx context.Context, in fleet.Instance, path string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	address, err := agent.Address(in.Host, in.Port)
	if err != nil {
		return answer{}, err
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", "platform-portal-diagnostics")
	start := time.Now()
	resp, err := t.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return answer{}, fmt.Errorf("no answer within %s", askTime)
		}
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("the answer broke off: %w", err)
	}
	return answer{resp.StatusCode, body, time.Since(start)}, nil
}
