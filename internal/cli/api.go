package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/operation"
)

// optional parameters of the generated client are pointers; a zero value is
// not sent.
func param[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func params(v []string) *[]string {
	if len(v) == 0 {
		return nil
	}
	return &v
}

func moments(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// maxPage is the most that the API gives at once.
const maxPage = 1000

// collect reads pages until limit items are there; 0 means all.
func (c *conn) collect(ctx context.Context, limit int, fetch func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error)) ([]json.RawMessage, error) {
	out := []json.RawMessage{}
	cursor := ""
	for {
		size := int64(maxPage)
		if limit > 0 {
			size = min(size, int64(limit-len(out)))
		}
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next_cursor"`
		}
		bounded, cancel := plain(ctx)
		body, err := c.read(fetch(bounded, &size, param(cursor)))
		cancel()
		if err == nil {
			err = c.decode(body, &page)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if cursor = page.Next; cursor == "" || (limit > 0 && len(out) >= limit) {
			return out, nil
		}
	}
}

// once makes one bounded request and reads the answer into v, if it is not nil.
func (c *conn) once(ctx context.Context, v any, call func(ctx context.Context) (*http.Response, error)) (json.RawMessage, error) {
	ctx, cancel := plain(ctx)
	defer cancel()
	body, err := c.read(call(ctx))
	if err != nil || v == nil {
		return body, err
	}
	return body, c.decode(body, v)
}

const (
	jsonType = "application/json"
	yamlType = "application/yaml"
)

func jsonBody(v any) (io.Reader, error) {
	data, err := json.Marshal(v)
	return bytes.NewReader(data), err
}

func (c *conn) listAgents(ctx context.Context, f agentFilter, limit int) ([]json.RawMessage, error) {
	p := client.ListAgentsParams{State: params(f.states), Health: params(f.healths), Tier: params(f.tierNames()), Domain: params(f.domains),
		Runtime: params(f.runtimes), Template: params(f.templates), CustomerId: param(f.customer), Selector: param(f.selector),
		Q: param(f.search), Sort: param(client.ListAgentsParamsSort(f.sort))}
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		p.Limit, p.Cursor = limit, cursor
		return c.api.ListAgents(ctx, &p)
	})
}

func (c *conn) agent(ctx context.Context, id string, s *shownAgent) (json.RawMessage, error) {
	return c.once(ctx, s, func(ctx context.Context) (*http.Response, error) { return c.api.GetAgent(ctx, id, nil) })
}

func (c *conn) createAgent(ctx context.Context, tree map[string]any, s *shownAgent) (json.RawMessage, error) {
	body, err := jsonBody(tree)
	if err != nil {
		return nil, err
	}
	return c.once(ctx, s, func(ctx context.Context) (*http.Response, error) {
		return c.api.CreateAgentWithBody(ctx, nil, jsonType, body)
	})
}

func (c *conn) patchAgent(ctx context.Context, id string, version int64, patch map[string]any, reason string, s *shownAgent) (json.RawMessage, error) {
	body, err := jsonBody(patch)
	if err != nil {
		return nil, err
	}
	tag := strconv.Quote(strconv.FormatInt(version, 10))
	return c.once(ctx, s, func(ctx context.Context) (*http.Response, error) {
		return c.api.PatchAgentWithBody(ctx, id, &client.PatchAgentParams{IfMatch: &tag, Reason: param(reason)}, "application/merge-patch+json", body)
	})
}

func (c *conn) deleteAgent(ctx context.Context, id string) error {
	_, err := c.once(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.DeleteAgent(ctx, id, nil) })
	return err
}

// importAgents sends the documents as one YAML stream of JSON documents.
func (c *conn) importAgents(ctx context.Context, docs []source, o importOptions, answer *agent.ImportResult) (json.RawMessage, error) {
	var body bytes.Buffer
	for _, d := range docs {
		data, err := json.Marshal(d.tree)
		if err != nil {
			return nil, err
		}
		body.WriteString("---\n")
		body.Write(data)
		body.WriteByte('\n')
	}
	p := client.ImportAgentsParams{Mode: param(client.ImportAgentsParamsMode(o.mode)), DryRun: param(o.dryRun), Unknown: param(client.ImportAgentsParamsUnknown(o.unknown))}
	return c.once(ctx, answer, func(ctx context.Context) (*http.Response, error) {
		return c.api.ImportAgentsWithBody(ctx, &p, yamlType, &body)
	})
}

// acts are the calls of the actions.
var acts = map[agent.Action]func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error){
	agent.Provision: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.ProvisionAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Deploy: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.DeployAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Start: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.StartAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Stop: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.StopAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Suspend: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.SuspendAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Resume: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.ResumeAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Restart: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.RestartAgentWithBody(ctx, id, nil, jsonType, body)
	},
	agent.Revoke: func(c *client.Client, ctx context.Context, id string, body io.Reader) (*http.Response, error) {
		return c.RevokeAgentWithBody(ctx, id, nil, jsonType, body)
	},
}

