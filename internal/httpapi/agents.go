package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/manifest"
)

func (s *server) registerAgents() {
	spec := s.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[agent.Spec](), true, "Spec")
	door.Handle(s.Door, "list-agents", "List agents", s.listAgents)
	door.Handle(s.Door, "create-agent", "Create an agent", s.createAgent, door.Status(http.StatusCreated))
	door.Handle(s.Door, "import-agents", "Import or apply agents from YAML or JSON, all or nothing", s.importAgents)
	door.Handle(s.Door, "get-agent", "Get an agent by id or name", s.getAgent)
	door.Handle(s.Door, "patch-agent", "Change an agent's spec by a merge patch (RFC 7396)", s.patchAgent)
	door.Handle(s.Door, "delete-agent", "Delete an agent that is DRAFT or REVOKED", s.deleteAgent, door.Status(http.StatusNoContent))
	s.DocumentBody("create-agent", spec, "application/json", "application/yaml")
	s.DocumentBody("import-agents", spec, "application/yaml", "application/json")
	s.DocumentBody("patch-agent", &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true,
		Description: "Fields of the spec that are to change; null removes one"}, "application/merge-patch+json", "application/json")
}

// AgentFilter picks agents; values of one filter are alternatives, repeated or
// separated by commas.
type AgentFilter struct {
	State    []string `query:"state,explode" doc:"DRAFT, PROVISIONED, DEPLOYED, RUNNING, STOPPED, SUSPENDED, ERRORED or REVOKED"`
	Health   []string `query:"health,explode" doc:"unknown, starting, healthy, degraded or unhealthy"`
	Tier     []string `query:"tier,explode" doc:"1 to 6"`
	Domain   []string `query:"domain,explode"`
	Runtime  []string `query:"runtime,explode"`
	Template []string `query:"template,explode"`
	ID       []string `query:"id,explode" doc:"Ids or names"`
	Customer string   `query:"customer_id"`
	Selector string   `query:"selector" maxLength:"2000" doc:"Label selector, e.g. env=prod,team!=x,tier in (a,b),key,!key"`
	Search   string   `query:"q" maxLength:"200" doc:"In id, name, display name and description"`
}

func (f AgentFilter) query() (agent.Query, error) {
	q := agent.Query{
		IDs: door.Split(f.ID), Domains: door.Split(f.Domain), Runtimes: door.Split(f.Runtime), Templates: door.Split(f.Template),
		CustomerID: f.Customer, Search: f.Search,
	}
	var wrong []fault.Field
	for _, v := range door.Split(f.State) {
		state := agent.State(strings.ToUpper(v))
		if !slices.Contains(agent.States, state) {
			wrong = append(wrong, fault.Field{Path: "state", Message: "there is no state " + strconv.Quote(v)})
		}
		q.States = append(q.States, state)
	}
	for _, v := range door.Split(f.Health) {
		h := agent.Health(strings.ToLower(v))
		if !slices.Contains([]agent.Health{agent.HealthUnknown, agent.HealthStarting, agent.HealthHealthy, agent.HealthDegraded, agent.HealthUnhealthy}, h) {
			wrong = append(wrong, fault.Field{Path: "health", Message: "there is no health " + strconv.Quote(v)})
		}
		q.Healths = append(q.Healths, h)
	}
	for _, v := range door.Split(f.Tier) {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 6 {
			wrong = append(wrong, fault.Field{Path: "tier", Message: "must be a number from 1 to 6"})
		}
		q.Tiers = append(q.Tiers, n)
	}
	for _, v := range q.Runtimes {
		if message := agent.WrongRuntime(v); message != "" {
			wrong = append(wrong, fault.Field{Path: "runtime", Message: message})
		}
	}
	if f.Selector != "" {
		var err error
		if q.Selector, err = agent.ParseSelector(f.Selector); err != nil {
			why := err.Error()
			if known := fault.As(err); known != nil && known.Why != "" {
				why = known.Why
			}
			wrong = append(wrong, fault.Field{Path: "selector", Message: why})
		}
	}
	if len(wrong) > 0 {
		return q, fault.New(fault.Invalid, "request.invalid", "The filter is not valid").
			Do("Correct what is listed under errors.").At(wrong...)
	}
	return q, nil
}

type listAgentsInput struct {
	AgentFilter
	door.Paging
	Sort string `query:"sort" enum:"name,-name,id,-id,state,-state,health,-health,tier,-tier,updated_at,-updated_at,created_at,-created_at" doc:"Default name; - reverses"`
}

func (s *server) listAgents(ctx context.Context, in *listAgentsInput) (*door.ListAnswer[AgentView], error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	q.Sort, q.Limit, q.Cursor = in.Sort, in.Limit, in.Cursor
	page, err := s.cfg.AgentStore.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	views, err := s.views(ctx, page.Agents)
	if err != nil {
		return nil, err
	}
	out := door.ListOf(views, page.Next)
	out.Total = &page.Total
	return &door.ListAnswer[AgentView]{Body: out}, nil
}

