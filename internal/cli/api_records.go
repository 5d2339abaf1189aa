package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
)

func (c *conn) operation(ctx context.Context, id string, op *operation.Operation) (json.RawMessage, error) {
	return c.once(ctx, op, func(ctx context.Context) (*http.Response, error) { return c.api.GetOperation(ctx, id, nil) })
}

func (c *conn) operations(ctx context.Context, f operationFilter, limit int) ([]json.RawMessage, error) {
	p := client.ListOperationsParams{State: params(f.states), Kind: params(f.kinds), Agent: params(f.agents), Since: moments(f.since.at)}
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		p.Limit, p.Cursor = limit, cursor
		return c.api.ListOperations(ctx, &p)
	})
}

// steer unwraps the operation of the answer.
func (c *conn) steer(ctx context.Context, op *operation.Operation, call func(ctx context.Context) (*http.Response, error)) (json.RawMessage, error) {
	var answer struct {
		Operation json.RawMessage `json:"operation"`
	}
	if _, err := c.once(ctx, &answer, call); err != nil {
		return nil, err
	}
	return answer.Operation, c.decode(answer.Operation, op)
}

func (c *conn) pauseOperation(ctx context.Context, id string, op *operation.Operation) (json.RawMessage, error) {
	return c.steer(ctx, op, func(ctx context.Context) (*http.Response, error) { return c.api.PauseOperation(ctx, id, nil) })
}

func (c *conn) resumeOperation(ctx context.Context, id string, op *operation.Operation) (json.RawMessage, error) {
	return c.steer(ctx, op, func(ctx context.Context) (*http.Response, error) { return c.api.ResumeOperation(ctx, id, nil) })
}

func (c *conn) cancelOperation(ctx context.Context, id string, op *operation.Operation) (json.RawMessage, error) {
	return c.steer(ctx, op, func(ctx context.Context) (*http.Response, error) { return c.api.CancelOperation(ctx, id, nil) })
}

func (c *conn) undoOperation(ctx context.Context, id string, op *operation.Operation) (json.RawMessage, error) {
	return c.steer(ctx, op, func(ctx context.Context) (*http.Response, error) { return c.api.UndoOperation(ctx, id, nil) })
}

// events gives the newest limit events, oldest first.
func (c *conn) events(ctx context.Context, f eventFilter, limit int) ([]json.RawMessage, error) {
	p := client.ListEventsParams{Room: params(f.rooms), Type: params(f.types), Agent: params(f.agents), Since: param(f.since),
		Actor: params(f.actors), Q: param(f.search)}
	if !f.until.at.IsZero() {
		p.Until = param(f.until.at.UTC().Format(time.RFC3339Nano))
	}
	list, err := c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		p.Limit, p.Cursor = limit, cursor
		return c.api.ListEvents(ctx, &p)
	})
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list, err
}

func (c *conn) auditEntries(ctx context.Context, f auditFilter, limit int) ([]json.RawMessage, error) {
	p := client.ListAuditParams{Actor: param(f.actor), Action: param(f.action), Target: param(f.target), Agent: params(f.agents),
		Outcome: param(client.ListAuditParamsOutcome(f.outcome)), Q: param(f.search), Since: moments(f.since.at), Until: moments(f.until.at)}
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		p.Limit, p.Cursor = limit, cursor
		return c.api.ListAudit(ctx, &p)
	})
}

// exportAudit gives the answer as it is; it may be long.
func (c *conn) exportAudit(ctx context.Context, f auditFilter, format string) (*http.Response, error) {
	return c.api.ExportAudit(ctx, &client.ExportAuditParams{Actor: param(f.actor), Action: param(f.action), Target: param(f.target), Agent: params(f.agents),
		Outcome: param(client.ExportAuditParamsOutcome(f.outcome)), Q: param(f.search), Since: moments(f.since.at), Until: moments(f.until.at),
		Format: param(client.ExportAuditParamsFormat(format))})
}

func (c *conn) tokens(ctx context.Context) ([]json.RawMessage, error) {
	return c.collect(ctx, 0, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		return c.api.ListTokens(ctx, &client.ListTokensParams{Limit: limit, Cursor: cursor})
	})
}

func (c *conn) createToken(ctx context.Context, o TokenOptions) (secret string, err error) {
	request := map[string]string{"name": o.Name, "role": o.Role}
	if o.TTL > 0 {
		request["ttl"] = o.TTL.String()
	}
	body, err := jsonBody(request)
	if err != nil {
		return "", err
	}
	var answer struct {
		Secret string `json:"secret"`
	}
	_, err = c.once(ctx, &answer, func(ctx context.Context) (*http.Response, error) {
		return c.api.CreateTokenWithBody(ctx, nil, jsonType, body)
	})
	return answer.Secret, err
}

func (c *conn) revokeToken(ctx context.Context, id string) error {
	_, err := c.once(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.RevokeToken(ctx, id, nil) })
	return err
}

// tierNames gives the tiers as the API's query takes them.
func (f *agentFilter) tierNames() []string {
	out := make([]string, len(f.tiers))
	for i, t := range f.tiers {
		out[i] = strconv.Itoa(t)
	}
	return out
}

