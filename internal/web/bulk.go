package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// plan is what can be asked of many agents at once: one action, or several in a
// row of which each agent skips what is done already.
type plan struct {
	Name    string // in forms and addresses
	Label   string
	Icon    string
	Actions []agent.Action
	Does    string
}

var plans = append([]plan{
	{"run", "Bring up", "zap", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, "Each agent is provisioned, deployed and started; what is done already is skipped."},
	{"deploy", "Deploy", "rocket", []agent.Action{agent.Provision, agent.Deploy}, "The newest revision is put on the runtime. Drafts are provisioned first."},
}, singles()...)

// singles are the plans of one action.
func singles() []plan {
	var out []plan
	for _, d := range deeds {
		if d.Action != agent.Deploy {
			out = append(out, plan{string(d.Action), d.name(), d.Icon, []agent.Action{d.Action}, d.Does})
		}
	}
	return out
}

func planOf(name string) (plan, bool) {
	i := slices.IndexFunc(plans, func(p plan) bool { return p.Name == name })
	if i < 0 {
		return plan{}, false
	}
	return plans[i], true
}

// bulkRequest reads what a form or an address asks for.
func bulkRequest(v url.Values) (plan, bulk.Request, error) {
	p, ok := planOf(v.Get("action"))
	if !ok {
		return p, bulk.Request{}, fault.New(fault.Invalid, "bulk.action", "Choose what is to be done").
			At(fault.Field{Path: "action", Message: "must be one of the actions"})
	}
	r := bulk.Request{Actions: p.Actions, OnFailure: bulk.OnFailure(v.Get("on_failure")), Reason: strings.TrimSpace(v.Get("reason"))}
	if len(r.Reason) > 500 {
		return p, r, fault.New(fault.Invalid, "bulk.reason", "The reason is too long").At(fault.Field{Path: "reason", Message: "must be at most 500 bytes long"})
	}
	if text := v.Get("parallel"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return p, r, fault.New(fault.Invalid, "bulk.parallel", "The bulk operation can't be started").
				At(fault.Field{Path: "parallel", Message: "must be a number from 1 to 50"})
		}
		r.MaxParallel = n
	}
	if v.Has("filter") {
		q, err := bulkFilter(v.Get("filter"))
		r.Filter = q
		return p, r, err
	}
	if r.AgentIDs = v["agent"]; len(r.AgentIDs) == 0 {
		return p, r, fault.New(fault.Invalid, "bulk.nothing_selected", "No agent is selected").
			Do("Tick the agents that are meant, or select all that match.").At(fault.Field{Path: "agent", Message: "must name at least one agent"})
	}
	return p, r, nil
}

// bulkFilter reads the filter of the agents page. It names no agents: those that
// match when the work begins are meant.
func bulkFilter(text string) (*agent.Query, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "agents.filter", "The filter can't be read").
			At(fault.Field{Path: "filter", Message: "must be the part of the address of the agents page after the ?"})
	}
	q, err := readFleetQuery(values)
	if err != nil {
		return nil, err
	}
	q.Query.Sort = ""
	return &q.Query, nil
}

// bulkForm says what would be done to which agents, and asks whether it is to be.
func (s *Server) bulkForm(w http.ResponseWriter, r *http.Request) error {
	ctx, v := r.Context(), r.URL.Query()
	if v.Get("action") == "" {
		return s.dialog(w, r, "Act on many agents", "/agents", bulkChoice(v))
	}
	p, req, err := bulkRequest(v)
	if err != nil {
		return err
	}
	preview, err := s.cfg.Bulks.Preview(ctx, req)
	if err != nil {
		return err
	}
	sum, err := s.summarize(ctx, p, preview)
	if err != nil {
		return err
	}
	return s.dialog(w, r, p.Label+": "+count(len(preview.Items), "agent", "agents"), "/agents", bulkConfirm(sum, v))
}

// bulkSummary is the impact of a plan on many agents.
type bulkSummary struct {
	plan
	bulk.Preview
	Acts, Already int
	Refused       []bulk.PreviewItem
	Busy          []string // on which an operation works
	Running       int      // instances of those that are disturbed
	Waiting       int      // in the queues of those that are disturbed
	InFlight      int
	Queues        bool // known
	Disturbs      bool
}

