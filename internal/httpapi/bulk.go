package httpapi

import (
	"context"
	"encoding/csv"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/operation"
)

func (s *server) registerBulk() {
	door.Handle(s.Door, "list-bulk", "List bulk operations, newest first", s.listBulk)
	door.Handle(s.Door, "start-bulk", "Do actions on many agents", s.startBulk, door.Status(http.StatusAccepted))
	door.Handle(s.Door, "get-bulk", "Get a bulk operation with the result for each agent", s.getBulk)
	door.Handle(s.Door, "bulk-report", "Report of a bulk operation", s.bulkReport, func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: "The report", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/BulkView"}},
			"text/csv":         {Schema: &huma.Schema{Type: "string"}},
		}}}
	})
	door.Handle(s.Door, "cancel-bulk", "Start nothing more", func(ctx context.Context, in *steerInput) (*bulkAccepted, error) {
		return s.bulkSteered(ctx)(s.cfg.Bulks.Cancel(ctx, in.ID))
	}, door.Status(http.StatusAccepted))
	door.Handle(s.Door, "rollback-bulk", "Undo what succeeded", func(ctx context.Context, in *steerInput) (*bulkAccepted, error) {
		return s.bulkSteered(ctx)(s.cfg.Bulks.RollBack(ctx, in.ID))
	}, door.Status(http.StatusAccepted))
}

// BulkView is a bulk operation with the operation that carries it.
type BulkView struct {
	bulk.Bulk
	Operation *operation.Operation `json:"operation,omitempty" doc:"The same as an operation, with its progress"`
}

type bulkFilter struct {
	State    []string `json:"state,omitempty"`
	Health   []string `json:"health,omitempty"`
	Tier     []int    `json:"tier,omitempty"`
	Domain   []string `json:"domain,omitempty"`
	Runtime  []string `json:"runtime,omitempty"`
	Template []string `json:"template,omitempty"`
	Customer string   `json:"customer_id,omitempty"`
	Selector string   `json:"selector,omitempty" maxLength:"2000"`
	Search   string   `json:"q,omitempty" maxLength:"200"`
}

type bulkInput struct {
	door.Waitable
	Body struct {
		Action      string      `json:"action,omitempty" doc:"Either action or actions"`
		Actions     []string    `json:"actions,omitempty" maxItems:"20" doc:"Done one after the other on each agent"`
		AgentIDs    []string    `json:"agent_ids,omitempty" maxItems:"10000" doc:"Exactly one of agent_ids, selector and filter"`
		Selector    string      `json:"selector,omitempty" maxLength:"2000" doc:"Label selector"`
		Filter      *bulkFilter `json:"filter,omitempty" doc:"As in the list of agents; an empty one means all"`
		MaxParallel int         `json:"max_parallel,omitempty" minimum:"1" maximum:"50" doc:"Default 5"`
		OnFailure   string      `json:"on_failure,omitempty" enum:"continue,stop,rollback" doc:"Default continue"`
		Reason      string      `json:"reason,omitempty" maxLength:"500"`
	}
}

type bulkAccepted struct {
	Location string `header:"Location"`
	Body     *BulkView
}

type bulkOnly struct{ Body *BulkView }

func (in *bulkInput) request() (bulk.Request, error) {
	b := in.Body
	r := bulk.Request{AgentIDs: b.AgentIDs, Selector: b.Selector, MaxParallel: b.MaxParallel, OnFailure: bulk.OnFailure(b.OnFailure), Reason: b.Reason}
	var err error
	if r.Actions, err = actionsOf(b.Action, b.Actions); err != nil {
		return r, err
	}
	chosen := 0
	for _, given := range []bool{len(b.AgentIDs) > 0, b.Selector != "", b.Filter != nil} {
		if given {
			chosen++
		}
	}
	if chosen != 1 {
		return r, door.Invalid("agent_ids", "give exactly one of agent_ids, selector and filter, and not an empty one")
	}
	if f := b.Filter; f != nil {
		all := AgentFilter{State: f.State, Health: f.Health, Domain: f.Domain, Runtime: f.Runtime, Template: f.Template,
			Customer: f.Customer, Selector: f.Selector, Search: f.Search}
		q, err := all.query()
		if err != nil {
			return r, inFilter(err)
		}
		q.Tiers = f.Tier
		r.Filter = &q
	}
	return r, nil
}

