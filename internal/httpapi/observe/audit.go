package observe

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (a *area) registerAudit() {
	door.Handle(a.door, "list-audit", "Search the audit log, newest first", a.listAudit)
	door.Handle(a.door, "export-audit", "Export the audit log", a.exportAudit, func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: "The entries, newest first", Content: map[string]*huma.MediaType{
			"application/x-ndjson": {Schema: &huma.Schema{Type: "string"}},
			"text/csv":             {Schema: &huma.Schema{Type: "string"}},
		}}}
	})
	door.Handle(a.door, "verify-audit", "Check the chain of the audit log", a.verifyAudit)
}

// AuditFilter picks entries of the audit log.
type AuditFilter struct {
	door.OfAgents
	Actor   string    `query:"actor" maxLength:"200" doc:"Exact"`
	Action  string    `query:"action" maxLength:"200" doc:"Exact, or ending in *"`
	Target  string    `query:"target" maxLength:"300" doc:"Exact, or ending in *"`
	Outcome string    `query:"outcome" enum:"done,refused,failed"`
	Search  string    `query:"q" maxLength:"200" doc:"In action, target, reason, before and after"`
	Since   time.Time `query:"since"`
	Until   time.Time `query:"until"`
}

// query gives the query, and the agents it is about.
func (a *area) auditQuery(ctx context.Context, f AuditFilter) (audit.Query, []string, error) {
	ids, err := a.door.AgentIDs(ctx, f.Agent)
	q := audit.Query{Actor: f.Actor, Action: f.Action, Target: f.Target, Outcome: audit.Outcome(f.Outcome), Search: f.Search, Since: f.Since, Until: f.Until}
	for _, id := range ids {
		q.Targets = append(q.Targets, "agent/"+id)
	}
	return q, ids, err
}

type listAuditInput struct {
	AuditFilter
	door.Paging
}

func (a *area) listAudit(ctx context.Context, in *listAuditInput) (*door.ListAnswer[audit.Entry], error) {
	q, ids, err := a.auditQuery(ctx, in.AuditFilter)
	if err != nil {
		return nil, err
	}
	q.Limit, q.Cursor = in.Limit, in.Cursor
	items, next, err := a.cfg.Audit.Find(ctx, q)
	out := door.ListOf(items, next)
	out.Filtered = ids
	return &door.ListAnswer[audit.Entry]{Body: out}, err
}

type exportInput struct {
	AuditFilter
	Format string `query:"format" enum:"jsonl,csv" default:"jsonl"`
}

type exportAnswer struct{ Body func(huma.Context) }

func (a *area) exportAudit(ctx context.Context, in *exportInput) (*exportAnswer, error) {
	q, _, err := a.auditQuery(ctx, in.AuditFilter)
	if err != nil {
		return nil, err
	}
	// Who takes the record away is part of the record.
	if err := a.cfg.Recorder.Record(ctx, "audit.export", "audit", audit.Done, "", nil, map[string]any{"format": in.Format}); err != nil {
		return nil, err
	}
	return &exportAnswer{Body: func(c huma.Context) { a.writeExport(c, q, audit.Format(in.Format)) }}, nil
}

func (a *area) writeExport(c huma.Context, q audit.Query, format audit.Format) {
	r, w := humago.Unwrap(c)
	w.Header().Set("Content-Type", map[audit.Format]string{audit.CSV: "text/csv; charset=utf-8", audit.JSONLines: "application/x-ndjson"}[format])
	w.Header().Set("Content-Disposition", `attachment; filename="audit.`+string(format)+`"`)
	err := audit.Export(r.Context(), a.cfg.Audit, q, format, door.Patient{ResponseWriter: w})
	if err != nil && !errors.Is(err, context.Canceled) {
		// The beginning may be out already: cut the connection, so that nobody
		// takes a part for the whole.
		panic(err)
	}
}

type verifyInput struct {
	Seq  int64  `query:"seq" minimum:"0" doc:"Number of an entry that was noted earlier"`
	Hash string `query:"hash" pattern:"^([0-9a-f]{64})?$" doc:"Its hash, as it was noted"`
}

type verifyAnswer struct{ Body audit.Report }

func (a *area) verifyAudit(ctx context.Context, in *verifyInput) (*verifyAnswer, error) {
	var anchors []audit.Anchor
	if in.Seq > 0 && in.Hash != "" {
		anchors = append(anchors, audit.Anchor{Seq: in.Seq, Hash: in.Hash})
	}
	report, err := audit.Verify(ctx, a.cfg.Audit, anchors...)
	return &verifyAnswer{Body: report}, err
}