func (s *Server) summarize(ctx context.Context, p plan, preview bulk.Preview) (bulkSummary, error) {
	sum := bulkSummary{plan: p, Preview: preview}
	sum.Disturbs = slices.ContainsFunc(p.Actions, func(a agent.Action) bool {
		return a == agent.Stop || a == agent.Suspend || a == agent.Restart || a == agent.Revoke
	})
	var hit []string
	for _, it := range preview.Items {
		switch {
		case it.Refusal != nil:
			sum.Refused = append(sum.Refused, it)
		case len(it.Actions) == 0:
			sum.Already++
		default:
			sum.Acts++
			hit = append(hit, it.Agent.ID)
			if it.Agent.ActiveOperation != "" {
				sum.Busy = append(sum.Busy, nameOf(it.Agent))
			}
		}
	}
	if !sum.Disturbs || len(hit) == 0 {
		return sum, nil
	}
	for part := range slices.Chunk(hit, 500) {
		instances, err := s.cfg.Fleet.Instances(ctx, part...)
		if err != nil {
			return sum, err
		}
		for _, list := range instances {
			for _, in := range list {
				if in.State == fleet.InstanceRunning || in.State == fleet.InstanceStarting || in.State == fleet.InstanceBackoff {
					sum.Running++
				}
			}
		}
	}
	queues, err := s.backlogs(ctx)
	if err != nil {
		return sum, nil // the form says that it is not known
	}
	sum.Queues = true
	for _, id := range hit {
		sum.Waiting, sum.InFlight = sum.Waiting+queues[id].Pending, sum.InFlight+queues[id].InFlight
	}
	return sum, nil
}

func (s *Server) backlogs(ctx context.Context) (map[string]queue.Stats, error) {
	if s.cfg.Queues == nil {
		return nil, fault.New(fault.Unavailable, "queues.none", "The queues can't be asked")
	}
	return s.cfg.Queues.Backlogs(ctx)
}

// lines are the summary's part of the form.
func (b bulkSummary) lines() []components.Consequence {
	out := []components.Consequence{{Icon: b.Icon, Text: count(b.Acts, "agent is worked on", "agents are worked on"), Detail: b.order()}}
	if b.Acts == 0 {
		out[0].Status, out[0].Detail = "warning", "There is nothing to do for any of them."
	}
	if b.Already > 0 {
		out = append(out, components.Consequence{Icon: "check", Text: count(b.Already, "is there already", "are there already"), Detail: "They are skipped."})
	}
	if n := len(b.Refused); n > 0 {
		out = append(out, components.Consequence{Icon: "ban", Status: "error", Text: count(n, "agent's state does not allow it", "agents' states do not allow it"), Detail: b.refusals()})
	}
	if n := len(b.Busy); n > 0 {
		out = append(out, components.Consequence{Icon: "loader-circle", Status: "warning", Text: count(n, "is being worked on", "are being worked on"),
			Detail: view.Plain(brief(b.Busy, 5), 300) + ": it fails there unless that has ended by then."})
	}
	if !b.Disturbs {
		return out
	}
	if n := len(b.Dependants); n > 0 {
		out = append(out, components.Consequence{Icon: "link", Status: "warning", Text: count(n, "other running agent depends on them", "other running agents depend on them"), Detail: view.Plain(brief(b.Dependants, 8), 400)})
	} else {
		out = append(out, components.Consequence{Icon: "link", Text: "No other running agent depends on them"})
	}
	if b.Running > 0 {
		out = append(out, components.Consequence{Icon: "server", Status: "info", Text: count(b.Running, "instance runs", "instances run"), Detail: workOf(b.Running)})
	}
	return append(out, b.work())
}

func (b bulkSummary) work() components.Consequence {
	switch {
	case !b.Queues:
		return components.Consequence{Icon: "inbox", Text: "What waits in their queues is not known", Detail: "The queues do not answer."}
	case b.Waiting+b.InFlight == 0:
		return components.Consequence{Icon: "inbox", Text: "Nothing waits in their queues"}
	}
	c := components.Consequence{Icon: "inbox", Status: "warning", Text: fmt.Sprintf("%s waiting, %s being worked on", view.Count(b.Waiting), view.Count(b.InFlight))}
	if slices.Contains(b.Actions, agent.Revoke) {
		c.Status, c.Detail = "error", "They are deleted with the queues."
	}
	return c
}

// order says in which order the agents come.
func (b bulkSummary) order() string {
	if b.Waves <= 1 {
		return "None of them depends on another one."
	}
	return fmt.Sprintf("In %d groups one after the other, because they depend on each other.", b.Waves)
}

// refusals says who can't, by state.
func (b bulkSummary) refusals() string {
	names := map[agent.State][]string{}
	for _, it := range b.Refused {
		names[it.Agent.State] = append(names[it.Agent.State], nameOf(it.Agent))
	}
	var out []string
	for _, st := range agent.States {
		if list := names[st]; len(list) > 0 {
			out = append(out, strings.ToLower(string(st))+": "+brief(list, 3))
		}
	}
	return view.Plain(strings.Join(out, "; ")+". They fail, the others go on as chosen below.", 500)
}

