package observe

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// Diagnostics looks whether everything is in order. See diagnosis.Service.
type Diagnostics interface {
	Run(ctx context.Context, agentID string) (diagnosis.Diagnosis, error)
	Get(ctx context.Context, id string) (*diagnosis.Diagnosis, error)
	History(ctx context.Context, q diagnosis.Query) ([]diagnosis.Diagnosis, string, error)
}

// SupportBundle packs what somebody who helps needs to see. See diagnosis.Bundle.
type SupportBundle interface {
	Write(ctx context.Context, w io.Writer) error
}

func (a *area) registerDiagnostics() {
	door.Handle(a.door, "list-diagnostics", "List what was found by looking at the portal and at agents, newest first", a.listDiagnostics)
	door.Handle(a.door, "run-diagnostics", "Make all checks of the portal or of an agent, and give what they found", a.runDiagnostics)
	door.Handle(a.door, "get-diagnostic", "Show what was found", a.getDiagnostic)
	door.Handle(a.door, "support-bundle", "Pack what somebody who helps needs to see, without secrets", a.supportBundle, func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: "A gzipped tar of text and JSON files", Content: map[string]*huma.MediaType{
			"application/gzip": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}}}
	})
}

type listDiagnosticsInput struct {
	door.OfAgents
	Scope string `query:"scope" enum:"portal,agent" doc:"Only what is about the portal, or about agents"`
	// The findings make a run long, so a page has fewer than elsewhere.
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the page before"`
}

func (a *area) listDiagnostics(ctx context.Context, in *listDiagnosticsInput) (*door.ListAnswer[diagnosis.Diagnosis], error) {
	q := diagnosis.Query{Scope: diagnosis.Scope(in.Scope), Limit: in.Limit, Cursor: in.Cursor}
	var err error
	if q.AgentIDs, err = a.door.AgentIDs(ctx, in.Agent); err != nil {
		return nil, err
	}
	items, next, err := a.cfg.Diagnostics.History(ctx, q)
	out := door.ListOf(items, next)
	out.Filtered = q.AgentIDs
	return &door.ListAnswer[diagnosis.Diagnosis]{Body: out}, err
}

type diagnosticAnswer struct{ Body diagnosis.Diagnosis }

type runDiagnosticsInput struct {
	Body struct {
		Agent string `json:"agent,omitempty" maxLength:"200" doc:"Agent to look at, by id or name; the portal where it is left out"`
	}
}

func (a *area) runDiagnostics(ctx context.Context, in *runDiagnosticsInput) (*diagnosticAnswer, error) {
	d, err := a.cfg.Diagnostics.Run(ctx, in.Body.Agent)
	return &diagnosticAnswer{Body: d}, err
}

func (a *area) getDiagnostic(ctx context.Context, in *door.ByID) (*diagnosticAnswer, error) {
	d, err := a.cfg.Diagnostics.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &diagnosticAnswer{Body: *d}, nil
}

type bundleAnswer struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

// supportBundle packs the whole bundle before anything of it is sent, so that
// nobody takes a part for the whole. Its parts are bounded.
func (a *area) supportBundle(ctx context.Context, _ *struct{}) (*bundleAnswer, error) {
	var out bytes.Buffer
	if err := a.cfg.SupportBundle.Write(ctx, &out); err != nil {
		return nil, err
	}
	name := "portal-support-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
	return &bundleAnswer{ContentType: "application/gzip", Disposition: `attachment; filename="` + name + `"`, Body: out.Bytes()}, nil
}
