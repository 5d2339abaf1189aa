package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// portal is the portal that is examined, reached as any program reaches it.
type portal struct {
	url   string
	token string
	http  *http.Client
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 16 << 20

// answerError is an answer that is no success.
type answerError struct {
	status int
	code   string
	detail string
}

// Error gives what the portal said.
func (e *answerError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.detail) }

func statusOf(err error) int {
	var e *answerError
	if errors.As(err, &e) {
		return e.status
	}
	return 0
}

// call sends a request and reads the answer into out.
func (p *portal) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	if !strings.HasPrefix(path, "/auth/") {
		path = "/api/platform" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		req.Header.Set("Idempotency-Key", rand.Text())
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		e := &answerError{status: resp.StatusCode}
		var problem struct{ Code, Detail string }
		if json.Unmarshal(text, &problem) == nil {
			e.code, e.detail = problem.Code, problem.Detail
		}
		return fmt.Errorf("%s %s: %w", method, path, e)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// instance is what the lab needs of an instance.
type instance struct {
	ID       string `json:"id"`
	PID      int    `json:"pid"`
	State    string `json:"state"`
	Restarts int    `json:"restarts"`
}

// view is what the lab needs of an agent.
type view struct {
	ID           string     `json:"id"`
	State        string     `json:"state"`
	Health       string     `json:"health"`
	HealthReason string     `json:"health_reason"`
	Revision     int        `json:"revision"`
	Active       string     `json:"active_operation"`
	Instances    []instance `json:"instances"`
}

// well tells whether the agent does what it should.
func (v view) well() bool {
	if v.State != "RUNNING" || v.Health != "healthy" || len(v.Instances) == 0 {
		return false
	}
	for _, in := range v.Instances {
		if in.State != "running" {
			return false
		}
	}
	return true
}

// runs identifies the processes, so that a restart shows.
func (v view) runs() string {
	var b strings.Builder
	for _, in := range v.Instances {
		fmt.Fprintf(&b, "%s:%d ", in.ID, in.PID)
	}
	return b.String()
}

// work is what the lab needs of an operation.
type work struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Actor   string `json:"actor"`
	Problem *struct {
		What string `json:"what"`
		Why  string `json:"why"`
	} `json:"problem"`
}

func (w work) over() bool {
	return w.State == "SUCCEEDED" || w.State == "FAILED" || w.State == "CANCELLED"
}

// record is what the lab needs of an error record.
type record struct {
	ID          string       `json:"id"`
	AgentID     string       `json:"agent_id"`
	Source      string       `json:"source"`
	Class       string       `json:"class"`
	Cause       string       `json:"cause"`
	Title       string       `json:"title"`
	State       string       `json:"state"`
	Suggestions []suggestion `json:"suggestions"`
	FirstSeen   time.Time    `json:"first_seen"`
	RecoveredAt time.Time    `json:"recovered_at"`
	Policy      string       `json:"policy"`
}

type suggestion struct {
	Fix        string         `json:"fix"`
	Title      string         `json:"title"`
	Parameters map[string]any `json:"parameters"`
	OneClick   bool           `json:"one_click"`
}

func (p *portal) agent(ctx context.Context, id string) (view, error) {
	var v view
	return v, p.call(ctx, http.MethodGet, "/agents/"+url.PathEscape(id), nil, &v)
}

// records gives the error records of an agent, newest first. A portal that
// keeps none has none.
func (p *portal) records(ctx context.Context, id string) ([]record, error) {
	var page struct{ Items []record }
	err := p.call(ctx, http.MethodGet, "/errors?limit=100&agent="+url.QueryEscape(id), nil, &page)
	if statusOf(err) == http.StatusNotFound {
		return nil, nil
	}
	return page.Items, err
}

func (p *portal) operations(ctx context.Context, id string) ([]work, error) {
	var page struct{ Items []work }
	return page.Items, p.call(ctx, http.MethodGet, "/operations?limit=200&agent="+url.QueryEscape(id), nil, &page)
}

// patienceWithOthers is how long the lab waits for another operation of the agent.
const patienceWithOthers = 30 * time.Second

// act does an action and waits for its end. Another operation that is under way
// is waited for. That the action itself fails is for the caller to judge.
func (p *portal) act(ctx context.Context, id, action string) (work, error) {
	var out struct{ Operation work }
	limit, cancel := context.WithTimeout(ctx, patienceWithOthers)
	defer cancel()
	for {
		err := p.call(ctx, http.MethodPost, "/agents/"+id+"/"+action+"?wait=60s", map[string]any{"reason": "fault laboratory"}, &out)
		if statusOf(err) != http.StatusConflict || !p.occupied(ctx, id) {
			return out.Operation, err
		}
		if !pause(limit, 200*time.Millisecond) {
			return out.Operation, err
		}
	}
}

// occupied tells whether an operation of the agent is under way.
func (p *portal) occupied(ctx context.Context, id string) bool {
	v, err := p.agent(ctx, id)
	return err == nil && v.Active != ""
}

func (p *portal) patch(ctx context.Context, id string, change map[string]any) error {
	return p.call(ctx, http.MethodPatch, "/agents/"+id, change, nil)
}

func (p *portal) task(ctx context.Context, id string, payload any) error {
	return p.call(ctx, http.MethodPost, "/agents/"+id+"/tasks", map[string]any{"payload": payload}, nil)
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// until asks again and again until it is true, at most for d.
func until(ctx context.Context, d time.Duration, ask func(ctx context.Context) (bool, error)) (bool, error) {
	limit, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		ok, err := ask(limit)
		switch {
		case ok:
			return true, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		case limit.Err() != nil:
			return false, nil
		case err != nil:
			return false, err
		}
		pause(limit, 150*time.Millisecond)
	}
}
