package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The modes of an import.
const (
	ImportCreate = "create" // every document is a new agent
	ImportApply  = "apply"  // an agent that exists gets the document as its whole spec
)

// The changes that an import makes.
const (
	Created   = "created"
	Updated   = "updated"
	Unchanged = "unchanged"
)

// maxImportErrors bounds the list of mistakes in one answer.
const maxImportErrors = 1000

// ImportOptions say how documents become agents.
type ImportOptions struct {
	Mode   string // ImportCreate (default) or ImportApply
	DryRun bool   // say what would change, and change nothing
	Decode Mode   // what to do with unknown fields
	Reason string // kept with the revisions
}

// ImportItem is what became of one document.
type ImportItem struct {
	ID       string        `json:"id"`
	Name     string        `json:"name"`
	Change   string        `json:"change"`         // Created, Updated or Unchanged
	Diff     []FieldChange `json:"diff,omitempty"` // for Updated
	Warnings []string      `json:"warnings,omitempty"`
}

// ImportResult is what became of all documents, in their order.
type ImportResult struct {
	Items    []ImportItem `json:"items"`
	Warnings []string     `json:"warnings,omitempty"` // about the set as a whole
}

// plan is one document on its way into the fleet.
type plan struct {
	label      string // names the document in paths
	spec       Spec
	declaredID bool
	existing   *Agent
	changes    []FieldChange
	warnings   []string
}

// Import makes agents of the documents, all or none. What is wrong is found in
// the whole set before anything is stored; the paths of the fault's fields
// begin with the number (from 0) and name of the document, as in
// "documents[3](WowCache).tier". It fails with Invalid for documents that are
// not valid, name one agent twice or close a cycle over the set and the fleet,
// and with Conflict for what Create and Patch refuse so.
func (s *Service) Import(ctx context.Context, docs []map[string]any, opts ImportOptions) (ImportResult, error) {
	if opts.Mode == "" {
		opts.Mode = ImportCreate
	}
	if opts.Mode != ImportCreate && opts.Mode != ImportApply {
		return ImportResult{}, fault.New(fault.Invalid, "agent.import_mode", "There is no import mode %s", quote(opts.Mode)).Do("Use create or apply.")
	}
	plans, err := decodeAll(docs, opts.Decode)
	if err != nil {
		return ImportResult{}, err
	}
	var out ImportResult
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		rel, err := s.planAll(ctx, plans, opts.Mode)
		if err != nil {
			return err
		}
		out = resultOf(plans, rel)
		if opts.DryRun {
			return nil
		}
		return s.carryOut(ctx, plans, opts.Reason)
	})
	if err != nil {
		return ImportResult{}, err
	}
	return out, nil
}

// together is how many changes of an import are noted at once.
const together = 50

func (s *Service) carryOut(ctx context.Context, plans []*plan, reason string) error {
	for some := range slices.Chunk(plans, together) {
		var list []*done
		for _, p := range some {
			var d *done
			var err error
			switch {
			case p.existing == nil:
				d, err = s.insert(ctx, p.spec, reason)
			case len(p.changes) > 0:
				d, err = s.update(ctx, p.existing, p.spec, p.changes)
			default:
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, d)
		}
		if err := s.note(ctx, reason, list...); err != nil {
			return err
		}
	}
	return nil
}

// declared leaves out what the portal itself adds to an agent when it shows
// it, so that what was read can be edited and applied again.
func declared(doc map[string]any) map[string]any {
	doc = maps.Clone(doc)
	for _, field := range ReadOnlyFields {
		delete(doc, field)
	}
	return doc
}

