package web

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// editor is the page on which the spec of an agent is changed.
type editor struct {
	*agent.Agent
	Text   string
	Base   int // revision that the text began with
	Reason string
	Check  *specCheck // nil before anything was changed
	Clash  *clash     // what somebody else stored meanwhile; nil if nobody did
	// Runtimes are those that the portal has.
	Runtimes []string
}

// specCheck is what is right and wrong with a text, and what storing it would do.
type specCheck struct {
	Problem  string    // what is wrong as a whole; "" if nothing is
	Why      string    // the reason
	Wrong    []located // what is wrong where
	Warnings []string
	*comparison
	Waits []agent.FieldChange // what needs a deployment
	Next  int                 // number of the revision that storing makes
	Docs  []agent.ImportItem  // what becomes of each document, where several may be given
}

// ok tells whether the text can be stored.
func (c *specCheck) ok() bool { return c != nil && c.Problem == "" }

// located is something wrong with the line of the text where it is; 0 if there
// is none.
type located struct {
	fault.Field
	Line int
}

// clash is what others stored since an edit began.
type clash struct {
	Revisions []agent.Revision // newest first
	Theirs    *comparison
	Both      []agent.FieldChange // changed on both sides: Old is theirs, New is mine
}

// editPage shows the editor of an agent's spec.
func (s *Server) editPage(w http.ResponseWriter, r *http.Request) error {
	a, err := s.editable(r)
	if err != nil {
		return err
	}
	text, err := yamlOf(a.Spec)
	if err != nil {
		return err
	}
	return s.showEditor(w, r, http.StatusOK, &editor{Agent: a, Text: text, Base: a.Revision})
}

// editable gives the agent of the address, unless its spec is final.
func (s *Server) editable(r *http.Request) (*agent.Agent, error) {
	a, err := s.agentOf(r)
	if err == nil && a.State == agent.Revoked {
		return nil, fault.New(fault.Conflict, "agent.revoked", "The agent %s can't be changed", a.Spec.Name).
			Because("it is REVOKED, which is final").Do("Create a new agent instead.")
	}
	return a, err
}

func (s *Server) showEditor(w http.ResponseWriter, r *http.Request, status int, e *editor) error {
	e.Runtimes = s.runtimes()
	shell := Shell{Title: "Edit " + nameOf(e.Agent), Active: "/agents",
		Crumbs: []Crumb{{Name: "Agents", Href: "/agents"}, {Name: nameOf(e.Agent), Href: agentPath(e.ID)}}}
	return s.showStatus(w, r, status, shell, editBody(e))
}

// runtimes are those that a spec may name here.
func (s *Server) runtimes() []string {
	if s.cfg.Steward == nil {
		return nil
	}
	return s.cfg.Steward.RuntimeNames()
}

// checkEdit says what is wrong with a text while it is written.
func (s *Server) checkEdit(w http.ResponseWriter, r *http.Request) error {
	a, err := s.editable(r)
	if err != nil {
		return err
	}
	_, check, err := s.checkSpec(r.Context(), a, r.PostFormValue("spec"))
	if err != nil {
		return err
	}
	return s.fragment(w, r, checkBody(check.with(a)))
}

// saveEdit stores the text as the agent's spec, or shows why it can't be.
func (s *Server) saveEdit(w http.ResponseWriter, r *http.Request) error {
	a, err := s.editable(r)
	if err != nil {
		return err
	}
	e := &editor{Agent: a, Text: unixLines(r.PostFormValue("spec")), Reason: strings.TrimSpace(r.PostFormValue("reason"))}
	if e.Base, err = strconv.Atoi(r.PostFormValue("base")); err != nil || e.Base < 1 || e.Base > a.Revision {
		return fault.New(fault.Invalid, "edit.form", "The form is not complete").Do("Open the editor again.").
			At(fault.Field{Path: "base", Message: "must be the number of the revision that was edited"})
	}
	if len(e.Reason) > maxReason {
		return fault.New(fault.Invalid, "edit.reason", "The reason is too long").At(fault.Field{Path: "reason", Message: "must be at most 500 bytes long"})
	}
	spec, check, err := s.checkSpec(r.Context(), a, e.Text)
	if err != nil {
		return err
	}
	e.Check = check
	switch {
	case !check.ok():
		s.refused(r, fault.New(fault.Invalid, "agent.invalid_spec", "The agent specification is not valid").At(fieldsOf(check.Wrong)...))
		return s.showEditor(w, r, http.StatusUnprocessableEntity, e)
	case r.PostFormValue("do") == "check":
		return s.showEditor(w, r, http.StatusOK, e)
	case len(check.Fields) > 0 && a.Revision != e.Base:
		return s.showClash(w, r, e, spec)
	}
	return s.store(w, r, e, spec)
}

