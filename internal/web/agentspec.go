package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/manifest"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// specView is what the tab of the spec shows: one revision, or what changed
// between two.
type specView struct {
	*agentDetail
	Shown     agent.Revision
	YAML      string
	Revisions []agent.Revision // newest first
	Older     string
	Compare   *comparison
	Saved     int // revision that was just made; 0 for none
}

// comparison is what differs between two specs.
type comparison struct {
	From, To      int // numbers of the revisions
	Fields        []agent.FieldChange
	Before, After string // as YAML
}

func compare(from, to agent.Spec) (*comparison, error) {
	before, err := yamlOf(from)
	if err != nil {
		return nil, err
	}
	after, err := yamlOf(to)
	return &comparison{Fields: agent.Diff(from, to), Before: view.Unformatted(before), After: view.Unformatted(after)}, err
}

// yamlOf writes a spec as people read it, without a line break at the end.
func yamlOf(s agent.Spec) (string, error) {
	b, err := manifest.Encode(s, "yaml")
	return strings.TrimSuffix(string(b), "\n"), err
}

func (s *Server) specTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	ctx, q := r.Context(), r.URL.Query()
	v := &specView{agentDetail: d}
	before, err := positive(q.Get("cursor"), "cursor")
	if err != nil {
		return nil, err
	}
	if v.Revisions, err = s.cfg.History.Revisions(ctx, d.ID, before, perPage); err != nil {
		return nil, err
	}
	if n := len(v.Revisions); n == perPage && v.Revisions[n-1].Number > 1 {
		v.Older = olderHref(r, strconv.Itoa(v.Revisions[n-1].Number))
	}
	if q.Get("from") != "" || q.Get("to") != "" {
		if v.Compare, err = s.compareRevisions(ctx, d.Agent, q.Get("from"), q.Get("to")); err != nil {
			return nil, err
		}
		return compareBody(v), nil
	}
	if n, err := strconv.Atoi(q.Get("saved")); err == nil && n == d.Revision {
		v.Saved = n
	}
	shown, err := s.revision(ctx, d.Agent, q.Get("revision"))
	if err != nil {
		return nil, err
	}
	v.Shown = *shown
	if v.YAML, err = yamlOf(shown.Spec); err != nil {
		return nil, err
	}
	return specBody(v), nil
}

// positive reads a positive number; 0 for nothing.
func positive(text, field string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, invalidQuery(field, "must be a number from 1")
	}
	return n, nil
}

// revision gives a revision of the agent by its number; the newest for "".
func (s *Server) revision(ctx context.Context, a *agent.Agent, text string) (*agent.Revision, error) {
	n, err := positive(text, "revision")
	if err != nil {
		return nil, err
	}
	if n == 0 {
		n = a.Revision
	}
	rev, err := s.cfg.History.Revision(ctx, a.ID, n)
	if f := fault.As(err); f != nil && f.Kind == fault.NotFound {
		f.Do("The newest revision of %s is %d.", a.Spec.Name, a.Revision)
	}
	return rev, err
}

// compareRevisions compares two revisions; without a first one that before, and
// without a second one the newest.
func (s *Server) compareRevisions(ctx context.Context, a *agent.Agent, from, to string) (*comparison, error) {
	after, err := s.revision(ctx, a, to)
	if err != nil {
		return nil, err
	}
	if from == "" {
		from = strconv.Itoa(max(1, after.Number-1))
	}
	before, err := s.revision(ctx, a, from)
	if err != nil {
		return nil, err
	}
	c, err := compare(before.Spec, after.Spec)
	if err != nil {
		return nil, err
	}
	c.From, c.To = before.Number, after.Number
	return c, nil
}

// specFile gives a revision as a file.
func (s *Server) specFile(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	rev, err := s.revision(r.Context(), a, r.URL.Query().Get("revision"))
	if err != nil {
		return err
	}
	body, err := manifest.Encode(rev.Spec, "yaml")
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/yaml; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-r%d.yaml"`, a.ID, rev.Number))
	_, _ = w.Write(body) // a client that went away needs no answer
	return nil
}

// restoreRevision makes an older revision the newest again.
func (s *Server) restoreRevision(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	rev, err := s.revision(ctx, a, r.PathValue("number"))
	if err != nil {
		return err
	}
	version, err := versionOf(r)
	if err != nil {
		return err
	}
	patch := agent.PatchBetween(a.Spec.Tree(), rev.Spec.Tree())
	saved, _, err := s.cfg.Editor.Patch(ctx, a.ID, version, patch, "Restored revision "+strconv.Itoa(rev.Number))
	if err != nil {
		return err
	}
	to := agentPath(a.ID) + "?tab=spec"
	if saved.Revision != a.Revision {
		to += "&saved=" + strconv.Itoa(saved.Revision)
	}
	return landed(w, r, to)
}

// foreignChange is what somebody else changed in some of an agent's instances.
type foreignChange struct {
	fleet.Difference
	In []string // names of the instances
}

// foreign is what somebody else changed in what runs, each thing once.
func (d *agentDetail) foreign() (list []foreignChange) {
	for _, in := range d.Instances {
		for _, one := range in.Drift {
			i := slices.IndexFunc(list, func(c foreignChange) bool { return c.Difference == one })
			if i < 0 {
				i, list = len(list), append(list, foreignChange{Difference: one})
			}
			list[i].In = append(list[i].In, instanceName(in.ID, d.ID))
		}
	}
	return list
}