// beginBulk begins a bulk operation and shows its progress.
func (s *Server) beginBulk(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.New(fault.Invalid, "request.form", "The form can't be read").Do("Open it again.").Wrap(err)
	}
	p, req, err := bulkRequest(r.PostForm)
	if err != nil {
		return err
	}
	if slices.Contains(p.Actions, agent.Revoke) && r.PostForm.Get("confirm") != revokeWord {
		return fault.New(fault.Invalid, "bulk.confirm", "Nothing was revoked").Because("the word that was typed is not %q", revokeWord).
			Do("Type it to confirm.").At(fault.Field{Path: "confirm", Message: "must be " + revokeWord})
	}
	b, err := s.cfg.Bulks.Start(r.Context(), req)
	if err != nil {
		return err
	}
	return landed(w, r, bulkPath(b.ID))
}

// revokeWord is what has to be typed before many agents are revoked.
const revokeWord = "revoke"

func bulkPath(id string) string { return "/bulk/" + url.PathEscape(id) }

// bulkView is a bulk operation as its page shows it.
type bulkView struct {
	*bulk.Bulk
	row   view.Row
	names map[string]string // of the agents, by id
	op    *operation.Operation
	back  *operation.Operation // its rollback; nil if there was none
	may   bool
}

// bulkPage shows what became of each agent, as it happens.
func (s *Server) bulkPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.bulkView(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, bulkRegion(v))
	}
	return s.show(w, r, Shell{Title: v.title(), Active: "/operations", Crumbs: []Crumb{{"Operations", "/operations"}}}, bulkRegion(v))
}

func (s *Server) bulkView(ctx context.Context, id string) (*bulkView, error) {
	b, err := s.cfg.Bulks.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.State.Final() { // until then, rows stay where they are looked at
		slices.SortStableFunc(b.Items, func(x, y bulk.Item) int {
			return cmp.Compare(slices.Index(byTrouble, x.State), slices.Index(byTrouble, y.State))
		})
	}
	v := &bulkView{Bulk: b, row: view.Bulk{Bulk: b}.Row(), names: map[string]string{}, may: mayAct(ctx)}
	if v.op, err = s.cfg.Operations.Get(ctx, id); err != nil {
		return nil, err
	}
	children, _, err := s.cfg.Operations.Find(ctx, operation.Query{ParentID: id, Kinds: []string{bulk.KindRollback}, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(children) > 0 {
		v.back = children[0]
	}
	ids := make([]string, len(b.Items))
	for i, it := range b.Items {
		ids[i] = it.AgentID
	}
	for part := range slices.Chunk(ids, 500) {
		page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: part, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			v.names[a.ID] = nameOf(a)
		}
	}
	return v, nil
}

// byTrouble is the order of the results once all are there.
var byTrouble = []bulk.ItemState{bulk.ItemFailed, bulk.ItemCancelled, bulk.ItemSkipped, bulk.ItemRolledBack, bulk.ItemSucceeded}

func (v *bulkView) title() string {
	for _, p := range plans {
		if slices.Equal(p.Actions, v.Actions) {
			return p.Label + " " + count(v.Total, "agent", "agents")
		}
	}
	names := make([]string, len(v.Actions))
	for i, a := range v.Actions {
		names[i] = string(a)
	}
	return capital(strings.Join(names, ", ")) + ": " + count(v.Total, "agent", "agents")
}

// name is what an agent is called; its id once it is deleted.
func (v *bulkView) name(id string) string {
	if n, ok := v.names[id]; ok {
		return n
	}
	return id
}

// undoable tells whether something succeeded that can be taken back.
func (v *bulkView) undoable() bool {
	return v.State.Final() && v.Succeeded > 0 && (v.back == nil || v.back.State.Final()) &&
		canUndo(v.Actions)
}

// canUndo tells whether one of the actions has a way back.
func canUndo(actions []agent.Action) bool {
	return slices.ContainsFunc(actions, func(a agent.Action) bool { r, _ := agent.RuleOf(a); return r.Undo != "" })
}

// cancelBulk starts nothing more.
func (s *Server) cancelBulk(w http.ResponseWriter, r *http.Request) error {
	b, err := s.cfg.Bulks.Cancel(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return landed(w, r, bulkPath(b.ID))
}

// rollBackBulk takes back what succeeded.
func (s *Server) rollBackBulk(w http.ResponseWriter, r *http.Request) error {
	b, err := s.cfg.Bulks.RollBack(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return landed(w, r, bulkPath(b.ID))
}