// decodeAll reads every document and finds what is wrong with them by themselves.
func decodeAll(docs []map[string]any, mode Mode) ([]*plan, error) {
	if len(docs) == 0 {
		return nil, fault.New(fault.Invalid, "agent.import_empty", "There is no agent to import")
	}
	var fields []fault.Field
	plans := make([]*plan, len(docs))
	first := map[string]*plan{}
	for i, doc := range docs {
		spec, warnings, err := Decode(declared(doc), mode)
		p := &plan{label: labelOf(i, spec), declaredID: spec.ID != "", warnings: warnings}
		plans[i], p.spec = p, spec.WithDefaults()
		if f := fault.As(err); f != nil {
			fields = append(fields, p.prefix(f.Fields)...)
			continue
		}
		names := []string{strings.ToLower(p.spec.Name)}
		if p.spec.ID != names[0] {
			names = append(names, p.spec.ID)
		}
		for j, name := range names {
			other, twice := first[name]
			if !twice {
				first[name] = p
				continue
			}
			if path := []string{"name", "id"}[j]; other != p {
				fields = append(fields, p.prefix([]fault.Field{{Path: path, Message: "is the same as that of " + other.label}})...)
			}
		}
	}
	return plans, importRefused(fault.Invalid, "agent.import_invalid", fields)
}

func labelOf(i int, spec Spec) string {
	label := index("documents", i)
	if spec.Name != "" && nameForm.MatchString(spec.Name) && len(spec.Name) <= maxName {
		label += "(" + spec.Name + ")"
	}
	return label
}

func (p *plan) prefix(fields []fault.Field) []fault.Field {
	out := make([]fault.Field, len(fields))
	for i, f := range fields {
		out[i] = fault.Field{Path: p.label + "." + f.Path, Message: f.Message}
	}
	return out
}

func importRefused(kind fault.Kind, code string, fields []fault.Field) error {
	if len(fields) == 0 {
		return nil
	}
	f := fault.New(kind, code, "Nothing was imported")
	if more := len(fields) - maxImportErrors; more > 0 {
		fields = fields[:maxImportErrors]
		f.Do("There are %d further mistakes.", more)
	}
	return f.At(fields...)
}

// planAll finds out what each document means for the fleet.
func (s *Service) planAll(ctx context.Context, plans []*plan, mode string) (relations, error) {
	var fields []fault.Field
	var renamed []*plan
	subject := map[string]*plan{}
	there, err := s.there(ctx, plans, mode)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		err := s.locate(ctx, p, there, mode)
		if f := fault.As(err); f != nil && f.Kind == fault.Conflict {
			fields = append(fields, p.prefix(conflictFields(f))...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.existing != nil {
			if other := subject[p.existing.ID]; other != nil {
				fields = append(fields, p.prefix([]fault.Field{{Path: "name", Message: "is the same agent as " + other.label}})...)
				continue
			}
			subject[p.existing.ID] = p
			p.changes = Diff(p.existing.Spec, p.spec)
			if p.existing.Spec.Name != p.spec.Name {
				renamed = append(renamed, p)
			}
		}
	}
	if err := importRefused(fault.Invalid, "agent.import_invalid", s.allMisplaced(plans)); err != nil {
		return nil, err
	}
	used, err := s.renamedInUse(ctx, plans, renamed)
	if err != nil {
		return nil, err
	}
	if err := importRefused(fault.Conflict, "agent.import_conflict", append(fields, used...)); err != nil {
		return nil, err
	}
	specs := make([]Spec, len(plans))
	for i, p := range plans {
		specs[i] = p.spec
	}
	rel, err := s.relate(ctx, specs...)
	if f := fault.As(err); f != nil && f.Code == "agent.dependency_cycle" {
		return nil, prefixCycle(f, plans)
	}
	return rel, err
}

// allMisplaced refuses places that the portal is not configured with, but for agents
// that are meant for them already.
func (s *Service) allMisplaced(plans []*plan) (fields []fault.Field) {
	for _, p := range plans {
		if p.existing == nil || p.existing.Spec.Runtime != p.spec.Runtime {
			fields = append(fields, p.prefix(s.misplaced(p.spec))...)
		}
	}
	return fields
}

func conflictFields(f *fault.Error) []fault.Field {
	if len(f.Fields) > 0 {
		return f.Fields
	}
	return []fault.Field{{Path: "name", Message: f.What + ": " + f.Why}}
}

// locate finds the agent that the document is about.
func (s *Service) locate(ctx context.Context, p *plan, there map[string]*Agent, mode string) error {
	if mode == ImportCreate {
		return s.free(ctx, p.spec, "")
	}
	a := there[p.key()]
	switch {
	case a == nil || p.declaredID && a.ID != p.spec.ID || !p.declaredID && !strings.EqualFold(a.Spec.Name, p.spec.Name):
		return s.free(ctx, p.spec, "")
	case a.State == Revoked:
		return revoked(a)
	}
	p.existing, p.spec.ID = a, a.ID
	if a.Spec.Name == p.spec.Name {
		return nil
	}
	return s.free(ctx, p.spec, a.ID)
}

// key is what an agent that is there already is found by.
func (p *plan) key() string {
	if p.declaredID {
		return strings.ToLower(p.spec.ID)
	}
	return strings.ToLower(p.spec.Name)
}

// atOnce is how many agents are looked up by one query: each may be the id of one
// and the name of another.
const atOnce = 500

// there gives the agents that the plans may mean, by their keys.
func (s *Service) there(ctx context.Context, plans []*plan, mode string) (map[string]*Agent, error) {
	if mode == ImportCreate {
		return nil, nil
	}
	byID, byName := map[string]*Agent{}, map[string]*Agent{}
	for part := range slices.Chunk(plans, atOnce) {
		keys := make([]string, len(part))
		for i, p := range part {
			keys[i] = p.key()
		}
		page, err := s.Store.Find(ctx, Query{IDs: keys, Limit: 2 * atOnce})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			byID[strings.ToLower(a.ID)], byName[strings.ToLower(a.Spec.Name)] = a, a
		}
	}
	maps.Copy(byName, byID)
	return byName, nil
}

