package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// agents is agent.Store.
type agents struct{ s *Store }

// agentRow is what lists filter and sort by; the spec is in specRow.
type agentRow struct {
	bun.BaseModel `bun:"table:agents,alias:a"`

	ID               string `bun:"id,pk"`
	IDKey            string
	Name             string
	NameKey          string
	Tier             int
	Domain           string
	Runtime          string
	Template         string
	CustomerID       string
	Revision         int
	DeployedRevision int
	State            string
	Health           string
	HealthReason     string
	LockVersion      int64
	ActiveOperation  string
	Failure          string
	CreatedAt        int64
	UpdatedAt        int64
	Words            string

	Spec string `bun:",scanonly"` // of specRow
}

var (
	// unread are columns that are only looked for: the spec has what is in them.
	unread = []string{"name", "domain", "runtime", "template", "customer_id", "words"}
	// ofSpec are the columns that change with the spec alone.
	ofSpec = []string{"name", "name_key", "tier", "domain", "runtime", "template", "customer_id", "words"}
)

type specRow struct {
	bun.BaseModel `bun:"table:agent_specs"`

	AgentID string `bun:"agent_id,pk"`
	Spec    string
}

type labelRow struct {
	bun.BaseModel `bun:"table:agent_labels"`

	AgentID string `bun:"agent_id,pk"`
	Name    string `bun:"name,pk"`
	Value   string
}

type dependencyRow struct {
	bun.BaseModel `bun:"table:agent_dependencies"`

	AgentID string `bun:"agent_id,pk"`
	Place   int    `bun:"place,pk"`
	Needs   string
}

func rowOf(a *agent.Agent) (agentRow, error) {
	failure, err := database.EncodeOptional(a.Failure)
	words := strings.Join([]string{a.ID, a.Spec.Name, a.Spec.DisplayName, a.Spec.Description}, "\n")
	return agentRow{
		ID: a.ID, IDKey: database.Fold(a.ID), Name: a.Spec.Name, NameKey: database.Fold(a.Spec.Name),
		Tier: a.Spec.Tier, Domain: a.Spec.Domain, Runtime: a.Spec.Runtime, Template: a.Spec.Template,
		CustomerID: a.Spec.CustomerID, Revision: a.Revision, DeployedRevision: a.DeployedRevision,
		State: string(a.State), Health: string(a.Health), HealthReason: a.HealthReason,
		LockVersion: a.LockVersion, ActiveOperation: a.ActiveOperation, Failure: failure,
		CreatedAt: database.Micros(a.CreatedAt), UpdatedAt: database.Micros(a.UpdatedAt), Words: database.Fold(words),
	}, err
}

func (r agentRow) agent(known *specs) (*agent.Agent, error) {
	a := &agent.Agent{
		ID: r.ID, Revision: r.Revision, DeployedRevision: r.DeployedRevision,
		State: agent.State(r.State), Health: agent.Health(r.Health), HealthReason: r.HealthReason,
		LockVersion: r.LockVersion, ActiveOperation: r.ActiveOperation,
		CreatedAt: database.Moment(r.CreatedAt), UpdatedAt: database.Moment(r.UpdatedAt),
	}
	var err error
	if a.Failure, err = database.DecodeOptional[agent.Failure](r.Failure); err != nil {
		return nil, err
	}
	a.Spec, err = known.decode(r.ID, r.Spec)
	return a, err
}

func agentTaken(what, value string) error {
	return fault.New(fault.Conflict, "agent."+what+"_taken", "There is an agent with the %s %q already", what, database.Clean(value)).
		Do("Choose another %s, or change the agent that has it.", what)
}

// Create stores a new agent with its first revision.
func (st agents) Create(ctx context.Context, a *agent.Agent, rev agent.Revision) error {
	row, err := rowOf(a)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	row.LockVersion = 1
	if rev.AgentID == "" {
		rev.AgentID = a.ID
	}
	err = st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err != nil {
			return err
		}
		if stored == 0 {
			return whichTaken(ctx, db, row)
		}
		spec, err := database.Encode(a.Spec)
		if err != nil {
			return err
		}
		if _, err := db.NewInsert().Model(&specRow{AgentID: a.ID, Spec: spec}).Exec(ctx); err != nil {
			return err
		}
		if err := putIndex(ctx, db, a); err != nil {
			return err
		}
		return addRevisions(ctx, db, []agent.Revision{rev})
	})
	if err == nil {
		a.LockVersion = 1
	}
	return err
}

func whichTaken(ctx context.Context, db bun.IDB, row agentRow) error {
	n, err := db.NewSelect().Model((*agentRow)(nil)).Where("id_key = ?", row.IDKey).Count(ctx)
	switch {
	case err != nil:
		return err
	case n > 0:
		return agentTaken("id", row.ID)
	}
	return agentTaken("name", row.Name)
}

