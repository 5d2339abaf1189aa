package httpapi

import (
	"cmp"
	"context"
	"net/http"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (s *server) registerHoldings() {
	door.Handle(s.Door, "import-compose", "Make agents of the services of a docker-compose file; nothing is started or stopped", s.importCompose)
	door.Handle(s.Door, "import-kubernetes", "Make agents of the Deployments and StatefulSets of a Kubernetes namespace; nothing is started or stopped", s.importKubernetes)
	door.Handle(s.Door, "agent-resources", "What an agent holds where, and how much of its limits it uses", s.account)
	door.Handle(s.Door, "list-quotas", "What agents may ask for together, and what is taken of it", s.quotas)
	door.Handle(s.Door, "list-orphans", "List what runtimes hold and no agent owns", s.orphans)
	door.Handle(s.Door, "remove-orphan", "Remove what a runtime holds and no agent owns; the answer is what was removed", s.removeOrphan)
	door.Handle(s.Door, "adopt-drift", "Make a revision of what somebody else changed in an agent's instances on their engine: image, command, arguments, limits, probes and variables; warnings name what can't be adopted, and why", s.adoptDrift)
	door.Handle(s.Door, "plan-adoption", "What a revision of what somebody else changed would take, and what it would leave; nothing is changed", s.planAdoption)
	door.Handle(s.Door, "plan-move", "What a move to another runtime would do; nothing is changed", s.planMove)
	door.Handle(s.Door, "move-agent", "Move an agent to another runtime", s.move, door.Status(http.StatusAccepted))
}

type accountAnswer struct{ Body *fleet.Account }

func (s *server) account(ctx context.Context, in *door.ByID) (*accountAnswer, error) {
	acc, err := s.cfg.Steward.Account(ctx, in.ID)
	return &accountAnswer{Body: acc}, err
}

func (s *server) quotas(ctx context.Context, _ *struct{}) (*door.ListAnswer[fleet.QuotaUse], error) {
	list, err := s.cfg.Steward.QuotaUses(ctx)
	return &door.ListAnswer[fleet.QuotaUse]{Body: door.ListOf(list, "")}, err
}

type orphansAnswer struct {
	Body struct {
		Items []fleet.Orphan `json:"items"`
		Notes []string       `json:"notes" doc:"Runtimes that could not be asked"`
	}
}

func (s *server) orphans(ctx context.Context, _ *struct{}) (*orphansAnswer, error) {
	list, notes, err := s.cfg.Steward.Orphans(ctx)
	out := &orphansAnswer{}
	out.Body.Items, out.Body.Notes = list, notes
	return out, err
}

type orphanInput struct {
	Where  string `path:"where" maxLength:"50" doc:"Name of the runtime"`
	Agent  string `path:"agent" maxLength:"200"`
	Reason string `query:"reason" maxLength:"500" doc:"For the record"`
}

type orphanAnswer struct{ Body *fleet.Orphan }

func (s *server) removeOrphan(ctx context.Context, in *orphanInput) (*orphanAnswer, error) {
	o, err := s.cfg.Steward.RemoveOrphan(ctx, in.Where, in.Agent, in.Reason)
	return &orphanAnswer{Body: o}, err
}

type adoptDriftInput struct {
	door.ByID
	Matching
	Body *reason `required:"false"`
}

func (s *server) adoptDrift(ctx context.Context, in *adoptDriftInput) (*agentAnswer, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	why := ""
	if in.Body != nil {
		why = in.Body.Reason
	}
	a, warnings, err := s.cfg.Steward.AdoptDrift(ctx, in.ID, version, why)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, http.StatusOK, a, warnings)
}

type adoptionAnswer struct{ Body *fleet.Adoption }

func (s *server) planAdoption(ctx context.Context, in *door.ByID) (*adoptionAnswer, error) {
	p, err := s.cfg.Steward.PlanAdoption(ctx, in.ID)
	return &adoptionAnswer{Body: p}, err
}

// moveBody says where an agent goes.
type moveBody struct {
	Runtime string         `json:"runtime" maxLength:"50" doc:"Name of the runtime that it moves to"`
	Changes map[string]any `json:"changes,omitempty" doc:"Merge patch of what else has to differ there, for example image and command"`
	// CopyData needs an interruption.
	CopyData bool   `json:"copy_data,omitempty" doc:"Let the content of its volumes go along; it does not serve while it is copied"`
	Reason   string `json:"reason,omitempty" maxLength:"500" doc:"For the record"`
}

