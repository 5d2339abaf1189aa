package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// instances is fleet.InstanceStore.
type instances struct{ s *Store }

type instanceRow struct {
	bun.BaseModel `bun:"table:instances"`

	AgentID string `bun:"agent_id,pk"`
	ID      string `bun:"id,pk"`
	Place   int
	Data    string
}

// PutInstances replaces all instances of the agent.
func (st instances) PutInstances(ctx context.Context, agentID string, list []fleet.Instance) error {
	rows := make([]instanceRow, len(list))
	for i, in := range list {
		in.StartedAt, in.EndedAt = database.Moment(database.Micros(in.StartedAt)), database.Moment(database.Micros(in.EndedAt))
		data, err := database.Encode(in)
		if err != nil {
			return st.s.Explain(ctx, err)
		}
		rows[i] = instanceRow{AgentID: agentID, ID: in.ID, Place: in.Index, Data: data}
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		if _, err := db.NewDelete().Model((*instanceRow)(nil)).Where("agent_id = ?", agentID).Exec(ctx); err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		_, err := db.NewInsert().Model(&rows).Exec(ctx)
		return database.OfAgent(agentID, err)
	})
}

// Instances gives those of the agents, by agent and in order of their index.
func (st instances) Instances(ctx context.Context, agentIDs ...string) (map[string][]fleet.Instance, error) {
	var rows []instanceRow
	q := st.s.Handle(ctx).NewSelect().Model(&rows).Order("agent_id", "place", "id")
	if len(agentIDs) > 0 {
		q = q.Where("agent_id IN (?)", bun.List(agentIDs))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	out := map[string][]fleet.Instance{}
	for _, r := range rows {
		var in fleet.Instance
		if err := database.Decode(r.Data, &in); err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		out[r.AgentID] = append(out[r.AgentID], in)
	}
	return out, nil
}

type portRow struct {
	bun.BaseModel `bun:"table:ports"`

	Port    int `bun:"port,pk"`
	AgentID string
	Place   int
}

// ReservePort gives the agent's instance index its port. The search goes on
// after the port that was given last, so it is quick however many are taken,
// and a port that was given back is not given away again at once.
func (st instances) ReservePort(ctx context.Context, agentID string, index, from, to int, usable func(port int) bool) (int, error) {
	if from < 1 || to > 65535 || from > to {
		return 0, fault.New(fault.Invalid, "ports.bad_range", "The range of ports %d to %d is not valid", from, to).
			Do("Give a range within 1 to 65535.")
	}
	var port int
	err := st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		err := db.NewSelect().Model((*portRow)(nil)).Column("port").Where("agent_id = ? AND place = ?", agentID, index).Scan(ctx, &port)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if port, err = nextPort(ctx, db, from, to, usable); err != nil {
			return err
		}
		if _, err := db.NewInsert().Model(&portRow{Port: port, AgentID: agentID, Place: index}).Exec(ctx); err != nil {
			return database.OfAgent(agentID, err)
		}
		_, err = db.NewRaw("UPDATE port_cursor SET port = ? WHERE id = 1", port).Exec(ctx)
		return err
	})
	return port, err
}

// BeginPorts says after which port a new fleet begins to search; it changes
// nothing once a port was given. Two portals on one machine that both began at
// the start of the range would give the same port to two agents at once.
func (s *Store) BeginPorts(ctx context.Context, after int) error {
	return s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewRaw("UPDATE port_cursor SET port = ? WHERE id = 1 AND port = 0", after).Exec(ctx)
		return err
	})
}

// nextPort finds the first free and usable port after the one given last, going
// round the range once.
func nextPort(ctx context.Context, db bun.IDB, from, to int, usable func(port int) bool) (int, error) {
	var last int
	if err := db.NewRaw("SELECT port FROM port_cursor WHERE id = 1").Scan(ctx, &last); err != nil {
		return 0, err
	}
	start := last + 1
	if start < from || start > to {
		start = from
	}
	for _, span := range [][2]int{{start, to}, {from, start - 1}} {
		port, err := freePort(ctx, db, span[0], span[1], usable)
		if err != nil || port != 0 {
			return port, err
		}
	}
	return 0, fault.New(fault.Unavailable, "ports.used_up", "No port is free between %d and %d", from, to).
		Do("Configure a larger range of ports, or stop agents that are not needed.")
}

// freePort finds the first free and usable port of the span, or 0.
func freePort(ctx context.Context, db bun.IDB, from, to int, usable func(port int) bool) (int, error) {
	const batch = 256
	for ; from <= to; from += batch {
		end := min(from+batch-1, to)
		var taken []int
		err := db.NewSelect().Model((*portRow)(nil)).Column("port").Where("port BETWEEN ? AND ?", from, end).Order("port").Scan(ctx, &taken)
		if err != nil {
			return 0, err
		}
		for port := from; port <= end; port++ {
			if _, used := slices.BinarySearch(taken, port); !used && usable(port) {
				return port, nil
			}
		}
	}
	return 0, nil
}

// ReleasePort gives back one reservation.
func (st instances) ReleasePort(ctx context.Context, agentID string, index int) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewDelete().Model((*portRow)(nil)).Where("agent_id = ? AND place = ?", agentID, index).Exec(ctx)
		return err
	})
}

// ReleasePorts gives back all of the agent's.
func (st instances) ReleasePorts(ctx context.Context, agentID string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewDelete().Model((*portRow)(nil)).Where("agent_id = ?", agentID).Exec(ctx)
		return err
	})
}

// Ports lists all reservations: port to agent id.
func (st instances) Ports(ctx context.Context) (map[int]string, error) {
	var rows []portRow
	if err := st.s.Handle(ctx).NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	out := make(map[int]string, len(rows))
	for _, r := range rows {
		out[r.Port] = r.AgentID
	}
	return out, nil
}