// inFilter says that the fields are those of the filter.
func inFilter(err error) error {
	f := fault.As(err)
	if f == nil {
		return err
	}
	for i := range f.Fields {
		f.Fields[i].Path = "filter." + f.Fields[i].Path
	}
	return f
}

func (s *server) startBulk(ctx context.Context, in *bulkInput) (*bulkAccepted, error) {
	request, err := in.request()
	if err != nil {
		return nil, err
	}
	return s.bulkSteered(ctx)(s.cfg.Bulks.Start(ctx, request))
}

// bulkSteered makes the answer to what starts or steers a bulk operation.
func (s *server) bulkSteered(ctx context.Context) func(*bulk.Bulk, error) (*bulkAccepted, error) {
	return func(b *bulk.Bulk, err error) (*bulkAccepted, error) {
		if err != nil {
			return nil, err
		}
		v, err := s.bulkView(ctx, b)
		if err != nil {
			return nil, err
		}
		return &bulkAccepted{Location: base + "/bulk/" + b.ID, Body: v}, nil
	}
}

// bulkView adds the operation. Its id is the bulk operation's.
func (s *server) bulkView(ctx context.Context, b *bulk.Bulk) (*BulkView, error) {
	op, err := s.cfg.Operations.Get(ctx, b.ID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	return &BulkView{Bulk: *b, Operation: op}, nil
}

// bulkAnswer gives the bulk operation as it is now.
func (s *server) bulkAnswer(ctx context.Context, id string) (*BulkView, error) {
	b, err := s.cfg.Bulks.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.bulkView(ctx, b)
}

func (s *server) listBulk(ctx context.Context, in *door.Paging) (*door.ListAnswer[*bulk.Bulk], error) {
	items, next, err := s.cfg.Bulks.List(ctx, in.Cursor, in.Limit)
	return &door.ListAnswer[*bulk.Bulk]{Body: door.ListOf(items, next)}, err
}

func (s *server) getBulk(ctx context.Context, in *steerInput) (*bulkOnly, error) {
	wait, err := door.WaitOf(in.Wait)
	if err != nil {
		return nil, err
	}
	v, err := s.bulkAnswer(ctx, in.ID)
	if err == nil && wait > 0 && !v.State.Final() {
		if _, err = s.Await(ctx, in.ID, wait); err == nil {
			v, err = s.bulkAnswer(ctx, in.ID)
		}
	}
	if err != nil {
		return nil, err
	}
	return &bulkOnly{Body: v}, nil
}

type reportInput struct {
	door.ByID
	Format string `query:"format" enum:"json,csv" default:"json"`
}

type reportAnswer struct {
	Type        string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        any
}

func (s *server) bulkReport(ctx context.Context, in *reportInput) (*reportAnswer, error) {
	v, err := s.bulkAnswer(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &reportAnswer{Type: "application/json", Disposition: `attachment; filename="bulk-report.` + in.Format + `"`, Body: v}
	if in.Format == "csv" {
		out.Type, out.Body = "text/csv; charset=utf-8", reportCSV(v)
	}
	return out, nil
}

func reportCSV(v *BulkView) []byte {
	var b strings.Builder
	w := csv.NewWriter(&b)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = audit.Cell(cells[i])
		}
		_ = w.Write(cells) // into memory: can't fail
	}
	row("agent_id", "state", "action", "started_at", "ended_at", "note", "problem", "why", "remedy", "operations")
	for _, it := range v.Items {
		var p operation.Problem
		if it.Problem != nil {
			p = *it.Problem
		}
		row(it.AgentID, string(it.State), string(it.Action), moment(it.StartedAt), moment(it.EndedAt), it.Note, p.What, p.Why, p.Remedy,
			strings.Join(it.Operations, " "))
	}
	w.Flush()
	return []byte(b.String())
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
