package segment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// followEvery is how often a following reader looks for new lines.
const followEvery = 100 * time.Millisecond

// errLimit ends a read that has given enough.
var errLimit = errors.New("limit reached")

// merger reads the output of all instances of an agent in order of time.
type merger struct {
	dir     string // holds a directory per instance
	q       fleet.LogQuery
	from    map[string]position // of the cursor
	sources []*source
	tail    []fleet.LogLine // kept back, while only the last lines are wanted
	given   int
	fn      func(fleet.LogLine) error
}

// Read calls fn for the lines that q selects. The directory dir holds one
// directory per instance; it need not be there. Invalid if an id or the cursor is
// none.
func Read(ctx context.Context, dir string, q fleet.LogQuery, fn func(fleet.LogLine) error) error {
	ids := []string{q.AgentID}
	if q.Instance != "" {
		ids = append(ids, q.Instance)
	}
	if err := upkeep.CheckIDs(ids...); err != nil {
		return err
	}
	return read(ctx, dir, q, fn)
}

func read(ctx context.Context, dir string, q fleet.LogQuery, fn func(fleet.LogLine) error) error {
	from, err := parseCursor(q.AgentID, q.After)
	if err != nil {
		return err
	}
	m := &merger{dir: dir, q: q, from: from, fn: fn}
	defer func() {
		for _, s := range m.sources {
			s.close()
		}
	}()
	m.refresh(true)
	if err := m.drain(ctx, q.Tail > 0); err != nil {
		return done(err)
	}
	if err := m.flushTail(); err != nil || !q.Follow {
		return done(err)
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.refresh(false)
		if err := m.drain(ctx, false); err != nil {
			return done(err)
		}
	}
}

func done(err error) error {
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// Last gives the texts of the last n lines in an instance's directory, without
// the supervisor's own, each cut to width bytes.
func Last(dir string, n, width int) []string {
	var lines []string
	q := fleet.LogQuery{Instance: filepath.Base(dir), Tail: 4 * n}
	_ = read(context.Background(), filepath.Dir(dir), q, func(l fleet.LogLine) error {
		if l.Stream != Portal {
			if len(l.Text) > width {
				l.Text = strings.ToValidUTF8(l.Text[:width], "") + "…"
			}
			lines = append(lines, l.Text)
		}
		return nil
	})
	return lines[max(0, len(lines)-n):]
}

// refresh finds instances that were not known yet.
func (m *merger) refresh(first bool) {
	names := []string{m.q.Instance}
	if m.q.Instance == "" {
		names = nil
		entries, _ := os.ReadDir(m.dir)
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
	}
	for _, name := range names {
		if slices.ContainsFunc(m.sources, func(s *source) bool { return s.instance == name }) {
			continue
		}
		s := &source{dir: filepath.Join(m.dir, name), instance: name, pos: m.from[name]}
		if first && !m.q.Since.IsZero() {
			s.since(m.q.Since)
		}
		if first && m.q.Tail > 0 {
			s.tail(m.q.Tail)
		}
		s.mark = mark(m.q.AgentID, name, s.pos)
		m.sources = append(m.sources, s)
	}
}

// drain gives all lines that are there, in order of time.
func (m *merger) drain(ctx context.Context, keep bool) error {
	var open []*source
	for _, s := range m.sources {
		if m.advance(s) {
			open = append(open, s)
		}
	}
	for len(open) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := slices.MinFunc(open, func(a, b *source) int {
			if c := a.next.At.Compare(b.next.At); c != 0 {
				return c
			}
			return strings.Compare(a.instance, b.instance)
		})
		l := *s.next
		s.next, s.mark = nil, mark(m.q.AgentID, s.instance, s.after)
		l.AgentID, l.Cursor = m.q.AgentID, m.cursor()
		if err := m.give(l, keep); err != nil {
			return err
		}
		if !m.advance(s) {
			open = slices.DeleteFunc(open, func(o *source) bool { return o == s })
		}
	}
	return nil
}

// advance reads the source's next line that is not too old.
func (m *merger) advance(s *source) bool {
	for s.next == nil {
		l, ok := s.read()
		if !ok {
			return false
		}
		if !l.At.Before(m.q.Since) {
			s.next, s.after = &l, s.pos
		}
	}
	return true
}

func (m *merger) give(l fleet.LogLine, keep bool) error {
	if keep {
		if m.tail = append(m.tail, l); len(m.tail) >= 2*m.q.Tail {
			m.tail = slices.Clone(m.tail[len(m.tail)-m.q.Tail:])
		}
		return nil
	}
	if err := m.fn(l); err != nil {
		return err
	}
	if m.given++; m.q.Limit > 0 && m.given >= m.q.Limit {
		return errLimit
	}
	return nil
}

func (m *merger) flushTail() error {
	lines := m.tail[max(0, len(m.tail)-m.q.Tail):]
	m.tail = nil
	for _, l := range lines {
		if err := m.give(l, false); err != nil {
			return err
		}
	}
	return nil
}

// cursor says how far each instance has been read. A time would not do: a line
// of one instance may become visible after a later one of another.
func (m *merger) cursor() string {
	if len(m.sources) == 1 {
		return m.sources[0].mark
	}
	marks := make([]string, len(m.sources))
	for i, s := range m.sources {
		marks[i] = s.mark
	}
	return strings.Join(marks, ",")
}

func mark(agentID, instance string, p position) string {
	short := strings.TrimPrefix(instance, agentID+"-")
	return short + "~" + strconv.Itoa(p.segment) + "~" + strconv.FormatInt(p.offset, 10)
}

func parseCursor(agentID, cursor string) (map[string]position, error) {
	from := map[string]position{}
	if cursor == "" {
		return from, nil
	}
	for part := range strings.SplitSeq(cursor, ",") {
		f := strings.Split(part, "~")
		if len(f) != 3 {
			return nil, badCursor()
		}
		segment, err1 := strconv.Atoi(f[1])
		offset, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil || segment < 0 || offset < 0 || f[0] == "" {
			return nil, badCursor()
		}
		// The short form is tried first by whoever looks an instance up.
		from[agentID+"-"+f[0]] = position{segment, offset}
		from[f[0]] = position{segment, offset}
	}
	return from, nil
}

func badCursor() error {
	return fault.New(fault.Invalid, "logs.cursor", "the log cursor cannot be read").
		Because("it is not one that this portal gave").Do("Leave it out to read from the oldest line that is kept.")
}