func (c *conn) act(ctx context.Context, id string, action agent.Action, reason string) (*operation.Operation, json.RawMessage, error) {
	request := map[string]string{}
	if reason != "" {
		request["reason"] = reason
	}
	body, err := jsonBody(request)
	if err != nil {
		return nil, nil, err
	}
	var answer struct {
		Operation json.RawMessage `json:"operation"`
	}
	if _, err = c.once(ctx, &answer, func(ctx context.Context) (*http.Response, error) {
		return acts[action](c.api, ctx, id, body)
	}); err != nil {
		return nil, nil, err
	}
	var op operation.Operation
	return &op, answer.Operation, c.decode(answer.Operation, &op)
}

func (c *conn) history(ctx context.Context, id string, limit int) ([]json.RawMessage, error) {
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		return c.api.AgentHistory(ctx, id, &client.AgentHistoryParams{Limit: limit, Cursor: cursor})
	})
}

func (c *conn) versions(ctx context.Context, id string, limit int) ([]json.RawMessage, error) {
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		return c.api.AgentVersions(ctx, id, &client.AgentVersionsParams{Limit: limit, Cursor: cursor})
	})
}

func (c *conn) instances(ctx context.Context, id string) ([]json.RawMessage, error) {
	return c.collect(ctx, 0, func(ctx context.Context, _ *int64, _ *string) (*http.Response, error) {
		return c.api.AgentInstances(ctx, id)
	})
}

func (c *conn) healthResults(ctx context.Context, id string, limit int) ([]json.RawMessage, error) {
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		return c.api.AgentHealth(ctx, id, &client.AgentHealthParams{Limit: limit, Cursor: cursor})
	})
}

func (q logQuery) params() *client.AgentLogsParams {
	p := client.AgentLogsParams{Cursor: param(q.cursor), Since: moments(q.since.at), Instance: param(q.instance)}
	if q.cursor == "" && q.since.at.IsZero() {
		p.Tail = param(int64(q.tail))
	}
	return &p
}

// logs gives one page of lines and the cursor of the next one.
func (c *conn) logs(ctx context.Context, id string, q logQuery) (lines []json.RawMessage, next string, err error) {
	var page struct {
		Items []json.RawMessage `json:"items"`
		Next  string            `json:"next_cursor"`
	}
	p := q.params()
	p.Limit = param(int64(maxPage))
	_, err = c.once(ctx, &page, func(ctx context.Context) (*http.Response, error) { return c.api.AgentLogs(ctx, id, p) })
	return page.Items, page.Next, err
}

func (c *conn) followLogs(ctx context.Context, id string, q logQuery) (*http.Response, error) {
	p := q.params()
	p.Follow = param(true)
	return c.api.AgentLogs(ctx, id, p)
}

func (c *conn) sendTask(ctx context.Context, id string, payload json.RawMessage) (json.RawMessage, string, error) {
	body, err := jsonBody(map[string]any{"payload": payload})
	if err != nil {
		return nil, "", err
	}
	var answer struct {
		ID string `json:"id"`
	}
	raw, err := c.once(ctx, &answer, func(ctx context.Context) (*http.Response, error) {
		return c.api.SendTaskWithBody(ctx, id, nil, jsonType, body)
	})
	return raw, answer.ID, err
}

func (c *conn) startBulk(ctx context.Context, req bulkRequest) (string, json.RawMessage, error) {
	body, err := jsonBody(req)
	if err != nil {
		return "", nil, err
	}
	var b bulk.Bulk
	raw, err := c.once(ctx, &b, func(ctx context.Context) (*http.Response, error) {
		return c.api.StartBulkWithBody(ctx, nil, jsonType, body)
	})
	return b.ID, raw, err
}

func (c *conn) bulk(ctx context.Context, id string, b *bulk.Bulk) (json.RawMessage, error) {
	return c.once(ctx, b, func(ctx context.Context) (*http.Response, error) { return c.api.GetBulk(ctx, id, nil) })
}

func (c *conn) bulks(ctx context.Context, limit int) ([]json.RawMessage, error) {
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		return c.api.ListBulk(ctx, &client.ListBulkParams{Limit: limit, Cursor: cursor})
	})
}

func (c *conn) cancelBulk(ctx context.Context, id string) (json.RawMessage, error) {
	return c.once(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.CancelBulk(ctx, id, nil) })
}

func (c *conn) rollbackBulk(ctx context.Context, id string) (json.RawMessage, error) {
	return c.once(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.RollbackBulk(ctx, id, nil) })
}

// verifyAudit may take longer than a plain request: it reads the whole log.
func (c *conn) verifyAudit(ctx context.Context, anchors []audit.Anchor, report *audit.Report) (json.RawMessage, error) {
	p := client.VerifyAuditParams{}
	if len(anchors) > 0 {
		p.Seq, p.Hash = &anchors[0].Seq, &anchors[0].Hash
	}
	body, err := c.read(c.api.VerifyAudit(ctx, &p))
	if err != nil {
		return nil, err
	}
	return body, c.decode(body, report)
}