func (b moveBody) options() fleet.MoveOptions {
	return fleet.MoveOptions{Runtime: b.Runtime, Changes: b.Changes, CopyData: b.CopyData, Reason: b.Reason}
}

type planMoveInput struct {
	door.ByID
	Body moveBody
}

type movePlanAnswer struct{ Body *fleet.MovePlan }

func (s *server) planMove(ctx context.Context, in *planMoveInput) (*movePlanAnswer, error) {
	p, err := s.cfg.Steward.PlanMove(ctx, in.ID, in.Body.options())
	return &movePlanAnswer{Body: p}, err
}

type moveInput struct {
	door.ByID
	Matching
	door.Waitable
	Body moveBody
}

func (s *server) move(ctx context.Context, in *moveInput) (*door.Accepted, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	opt := in.Body.options()
	opt.IfMatch = version
	op, err := s.cfg.Steward.Move(ctx, in.ID, opt)
	if err != nil {
		return nil, err
	}
	return door.Begun(op), nil
}

// Adopted is what is read of what runs elsewhere: specifications, and what they
// can't say.
type Adopted struct {
	Docs  []map[string]any `json:"agents" doc:"Specifications of the agents"`
	Notes []AdoptNote      `json:"notes" doc:"What a person should know, and everything that has no effect on the agents"`
}

// AdoptNote is about one field of what was read.
type AdoptNote struct {
	Path string `json:"path"`
	Text string `json:"text"`
	Lost bool   `json:"lost,omitempty" doc:"What stands there has no effect on the agents"`
}

// AdoptFrom reads a file of another tool.
type AdoptFrom func(ctx context.Context, file []byte, runtime string, env, images map[string]string) (*Adopted, error)

// AdoptNamespace reads what runs in a namespace of the cluster of a runtime.
type AdoptNamespace func(ctx context.Context, runtime, namespace string) (*Adopted, error)

// AdoptOptions say what becomes of the specifications.
type AdoptOptions struct {
	Apply  bool   `json:"apply,omitempty" doc:"Change agents that exist already"`
	DryRun bool   `json:"dry_run,omitempty" doc:"Say what would change, and change nothing"`
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For the record"`
}

type composeInput struct {
	Body struct {
		File    string            `json:"file" maxLength:"5000000" doc:"The file's text"`
		Runtime string            `json:"runtime,omitempty" maxLength:"50" doc:"Runtime of the agents; docker where left out"`
		Env     map[string]string `json:"env,omitempty" doc:"What the file's ${NAME} stand for"`
		Images  map[string]string `json:"images,omitempty" doc:"Service to image, for services that are built"`
		AdoptOptions
	}
}

type adoptedAnswer struct {
	Body struct {
		Adopted
		Result agent.ImportResult `json:"result"`
	}
}

func (s *server) importCompose(ctx context.Context, in *composeInput) (*adoptedAnswer, error) {
	plan, err := s.cfg.Compose(ctx, []byte(in.Body.File), in.Body.Runtime, in.Body.Env, in.Body.Images)
	if err != nil {
		return nil, err
	}
	return s.adopt(ctx, plan, in.Body.AdoptOptions)
}

type kubernetesInput struct {
	Body struct {
		Namespace string `json:"namespace" minLength:"1" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" doc:"Namespace whose workloads become agents"`
		Runtime   string `json:"runtime,omitempty" maxLength:"50" doc:"Cluster that is read, and runtime of the agents; kubernetes where left out"`
		AdoptOptions
	}
}

func (s *server) importKubernetes(ctx context.Context, in *kubernetesInput) (*adoptedAnswer, error) {
	plan, err := s.cfg.Workloads(ctx, cmp.Or(in.Body.Runtime, agent.Kubernetes), in.Body.Namespace)
	if err != nil {
		return nil, err
	}
	return s.adopt(ctx, plan, in.Body.AdoptOptions)
}

// adopt makes agents of the specifications.
func (s *server) adopt(ctx context.Context, plan *Adopted, o AdoptOptions) (*adoptedAnswer, error) {
	opt := agent.ImportOptions{Mode: agent.ImportCreate, DryRun: o.DryRun, Decode: agent.Strict, Reason: o.Reason}
	if o.Apply {
		opt.Mode = agent.ImportApply
	}
	out := &adoptedAnswer{}
	out.Body.Adopted = *plan
	var err error
	out.Body.Result, err = s.cfg.Agents.Import(ctx, plan.Docs, opt)
	return out, err
}