// maxReason is how long a reason may be, in bytes.
const maxReason = 500

// store saves the checked spec. That the agent's state changed meanwhile is no
// reason to refuse it; that its spec did is.
func (s *Server) store(w http.ResponseWriter, r *http.Request, e *editor, spec agent.Spec) error {
	for {
		patch := agent.PatchBetween(e.Spec.Tree(), spec.Tree())
		saved, _, err := s.cfg.Editor.Patch(r.Context(), e.ID, e.LockVersion, patch, e.Reason)
		if err == nil {
			to := agentPath(e.ID) + "?tab=spec"
			if saved.Revision != e.Base {
				to += "&saved=" + strconv.Itoa(saved.Revision)
			}
			return landed(w, r, to)
		}
		if !fault.Is(err, fault.Stale) {
			return err
		}
		now, getErr := s.cfg.Agents.Get(r.Context(), e.ID)
		if getErr != nil {
			return getErr
		}
		if e.Agent = now; now.Revision != e.Base {
			return s.showClash(w, r, e, spec)
		}
	}
}

// showClash shows what others stored, and the text carried over to it.
func (s *Server) showClash(w http.ResponseWriter, r *http.Request, e *editor, mine agent.Spec) error {
	ctx := r.Context()
	base, err := s.cfg.History.Revision(ctx, e.ID, e.Base)
	if err != nil {
		return err
	}
	c := &clash{}
	if c.Revisions, err = s.cfg.History.Revisions(ctx, e.ID, 0, min(e.Revision-e.Base, perPage)); err != nil {
		return err
	}
	if c.Theirs, err = compare(base.Spec, e.Spec); err != nil {
		return err
	}
	tree, both := agent.Rebase(base.Spec, e.Spec, mine)
	text, err := manifest.Encode(tree, "yaml")
	if err != nil {
		return err
	}
	// In the order in which specs are written, if what came out is one.
	if spec, _, err := agent.Decode(tree, agent.Strict); err == nil {
		if text, err = manifest.Encode(spec, "yaml"); err != nil {
			return err
		}
	}
	c.Both = both
	e.Text, e.Clash = strings.TrimSuffix(string(text), "\n"), c
	s.refused(r, fault.New(fault.Stale, "agent.stale", "The agent %s has changed meanwhile", e.Spec.Name).
		Because("its newest revision is %d, not %d", e.Revision, e.Base))
	e.Base = e.Revision
	if _, e.Check, err = s.checkSpec(ctx, e.Agent, e.Text); err != nil {
		return err
	}
	return s.showEditor(w, r, http.StatusConflict, e)
}

// refused puts an attempt on record that is answered with a page of its own.
func (s *Server) refused(r *http.Request, err *fault.Error) {
	if s.cfg.Door.Refused != nil {
		s.cfg.Door.Refused(r.Context(), err)
	}
}

// checkSpec reads a text as the whole spec of the agent, as storing it will. An
// error is one of the portal, not of the text.
func (s *Server) checkSpec(ctx context.Context, a *agent.Agent, text string) (agent.Spec, *specCheck, error) {
	check := &specCheck{Next: a.Revision + 1}
	text = unixLines(text)
	docs, err := manifest.Parse([]byte(text))
	if err != nil {
		return agent.Spec{}, check, check.take(text, err)
	}
	if len(docs) != 1 {
		return agent.Spec{}, check, check.take(text, fault.New(fault.Invalid, "agent.several", "There are %d documents", len(docs)).
			Because("this is the spec of one agent").Do("Remove the others."))
	}
	tree := docs[0].Tree
	if id, given := tree["id"]; given && id != a.ID {
		return agent.Spec{}, check, check.take(text, fault.New(fault.Invalid, "agent.invalid_spec", "The agent specification is not valid").
			At(fault.Field{Path: "id", Message: "can't be changed; it is " + a.ID}))
	}
	tree["id"] = a.ID
	spec, warnings, err := agent.Decode(tree, agent.Strict)
	if err != nil {
		return agent.Spec{}, check, check.take(text, err)
	}
	spec = spec.WithDefaults()
	// What the fleet has to say: names that are taken, circles of dependencies.
	result, err := s.cfg.Editor.Import(ctx, []map[string]any{tree}, agent.ImportOptions{Mode: agent.ImportApply, DryRun: true, Decode: agent.Strict})
	if err != nil {
		return agent.Spec{}, check, check.take(text, err)
	}
	check.Warnings = warnings
	for _, item := range result.Items {
		check.Warnings = append(check.Warnings, item.Warnings...)
	}
	if check.comparison, err = compare(a.Spec, spec); err != nil {
		return agent.Spec{}, check, err
	}
	check.Waits = agent.ForInstances(check.Fields)
	return spec, check, nil
}