// body gives the filter as bulk operations take it; empty if nothing is set.
func (f *agentFilter) body() map[string]any {
	out := map[string]any{}
	setAll(out, map[string]any{"state": f.states, "health": f.healths, "tier": f.tiers, "domain": f.domains, "runtime": f.runtimes,
		"template": f.templates, "customer_id": f.customer, "q": f.search})
	return out
}

// queryMetrics evaluates an expression, now or over a time up to now.
func (c *conn) queryMetrics(ctx context.Context, expr string, agents []string, span time.Duration, step string, result any) (json.RawMessage, error) {
	return c.once(ctx, result, func(ctx context.Context) (*http.Response, error) {
		if span == 0 {
			return c.api.QueryMetrics(ctx, &client.QueryMetricsParams{Query: expr, Agent: params(agents)})
		}
		now := time.Now().UTC()
		start, end := now.Add(-span).Format(time.RFC3339), now.Format(time.RFC3339)
		return c.api.QueryMetricsRange(ctx, &client.QueryMetricsRangeParams{Query: expr, Agent: params(agents), Start: &start, End: &end, Step: param(step)})
	})
}

func (c *conn) incidents(ctx context.Context, f errorFilter, limit int) ([]json.RawMessage, error) {
	p := client.ListErrorsParams{Cause: params(f.causes), Agent: params(f.agents)}
	if len(f.states) > 0 {
		states := make([]client.ListErrorsParamsState, len(f.states))
		for i, st := range f.states {
			states[i] = client.ListErrorsParamsState(st)
		}
		p.State = &states
	}
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		p.Limit, p.Cursor = limit, cursor
		return c.api.ListErrors(ctx, &p)
	})
}

func (c *conn) incident(ctx context.Context, id string, in *recovery.Incident) (json.RawMessage, error) {
	return c.once(ctx, in, func(ctx context.Context) (*http.Response, error) { return c.api.GetError(ctx, id) })
}

// firstFix gives the first suggestion that needs nothing filled in.
func (c *conn) firstFix(ctx context.Context, id string) (string, error) {
	var in recovery.Incident
	if _, err := c.incident(ctx, id, &in); err != nil {
		return "", err
	}
	for _, sg := range in.Suggestions {
		if sg.OneClick {
			return string(sg.Fix), nil
		}
	}
	return "", fault.New(fault.Conflict, "error.no_suggestion", "Nothing is suggested that needs nothing filled in").
		Do("See portal errors get %s, then name a fix and its parameters.", id)
}

// fixBody makes the body of fixes; numbers are sent as such.
func fixBody(set map[string]string) (io.Reader, error) {
	parameters := map[string]any{}
	for k, v := range set {
		parameters[k] = v
		if n, err := strconv.ParseFloat(v, 64); err == nil && k != "value" && k != "command" && k != "memory" {
			parameters[k] = n
		}
	}
	return jsonBody(map[string]any{"parameters": parameters})
}

func (c *conn) previewFix(ctx context.Context, id, fix string, set map[string]string) (json.RawMessage, string, error) {
	body, err := fixBody(set)
	if err != nil {
		return nil, "", err
	}
	var p recovery.Preview
	raw, err := c.once(ctx, &p, func(ctx context.Context) (*http.Response, error) {
		return c.api.PreviewFixWithBody(ctx, id, client.PreviewFixParamsFix(fix), nil, jsonType, body)
	})
	text := clean(p.Title) + "\n"
	for _, ch := range p.Changes {
		text += clean(fmt.Sprintf("  %s: %v -> %v", ch.Path, ch.Old, ch.New)) + "\n"
	}
	for _, st := range p.Steps {
		text += "  step: " + clean(st) + "\n"
	}
	for _, w := range p.Warnings {
		text += "  warning: " + clean(w) + "\n"
	}
	return raw, text + "  undo: " + clean(p.Undo) + "\n", err
}

func (c *conn) applyFix(ctx context.Context, id, fix string, set map[string]string, op *operation.Operation) (json.RawMessage, error) {
	body, err := fixBody(set)
	if err != nil {
		return nil, err
	}
	return c.steer(ctx, op, func(ctx context.Context) (*http.Response, error) {
		return c.api.ApplyFixWithBody(ctx, id, client.ApplyFixParamsFix(fix), nil, jsonType, body)
	})
}

func (c *conn) dismissError(ctx context.Context, id, reason string) (json.RawMessage, error) {
	body, err := jsonBody(map[string]string{"reason": reason})
	if err != nil {
		return nil, err
	}
	return c.once(ctx, nil, func(ctx context.Context) (*http.Response, error) {
		return c.api.DismissErrorWithBody(ctx, id, nil, jsonType, body)
	})
}

func (c *conn) recoveryPolicies(ctx context.Context, p *recovery.Policies) (json.RawMessage, error) {
	raw, err := c.once(ctx, p, func(ctx context.Context) (*http.Response, error) { return c.api.GetRecoveryPolicies(ctx) })
	if p.Agents == nil {
		p.Agents = map[string]recovery.Mode{}
	}
	return raw, err
}

func (c *conn) setRecoveryPolicies(ctx context.Context, p *recovery.Policies) (json.RawMessage, error) {
	body, err := jsonBody(p)
	if err != nil {
		return nil, err
	}
	return c.once(ctx, p, func(ctx context.Context) (*http.Response, error) {
		return c.api.SetRecoveryPoliciesWithBody(ctx, nil, jsonType, body)
	})
}