// agentAnswer is one agent with its tag.
type agentAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Cache    string `header:"Cache-Control"`
	Body     *AgentView
}

func (s *server) answer(ctx context.Context, status int, a *agent.Agent, warnings []string) (*agentAnswer, error) {
	views, err := s.views(ctx, []*agent.Agent{a})
	if err != nil {
		return nil, err
	}
	v := &views[0]
	v.Warnings = warnings
	return &agentAnswer{Status: status, ETag: v.tag(), Cache: "private, no-cache", Body: v}, nil
}

type rawInput struct{ RawBody []byte }

func (s *server) createAgent(ctx context.Context, in *rawInput) (*agentAnswer, error) {
	tree, err := oneDocument(in.RawBody)
	if err != nil {
		return nil, err
	}
	spec, more, err := agent.Decode(tree, agent.Strict)
	if err != nil {
		return nil, err
	}
	a, warnings, err := s.cfg.Agents.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	out, err := s.answer(ctx, http.StatusCreated, a, append(more, warnings...))
	if err != nil {
		return nil, err
	}
	out.Location = base + "/agents/" + a.ID
	return out, nil
}

// oneDocument reads a body that must hold one mapping.
func oneDocument(body []byte) (map[string]any, error) {
	docs, err := manifest.Parse(body)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fault.New(fault.Invalid, "agent.several", "The body holds %d documents", len(docs)).
			Because("one agent is expected here").Do("Use POST %s/agents/import for several.", base)
	}
	return docs[0].Tree, nil
}

type importInput struct {
	Mode    string `query:"mode" enum:"create,apply" default:"create" doc:"create refuses agents that exist already, apply changes them"`
	DryRun  bool   `query:"dry_run" doc:"Say what would change, and change nothing"`
	Unknown string `query:"unknown" enum:"keep,refuse" doc:"What to do with unknown fields; default keep for create and refuse for apply"`
	Reason  string `query:"reason" maxLength:"500" doc:"For the record"`
	RawBody []byte
}

type importAnswer struct{ Body agent.ImportResult }

func (s *server) importAgents(ctx context.Context, in *importInput) (*importAnswer, error) {
	docs, err := manifest.Parse(in.RawBody)
	if err != nil {
		return nil, err
	}
	trees := make([]map[string]any, len(docs))
	for i, d := range docs {
		trees[i] = d.Tree
	}
	opt := agent.ImportOptions{Mode: in.Mode, DryRun: in.DryRun, Decode: agent.Keep, Reason: in.Reason}
	if in.Unknown == "refuse" || in.Unknown == "" && in.Mode == "apply" {
		opt.Decode = agent.Strict
	}
	result, err := s.cfg.Agents.Import(ctx, trees, opt)
	if err != nil {
		return nil, err
	}
	return &importAnswer{Body: result}, nil
}

type getAgentInput struct {
	door.ByID
	IfNoneMatch string `header:"If-None-Match" doc:"Tags that the client has; 304 if one is still right"`
}

func (s *server) getAgent(ctx context.Context, in *getAgentInput) (*agentAnswer, error) {
	a, err := s.cfg.AgentStore.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	missing, err := s.missing(ctx, a)
	if err != nil {
		return nil, err
	}
	out, err := s.answer(ctx, http.StatusOK, a, missing)
	if err != nil {
		return nil, err
	}
	if tagListed(in.IfNoneMatch, out.ETag) {
		out.Status, out.Body = http.StatusNotModified, nil
	}
	return out, nil
}

// missing warns of dependencies that are not in the fleet.
func (s *server) missing(ctx context.Context, a *agent.Agent) ([]string, error) {
	if len(a.Spec.Dependencies) == 0 {
		return nil, nil
	}
	page, err := s.cfg.AgentStore.Find(ctx, agent.Query{IDs: a.Spec.Dependencies, Limit: 1000})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range a.Spec.Dependencies {
		if !slices.ContainsFunc(page.Agents, func(d *agent.Agent) bool {
			return strings.EqualFold(d.Spec.Name, name) || strings.EqualFold(d.ID, name)
		}) {
			out = append(out, "The dependency "+name+" is not in the fleet.")
		}
	}
	return out, nil
}

// Matching is what changes of an agent take.
type Matching struct {
	IfMatch string `header:"If-Match" doc:"ETag of the agent as the client saw it; 412 if it was changed since"`
}

type patchAgentInput struct {
	door.ByID
	Matching
	Reason  string `query:"reason" maxLength:"500" doc:"For the record"`
	RawBody []byte
}

func (s *server) patchAgent(ctx context.Context, in *patchAgentInput) (*agentAnswer, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	patch, err := oneDocument(in.RawBody)
	if err != nil {
		return nil, err
	}
	a, warnings, err := s.cfg.Agents.Patch(ctx, in.ID, version, patch, in.Reason)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, http.StatusOK, a, warnings)
}

type deleteAgentInput struct {
	door.ByID
	Matching
}

func (s *server) deleteAgent(ctx context.Context, in *deleteAgentInput) (*struct{}, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Agents.Delete(ctx, in.ID, version)
}