// putIndex stores the labels and dependencies of a spec.
func putIndex(ctx context.Context, db bun.IDB, a *agent.Agent) error {
	for _, old := range []any{(*labelRow)(nil), (*dependencyRow)(nil)} {
		if _, err := db.NewDelete().Model(old).Where("agent_id = ?", a.ID).Exec(ctx); err != nil {
			return err
		}
	}
	labels := make([]labelRow, 0, len(a.Spec.Labels))
	for name, value := range a.Spec.Labels {
		labels = append(labels, labelRow{AgentID: a.ID, Name: name, Value: value})
	}
	if len(labels) > 0 {
		if _, err := db.NewInsert().Model(&labels).Exec(ctx); err != nil {
			return err
		}
	}
	needs := make([]dependencyRow, 0, len(a.Spec.Dependencies))
	for i, name := range a.Spec.Dependencies {
		needs = append(needs, dependencyRow{AgentID: a.ID, Place: i, Needs: name})
	}
	if len(needs) > 0 {
		if _, err := db.NewInsert().Model(&needs).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Get finds by id, or by name.
func (st agents) Get(ctx context.Context, id string) (*agent.Agent, error) {
	var row agentRow
	key := database.Fold(id)
	err := st.s.Handle(ctx).NewSelect().Model(&row).ExcludeColumn(unread...).
		ColumnExpr("s.spec").Join("JOIN agent_specs AS s ON s.agent_id = a.id").
		Where("id_key = ? OR name_key = ?", key, key).
		OrderExpr("CASE WHEN id_key = ? THEN 0 ELSE 1 END", key).Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, database.NoAgent(id)
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	a, err := row.agent(&st.s.specs)
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	return a, nil
}

// withSpecs makes agents of rows. One that was deleted since is left out.
func (st agents) withSpecs(ctx context.Context, db bun.IDB, rows []agentRow) ([]*agent.Agent, error) {
	list := make([]*agent.Agent, 0, len(rows))
	if len(rows) == 0 {
		return list, nil
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	found := make([]specRow, 0, len(rows))
	if err := db.NewSelect().Model(&found).Where("agent_id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	specs := make(map[string]string, len(found))
	for _, f := range found {
		specs[f.AgentID] = f.Spec
	}
	for _, r := range rows {
		var ok bool
		if r.Spec, ok = specs[r.ID]; !ok {
			continue
		}
		a, err := r.agent(&st.s.specs)
		if err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		list = append(list, a)
	}
	return list, nil
}

// Save stores a's fields if nobody has stored others since it was read.
func (st agents) Save(ctx context.Context, a *agent.Agent) error {
	row, err := rowOf(a)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	spec, err := database.Encode(a.Spec)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	row.LockVersion++
	err = st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		changed, err := database.Affected(db.NewUpdate().Model((*specRow)(nil)).Set("spec = ?", spec).
			Where("agent_id = ? AND spec <> ?", a.ID, spec).
			Where("EXISTS (SELECT 1 FROM agents AS v WHERE v.id = ? AND v.lock_version = ?)", a.ID, a.LockVersion).Exec(ctx))
		if err != nil {
			return err
		}
		update := db.NewUpdate().Model(&row).ExcludeColumn("id", "id_key", "created_at").
			Where("id = ? AND lock_version = ?", a.ID, a.LockVersion).
			Where("NOT EXISTS (SELECT 1 FROM agents AS o WHERE o.name_key = ? AND o.id <> ?)", row.NameKey, a.ID)
		if changed == 0 { // SQLite writes every index that a statement names a column of
			update.ExcludeColumn(ofSpec...)
		}
		stored, err := database.Affected(update.Exec(ctx))
		if err != nil {
			return err
		}
		if stored == 0 {
			return whyNotSaved(ctx, db, a)
		}
		if changed == 0 {
			return nil
		}
		return putIndex(ctx, db, a)
	})
	if err == nil {
		a.LockVersion++
	}
	return err
}

func whyNotSaved(ctx context.Context, db bun.IDB, a *agent.Agent) error {
	var row agentRow
	err := db.NewSelect().Model(&row).Where("id = ?", a.ID).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return database.NoAgent(a.ID)
	case err != nil:
		return err
	case row.LockVersion != a.LockVersion:
		return fault.New(fault.Stale, "agent.stale", "The agent %q was changed by somebody else meanwhile", a.ID).
			Because("its version is %d by now, not %d", row.LockVersion, a.LockVersion).
			Do("Read it again, and repeat the change if it still makes sense.").
			With("resource_version", row.LockVersion)
	}
	return agentTaken("name", a.Spec.Name)
}

// SaveHealth stores health and reason alone.
func (st agents) SaveHealth(ctx context.Context, id string, h agent.Health, reason string, at time.Time) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model((*agentRow)(nil)).
			Set("health = ?", string(h)).Set("health_reason = ?", reason).Set("updated_at = ?", database.Micros(at)).
			Where("id = ?", id).Exec(ctx))
		if err == nil && stored == 0 {
			return database.NoAgent(id)
		}
		return err
	})
}

// Delete removes an agent and all that hangs on it.
func (st agents) Delete(ctx context.Context, id string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		gone, err := database.Affected(db.NewDelete().Model((*agentRow)(nil)).Where("id = ?", id).Exec(ctx))
		if err == nil && gone == 0 {
			return database.NoAgent(id)
		}
		return err
	})
}
