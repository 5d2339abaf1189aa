package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/store/database"
	"github.com/waooaw/platform-portal/internal/txn"
)

// events is event.Log.
type events struct{ s *Store }

type eventRow struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	Seq     int64 `bun:"seq,pk"`
	Type    string
	AgentID string
	Rooms   string
	Actor   string
	At      int64
	Data    string
}

type roomRow struct {
	bun.BaseModel `bun:"table:event_rooms"`

	Room string `bun:"room,pk"`
	Seq  int64  `bun:"seq,pk"`
}

// Append stores the events in the transaction in ctx and numbers them.
func (st events) Append(ctx context.Context, list ...event.Event) error {
	if len(list) == 0 {
		return nil
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		var head int64
		err := db.NewRaw("UPDATE event_head SET seq = seq + ? WHERE id = 1 RETURNING seq", len(list)).Scan(ctx, &head)
		if err != nil {
			return err
		}
		rows, rooms := make([]eventRow, len(list)), []roomRow{}
		for i, e := range list {
			seq := head - int64(len(list)-1-i)
			if rows[i], err = st.row(e, seq); err != nil {
				return err
			}
			for _, room := range slices.Compact(slices.Sorted(slices.Values(e.Rooms))) {
				rooms = append(rooms, roomRow{Room: room, Seq: seq})
			}
		}
		if _, err := db.NewInsert().Model(&rows).Exec(ctx); err != nil {
			return err
		}
		if len(rooms) > 0 {
			if _, err := db.NewInsert().Model(&rooms).Exec(ctx); err != nil {
				return err
			}
		}
		txn.AfterCommit(ctx, func() { st.s.watch.grown(head) })
		return st.s.Announce(ctx, db, head)
	})
}

func (st events) row(e event.Event, seq int64) (eventRow, error) {
	if e.At.IsZero() {
		e.At = st.s.Now()
	}
	rooms := ""
	if len(e.Rooms) > 0 {
		var err error
		if rooms, err = database.Encode(e.Rooms); err != nil {
			return eventRow{}, err
		}
	}
	return eventRow{Seq: seq, Type: string(e.Type), AgentID: e.AgentID, Rooms: rooms, Actor: e.Actor, At: database.Micros(e.At), Data: string(e.Data)}, nil
}

func (r eventRow) event() (event.Event, error) {
	e := event.Event{Seq: r.Seq, Type: event.Type(r.Type), AgentID: r.AgentID, Actor: r.Actor, At: database.Moment(r.At), Data: database.Raw(r.Data)}
	if r.Rooms == "" {
		return e, nil
	}
	return e, database.Decode(r.Rooms, &e.Rooms)
}

// Find gives the selected events.
func (st events) Find(ctx context.Context, q event.Query) ([]event.Event, error) {
	limit := database.Bounded(q.Limit)
	var rows []eventRow
	if len(q.Rooms) == 0 {
		if err := st.selection(ctx, &rows, q, limit).Scan(ctx); err != nil {
			return nil, st.s.Explain(ctx, err)
		}
	}
	// Room by room, each along its index, is quick wherever in the stream the
	// rooms' events are.
	for _, room := range slices.Compact(slices.Sorted(slices.Values(q.Rooms))) {
		var some []eventRow
		sel := st.selection(ctx, &some, q, limit).Join("JOIN event_rooms AS r ON r.seq = e.seq").Where("r.room = ?", room)
		if err := sel.Scan(ctx); err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		rows = append(rows, some...)
	}
	if len(q.Rooms) > 1 {
		slices.SortFunc(rows, func(a, b eventRow) int {
			if q.Newest {
				a, b = b, a
			}
			return cmp.Compare(a.Seq, b.Seq)
		})
		rows = slices.CompactFunc(rows, func(a, b eventRow) bool { return a.Seq == b.Seq })
		rows = rows[:min(limit, len(rows))]
	}
	list := make([]event.Event, len(rows))
	for i, r := range rows {
		e, err := r.event()
		if err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		list[i] = e
	}
	return list, nil
}