// renamedInUse finds agents that would lose one that gets a new name. What
// the set itself changes in dependencies counts.
func (s *Service) renamedInUse(ctx context.Context, plans, renamed []*plan) ([]fault.Field, error) {
	if len(renamed) == 0 {
		return nil, nil
	}
	edges, err := s.Store.Dependencies(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.existing != nil {
			delete(edges, p.existing.Spec.Name)
		}
	}
	for _, p := range plans {
		edges[p.spec.Name] = p.spec.Dependencies
	}
	var fields []fault.Field
	for _, p := range renamed {
		if f := fault.As(renameRefused(p.existing, p.spec, edges)); f != nil {
			fields = append(fields, p.prefix(f.Fields)...)
		}
	}
	return fields, nil
}

// prefixCycle says in which documents the cycle can be broken.
func prefixCycle(f *fault.Error, plans []*plan) error {
	message := f.Fields[0].Message
	cycle, _ := f.Extra["cycle"].([]string)
	f.Fields = nil
	for _, p := range plans {
		if slices.Contains(cycle, p.spec.Name) {
			f.At(p.prefix([]fault.Field{{Path: "dependencies", Message: message}})...)
		}
	}
	return f
}

func resultOf(plans []*plan, rel relations) ImportResult {
	out := ImportResult{Items: make([]ImportItem, len(plans))}
	absent := map[string]string{}
	for i, p := range plans {
		item := ImportItem{ID: p.spec.ID, Name: p.spec.Name, Change: Created, Warnings: append(p.warnings, rel.warnings(p.spec)...)}
		if p.existing != nil {
			item.Change, item.Diff = Updated, p.changes
			if len(p.changes) == 0 {
				item.Change = Unchanged
			}
		}
		out.Items[i] = item
		for _, name := range rel.absent(p.spec) {
			absent[strings.ToLower(name)] = name
		}
	}
	if len(absent) > 0 {
		var names []string
		for _, name := range absent {
			names = append(names, name)
		}
		slices.Sort(names)
		verb := "dependencies are"
		if len(names) == 1 {
			verb = "dependency is"
		}
		out.Warnings = []string{fmt.Sprintf("%d %s not in the fleet: %s", len(names), verb, strings.Join(names, ", "))}
	}
	return out
}
