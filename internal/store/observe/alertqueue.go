package observe

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// receivers is alert.ReceiverStore.
type receivers struct{ db *database.DB }

type receiverRow struct {
	bun.BaseModel `bun:"table:alert_receivers"`

	ID   string `bun:"id,pk"`
	Name string
	Data string
}

func noReceiver() error {
	return fault.New(fault.NotFound, "alert.no_receiver", "There is no such receiver")
}

// Receiver gives one.
func (st receivers) Receiver(ctx context.Context, id string) (*alert.Receiver, error) {
	var row receiverRow
	if err := one(ctx, st.db, st.db.Handle(ctx).NewSelect().Model(&row).Where("id = ?", id), noReceiver()); err != nil {
		return nil, err
	}
	r := new(alert.Receiver)
	return r, st.db.Explain(ctx, database.Decode(row.Data, r))
}

// Receivers lists by name.
func (st receivers) Receivers(ctx context.Context) ([]alert.Receiver, error) {
	var rows []receiverRow
	if err := st.db.Handle(ctx).NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]alert.Receiver, len(rows))
	for i, r := range rows {
		if err := database.Decode(r.Data, &out[i]); err != nil {
			return nil, st.db.Explain(ctx, err)
		}
	}
	return out, nil
}

// SaveReceiver stores a receiver in the place of the one with its id.
func (st receivers) SaveReceiver(ctx context.Context, r alert.Receiver) error {
	data, err := database.Encode(r)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	return st.db.Change(ctx, func(ctx context.Context, tx bun.IDB) error {
		// Looked up, for PostgreSQL gives up the transaction at a violation.
		taken, err := tx.NewSelect().Model((*receiverRow)(nil)).Where("name = ? AND id <> ?", r.Name, r.ID).Exists(ctx)
		if err != nil {
			return err
		}
		if taken {
			return fault.New(fault.Conflict, "alert.receiver_taken", "There is a receiver %q already", database.Clean(r.Name)).Do("Choose another name.")
		}
		row := receiverRow{ID: r.ID, Name: r.Name, Data: data}
		_, err = tx.NewInsert().Model(&row).On("CONFLICT (id) DO UPDATE").Set("name = EXCLUDED.name").Set("data = EXCLUDED.data").Exec(ctx)
		return err
	})
}

// DeleteReceiver removes one with what waits for it.
func (st receivers) DeleteReceiver(ctx context.Context, id string) error {
	return take(ctx, st.db, noReceiver(), func(tx bun.IDB) *bun.DeleteQuery {
		return tx.NewDelete().Model((*receiverRow)(nil)).Where("id = ?", id)
	})
}

// alertQueue is alert.QueueStore.
type alertQueue struct{ db *database.DB }

type dispatchRow struct {
	bun.BaseModel `bun:"table:alert_dispatches"`

	ReceiverID string `bun:"receiver_id,pk"`
	GroupKey   string `bun:"group_key,pk"`
	DueAt      int64
	Data       string
}

// told is what a dispatch keeps beside its keys.
type told struct {
	Labels     map[string]string `json:"labels"`
	LastSentAt *time.Time        `json:"last_sent_at,omitempty"`
	Told       []string          `json:"told,omitempty"`
}

func (r dispatchRow) dispatch() (alert.Dispatch, error) {
	var t told
	err := database.Decode(r.Data, &t)
	return alert.Dispatch{
		ReceiverID: r.ReceiverID, GroupKey: r.GroupKey, DueAt: database.Moment(r.DueAt), Labels: t.Labels, LastSentAt: t.LastSentAt, Told: t.Told,
	}, err
}

func noDispatch() error {
	return fault.New(fault.NotFound, "alert.no_dispatch", "Nothing is known of that group")
}

// Dispatch gives one.
func (st alertQueue) Dispatch(ctx context.Context, receiverID, groupKey string) (*alert.Dispatch, error) {
	var row dispatchRow
	q := st.db.Handle(ctx).NewSelect().Model(&row).Where("receiver_id = ? AND group_key = ?", receiverID, groupKey)
	if err := one(ctx, st.db, q, noDispatch()); err != nil {
		return nil, err
	}
	d, err := row.dispatch()
	return &d, st.db.Explain(ctx, err)
}

// DueDispatches lists those whose time has come, the longest due first.
func (st alertQueue) DueDispatches(ctx context.Context, now time.Time, limit int) ([]alert.Dispatch, error) {
	var rows []dispatchRow
	err := st.db.Handle(ctx).NewSelect().Model(&rows).Where("due_at <= ?", database.Micros(now)).
		Order("due_at", "receiver_id", "group_key").Limit(int64(database.Bounded(limit))).Scan(ctx)
	if err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]alert.Dispatch, len(rows))
	for i, r := range rows {
		if out[i], err = r.dispatch(); err != nil {
			return nil, st.db.Explain(ctx, err)
		}
	}
	return out, nil
}