// adoptForm asks whether what somebody else changed is to become a revision.
func (s *Server) adoptForm(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	if s.cfg.Mover == nil {
		return fault.New(fault.NotFound, "action.none", "There is nothing to adopt with here")
	}
	q := adoptQuestion{Agent: a}
	p, err := s.cfg.Mover.PlanAdoption(r.Context(), a.ID)
	if f := fault.As(err); fault.Is(err, fault.Conflict) {
		q.Blocked, p = f.What, &fleet.Adoption{Leaves: f.Fields}
		if f.Why != "" {
			q.Blocked += ": " + f.Why
		}
	} else if err != nil {
		return err
	}
	q.Adoption = *p
	return s.dialog(w, r, "Adopt what runs of "+nameOf(a), agentPath(a.ID), adoptConfirm(q))
}

// adoptQuestion is what is asked before what somebody else changed is adopted.
type adoptQuestion struct {
	*agent.Agent
	fleet.Adoption
	Blocked string
}

// impact says which fields become part of the specification, and which do not.
func (q adoptQuestion) impact() (list []components.Consequence) {
	if len(q.Takes) > 0 {
		list = append(list, components.Consequence{Icon: "check", Text: "Adopted: " + view.Plain(brief(q.Takes, 40), 1000), Status: "success"})
	}
	if slices.ContainsFunc(q.Takes, func(field string) bool { return strings.HasPrefix(field, "env.") }) {
		list = append(list, components.Consequence{
			Icon: "eye", Text: "Values of variables become part of the specification", Detail: "Everybody can read them who may see the agent.", Status: "warning",
		})
	}
	for _, f := range q.Leaves {
		list = append(list, components.Consequence{Icon: "triangle-alert", Text: "Not adopted: " + view.Plain(f.Path, 200), Detail: capital(view.Plain(f.Message, 400)) + ".", Status: "warning"})
	}
	return list
}

// adopt makes it a revision.
func (s *Server) adopt(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	version, err := versionOf(r)
	if err != nil {
		return err
	}
	if s.cfg.Mover == nil || len(r.PostFormValue("reason")) > 500 {
		return fault.New(fault.Invalid, "action.form", "The form is not complete").Do("Open it again.")
	}
	saved, _, err := s.cfg.Mover.AdoptDrift(r.Context(), a.ID, version, strings.TrimSpace(r.PostFormValue("reason")))
	if err != nil {
		return err
	}
	return landed(w, r, agentPath(a.ID)+"?tab=spec&saved="+strconv.Itoa(saved.Revision))
}

// revisionLabel says which of several a revision is.
func (d *agentDetail) revisionLabel(n int) string {
	switch {
	case n == d.Revision && n == d.DeployedRevision:
		return "newest, deployed"
	case n == d.Revision:
		return "newest"
	case n == d.DeployedRevision:
		return "deployed"
	}
	return ""
}

// revisionOptions are the revisions to choose from, newest first.
func revisionOptions(list []agent.Revision) []components.Option {
	out := make([]components.Option, len(list))
	for i, r := range list {
		out[i] = components.Option{Value: strconv.Itoa(r.Number), Label: "Revision " + strconv.Itoa(r.Number)}
	}
	return out
}

// fieldText writes one side of a change of a field; "" if it is not there.
func fieldText(v any) string {
	if v == nil {
		return ""
	}
	b, err := manifest.Encode(v, "yaml")
	if err != nil {
		return ""
	}
	text := view.Unformatted(strings.TrimSuffix(string(b), "\n"))
	if len(text) > maxField {
		text = strings.ToValidUTF8(text[:maxField], "") + "…"
	}
	return text
}

// maxField is how much of a field's value a list of changes shows, in bytes.
const maxField = 2000

// program is what an instance of the agent runs, in one line.
func program(s agent.Spec) string {
	switch {
	case s.Image != "":
		return s.Image
	case s.Command != "":
		return strings.Join(append([]string{s.Command}, s.Args...), " ")
	}
	return "Template " + s.Template
}

// restartText says what happens when an instance ends by itself.
func restartText(p agent.RestartPolicy) string {
	if p.Policy == "never" {
		return "Never"
	}
	return view.Words(p.Policy) + ", at most " + count(p.MaxRestarts, "time", "times") + " in " + view.Duration(p.Window.Or(agent.DefaultRestartWindow))
}

// probeText says what a probe asks and how often.
func probeText(p *agent.Probe) string {
	if p == nil {
		return ""
	}
	what := ""
	switch {
	case p.HTTP != nil:
		what = "GET " + p.HTTP.Path
	case p.TCP != nil:
		what = "TCP " + string(p.TCP.Port)
	case p.Exec != nil:
		what = "Exec " + strings.Join(p.Exec.Command, " ")
	}
	return what + " every " + view.Duration(p.Interval.Or(agent.DefaultProbeInterval))
}

// limitsText says what one instance may use.
func limitsText(r agent.Resources) string {
	var out []string
	if r.CPU > 0 {
		out = append(out, view.Number(r.CPU)+" CPU")
	}
	if r.Memory > 0 {
		out = append(out, view.Bytes(int64(r.Memory))+" memory")
	}
	if r.Disk > 0 {
		out = append(out, view.Bytes(int64(r.Disk))+" disk")
	}
	return strings.Join(append(out, view.Count(max(r.PIDs, 1))+" processes"), ", ")
}