// take notes what is wrong with the text. Errors that are not about it come back.
func (c *specCheck) take(text string, err error) error {
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid && f.Kind != fault.Conflict && f.Kind != fault.TooLarge {
		return err
	}
	c.Problem, c.Why = f.What, strings.TrimSpace(f.Why+" "+f.Remedy)
	c.Wrong = locate(text, f.Fields)
	return nil
}

var (
	lineField = regexp.MustCompile(`^line (\d+)$`)
	docField  = regexp.MustCompile(`^documents\[(\d+)\](?:\(([^)]*)\))?\.?`)
)

// locate finds the lines of what is wrong.
func locate(text string, fields []fault.Field) []located {
	var lines []manifest.Lines
	out := make([]located, len(fields))
	for i, f := range fields {
		out[i].Field = f
		if m := lineField.FindStringSubmatch(f.Path); m != nil {
			out[i].Line, _ = strconv.Atoi(m[1])
			continue
		}
		if lines == nil {
			lines = manifest.LinesOf([]byte(text))
		}
		doc, path := 0, f.Path
		if m := docField.FindStringSubmatch(path); m != nil {
			doc, _ = strconv.Atoi(m[1])
			path = path[len(m[0]):]
			if out[i].Path = path; m[2] != "" && len(lines) > 1 {
				out[i].Path = m[2] + ": " + path
			}
		}
		if doc < len(lines) {
			out[i].Line = lines[doc].Of(path)
		}
	}
	slices.SortStableFunc(out, func(a, b located) int { return a.Line - b.Line })
	return out
}

func fieldsOf(list []located) []fault.Field {
	out := make([]fault.Field, len(list))
	for i, l := range list {
		out[i] = l.Field
	}
	return out
}

// unixLines undoes what forms do to line breaks.
func unixLines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// with adds what storing the text would mean for the agent.
func (c *specCheck) with(a *agent.Agent) *specCheck {
	if c.ok() {
		c.Why = c.effect(a)
	}
	return c
}

// versionOf gives the version of the agent that a form was made for.
func versionOf(r *http.Request) (int64, error) {
	n, err := strconv.ParseInt(r.PostFormValue("version"), 10, 64)
	if err != nil || n < 1 {
		return 0, fault.New(fault.Invalid, "edit.form", "The form is not complete").Do("Load the page again.").
			At(fault.Field{Path: "version", Message: "must be the version of the agent that the form was made for"})
	}
	return n, nil
}

// effect says what storing would do.
func (c *specCheck) effect(a *agent.Agent) string {
	if len(c.Fields) == 0 {
		return "Nothing differs from what is stored."
	}
	text := fmt.Sprintf("Saving makes revision %d. ", c.Next)
	atOnce := len(c.Fields) - len(c.Waits)
	switch {
	case len(c.Waits) == 0:
		return text + "It holds at once; there is nothing to deploy."
	case a.DeployedRevision == 0:
		return text + "It is used when the agent is deployed."
	}
	if atOnce > 0 {
		text += count(atOnce, "change holds", "changes hold") + " at once. "
	}
	text += count(len(c.Waits), "change reaches", "changes reach") + " its instances with the next deployment"
	if a.State == agent.Running || a.State == agent.Suspended {
		return text + "; until then they go on as they are."
	}
	return text + "."
}

// created says what storing several documents would do.
func (c *specCheck) created() string {
	kinds := map[string]int{}
	for _, d := range c.Docs {
		kinds[d.Change]++
	}
	var parts []string
	for _, k := range []string{agent.Created, agent.Updated, agent.Unchanged} {
		if n := kinds[k]; n > 0 {
			parts = append(parts, count(n, "agent is "+k, "agents are "+k))
		}
	}
	return capital(strings.Join(parts, ", ")) + "."
}

// changeCell is the cell of what becomes of a document.
func changeCell(change string) view.Cell {
	status := map[string]string{agent.Created: "success", agent.Updated: "info", agent.Unchanged: "none"}[change]
	return view.Cell{Text: view.Words(change), Status: status}
}