// SaveDispatch stores one in the place of the one with its keys.
func (st alertQueue) SaveDispatch(ctx context.Context, d alert.Dispatch) error {
	data, err := database.Encode(told{Labels: d.Labels, LastSentAt: d.LastSentAt, Told: d.Told})
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	row := dispatchRow{ReceiverID: d.ReceiverID, GroupKey: d.GroupKey, DueAt: database.Micros(d.DueAt), Data: data}
	return orphaned(put(ctx, st.db, &row, "receiver_id, group_key", "due_at", "data"))
}

// orphaned turns the error about a receiver that is gone into the fault.
func orphaned(err error) error {
	if database.IsOrphan(err) {
		return noReceiver()
	}
	return err
}

// DeleteDispatch removes one; no error if there is none.
func (st alertQueue) DeleteDispatch(ctx context.Context, receiverID, groupKey string) error {
	return st.db.Change(ctx, func(ctx context.Context, tx bun.IDB) error {
		_, err := tx.NewDelete().Model((*dispatchRow)(nil)).Where("receiver_id = ? AND group_key = ?", receiverID, groupKey).Exec(ctx)
		return err
	})
}

type deliveryRow struct {
	bun.BaseModel `bun:"table:alert_deliveries"`

	ID         string `bun:"id,pk"`
	ReceiverID string
	State      string
	CreatedAt  int64
	NextAt     int64
	Data       string
	Message    string
}

func (r deliveryRow) delivery() (d alert.Delivery, err error) {
	if err := database.Decode(r.Data, &d); err != nil {
		return d, err
	}
	if r.Message != "" {
		err = database.Decode(r.Message, &d.Message)
	}
	return d, err
}

// SaveDelivery stores one in the place of the one with its id.
func (st alertQueue) SaveDelivery(ctx context.Context, d alert.Delivery) error {
	data, err := database.Encode(d)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	message, err := database.Encode(d.Message)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	row := deliveryRow{
		ID: d.ID, ReceiverID: d.ReceiverID, State: d.State, CreatedAt: database.Micros(d.CreatedAt), NextAt: database.Micros(d.NextAt), Data: data, Message: message,
	}
	return orphaned(put(ctx, st.db, &row, "id", "state", "next_at", "data"))
}

// DueDeliveries gives the queued ones whose time has come, the oldest of each
// receiver.
func (st alertQueue) DueDeliveries(ctx context.Context, now time.Time, limit int) ([]alert.Delivery, error) {
	var rows []deliveryRow
	err := st.db.Handle(ctx).NewSelect().Model(&rows).Where("state = ? AND next_at <= ?", alert.Queued, database.Micros(now)).
		Where("id = (SELECT d.id FROM alert_deliveries AS d WHERE d.receiver_id = delivery_row.receiver_id AND d.state = ? AND d.next_at <= ? ORDER BY d.created_at, d.id LIMIT 1)",
			alert.Queued, database.Micros(now)).
		Order("created_at", "id").Limit(int64(database.Bounded(limit))).Scan(ctx)
	return st.deliveries(ctx, rows, err)
}

func (st alertQueue) deliveries(ctx context.Context, rows []deliveryRow, err error) ([]alert.Delivery, error) {
	out := make([]alert.Delivery, len(rows))
	for i := 0; err == nil && i < len(rows); i++ {
		out[i], err = rows[i].delivery()
	}
	if err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	return out, nil
}

// Deliveries lists newest first, without their messages.
func (st alertQueue) Deliveries(ctx context.Context, receiverID, after string, limit int) ([]alert.Delivery, string, error) {
	from, err := database.ParseCursor("deliveries/"+receiverID, after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []deliveryRow
	q := st.db.Handle(ctx).NewSelect().Model(&rows).Column("id", "receiver_id", "state", "created_at", "next_at", "data").Limit(int64(limit) + 1)
	if receiverID != "" {
		q = q.Where("receiver_id = ?", receiverID)
	}
	if err := database.NewestFirst(q, from, "created_at").Scan(ctx); err != nil {
		return nil, "", st.db.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r deliveryRow) database.Cursor {
		return database.Cursor{List: "deliveries/" + receiverID, Num: r.CreatedAt, ID: r.ID}
	})
	list, err := st.deliveries(ctx, rows, nil)
	return list, next, err
}

// PruneDeliveries removes those made before that are not queued any more.
func (st alertQueue) PruneDeliveries(ctx context.Context, before time.Time) (int, error) {
	return st.db.Batches(ctx, func(ctx context.Context, tx bun.IDB) (int64, error) {
		return database.Affected(tx.NewRaw("DELETE FROM alert_deliveries WHERE id IN (SELECT id FROM alert_deliveries WHERE created_at < ? AND state <> ? LIMIT ?)",
			database.Micros(before), alert.Queued, database.PruneBatch).Exec(ctx))
	})
}