// selection has every condition of the query but the rooms.
func (st events) selection(ctx context.Context, rows *[]eventRow, q event.Query, limit int) *bun.SelectQuery {
	column, direction := "e.seq", bun.Safe("ASC")
	if len(q.Rooms) > 0 {
		column = "r.seq"
	}
	if q.Newest {
		direction = "DESC"
	}
	sel := st.s.Handle(ctx).NewSelect().Model(rows).OrderExpr("? ?", bun.Ident(column), direction).Limit(int64(limit))
	if q.After > 0 {
		sel.Where("? > ?", bun.Ident(column), q.After)
	}
	if q.Before > 0 {
		sel.Where("? < ?", bun.Ident(column), q.Before)
	}
	if len(q.Types) > 0 {
		st.ofTypes(sel, q.Types)
	}
	if len(q.AgentID) > 0 {
		sel.Where("e.agent_id IN (?)", bun.List(q.AgentID))
	}
	if len(q.Actors) > 0 {
		matchAny(sel, "e.actor", q.Actors...)
	}
	if !q.Since.IsZero() {
		sel.Where("e.at >= ?", database.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		sel.Where("e.at < ?", database.Micros(q.Until))
	}
	if q.Open {
		sel.Where("e.rooms <> ?", confidential)
	}
	if q.Search != "" {
		contains(sel, st.s.Find(), q.Search, "e.type", "e.agent_id", "e.actor", "e.data")
	}
	return sel
}

// confidential are the rooms, as they are stored, of what only administrators
// may see.
const confidential = `["` + event.RoomAudit + `"]`

// ofTypes takes events of any of the types. A list of whole names can use the
// index; patterns are compared one by one.
func (st events) ofTypes(sel *bun.SelectQuery, types []event.Type) {
	names := make([]string, len(types))
	whole := true
	for i, t := range types {
		names[i] = string(t)
		whole = whole && !strings.HasSuffix(names[i], "*")
	}
	if whole {
		sel.Where("e.type IN (?)", bun.List(names))
		return
	}
	matchAny(sel, "e.type", names...)
}

// Bounds gives the smallest and the greatest number that are stored.
func (st events) Bounds(ctx context.Context) (oldest, newest int64, err error) {
	err = st.s.Handle(ctx).NewRaw("SELECT coalesce((SELECT min(seq) FROM events), 0), coalesce((SELECT max(seq) FROM events), 0)").
		Scan(ctx, &oldest, &newest)
	return oldest, newest, st.s.Explain(ctx, err)
}

// Watch gives a channel that receives after commits which appended events, also
// those of other processes.
func (st events) Watch() (<-chan struct{}, func()) { return st.s.watch.add() }

// Prune removes events from the old end of the stream: those before the first
// one that is not older than before, except the newest keep ones.
func (st events) Prune(ctx context.Context, before time.Time, keep int) (int, error) {
	_, newest, err := st.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	end := newest - int64(max(keep, 0)) + 1 // events from here on stay
	var young *int64
	err = st.s.Handle(ctx).NewSelect().Model((*eventRow)(nil)).ColumnExpr("min(seq)").Where("at >= ?", database.Micros(before)).Scan(ctx, &young)
	if err != nil {
		return 0, st.s.Explain(ctx, err)
	}
	if young != nil {
		end = min(end, *young)
	}
	return st.s.Batches(ctx, func(ctx context.Context, db bun.IDB) (int64, error) {
		return database.Affected(db.NewRaw("DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq < ? ORDER BY seq LIMIT ?)", end, database.PruneBatch).Exec(ctx))
	})
}

// watch wakes those who wait for events. It begins to listen for the events of
// other processes when the first one comes.
type watch struct {
	s    *Store
	loop lifecycle.Loop

	mu    sync.Mutex
	known int64 // greatest number of which the watchers were told
	wakes map[chan struct{}]struct{}
	runs  bool
}

func newWatch(s *Store) *watch {
	return &watch{s: s, wakes: map[chan struct{}]struct{}{}}
}

// add gives a channel that receives when events were committed.
func (w *watch) add() (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakes[wake] = struct{}{}
	if !w.runs {
		w.runs = w.loop.Go(func(ctx context.Context) { w.s.Listen(ctx, func() { w.look(ctx) }) }) == nil
	}
	return wake, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.wakes, wake)
	}
}

// grown tells the watchers that the stream has grown up to seq.
func (w *watch) grown(seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.known {
		return
	}
	w.known = seq
	for wake := range w.wakes {
		select {
		case wake <- struct{}{}:
		default: // it has not yet taken the wake before
		}
	}
}

// look finds out whether another process appended events.
func (w *watch) look(ctx context.Context) {
	w.mu.Lock()
	idle := len(w.wakes) == 0
	w.mu.Unlock()
	if idle {
		return
	}
	var seq int64
	err := w.s.Handle(ctx).NewRaw("SELECT seq FROM event_head WHERE id = 1").Scan(ctx, &seq)
	if err != nil {
		if ctx.Err() == nil {
			w.s.Log().WarnContext(ctx, "can't look for new events", "error", err)
		}
		return
	}
	w.grown(seq)
}

// close ends the listening and waits for it.
func (w *watch) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.loop.Halt(ctx); err != nil {
		w.s.Log().Warn("listening for events did not end in time", "error", err)
	}
}
