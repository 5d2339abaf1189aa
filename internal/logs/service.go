package logs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Limits of what one question may ask for and cost.
const (
	MaxPage     = 1_000
	MaxDownload = 100_000 // entries of a file
	MaxAgents   = 200     // that are named
	MaxSpan     = 366 * 24 * time.Hour
	MaxBuckets  = 300
	maxSearch   = 1_000 // characters
	maxFilter   = 4_000
	queryTime   = 10 * time.Second
	fileTime    = 2 * time.Minute
	queriesMost = 4 // at once
	waitMost    = 5 * time.Second
	defaultSpan = time.Hour
)

// Service answers questions about what agents wrote.
type Service struct {
	Store     Store
	Collector *Collector // nil: nothing is taken in, and there is no live tail
	Now       func() time.Time

	slots chan struct{}
}

// NewService makes a service.
func NewService(s Store, c *Collector, now func() time.Time) *Service {
	return &Service{Store: s, Collector: c, Now: now, slots: make(chan struct{}, queriesMost)}
}

// Page is a part of what was found.
type Page struct {
	Entries []Entry
	Next    string // cursor of the next page; "" on the last
	Since   time.Time
	Until   time.Time
}

// place is where a page ended: at a time, after so many entries of that time.
type place struct {
	at   time.Time
	skip int
}

func (p place) String() string {
	return strconv.FormatInt(p.at.UnixNano(), 36) + "-" + strconv.Itoa(p.skip)
}

func parsePlace(text string) (place, error) {
	if text == "" {
		return place{}, nil
	}
	at, skip, ok := strings.Cut(text, "-")
	n, err1 := strconv.ParseInt(at, 36, 64)
	k, err2 := strconv.Atoi(skip)
	if !ok || err1 != nil || err2 != nil || n <= 0 || k < 0 || k > MaxDownload {
		return place{}, fault.New(fault.Invalid, "logs.cursor", "The cursor can't be read").
			At(fault.Field{Path: "query.cursor", Message: "is not one that this portal gave"})
	}
	return place{time.Unix(0, n).UTC(), k}, nil
}

// check completes a query, and names everything that is wrong with it.
func (s *Service) check(q *Query) error {
	now := s.Now()
	if q.Until.IsZero() {
		q.Until = now.Add(time.Minute) // clocks that were set back
	}
	if q.Since.IsZero() {
		q.Since = q.Until.Add(-defaultSpan)
	}
	f := fault.New(fault.Invalid, "logs.query", "The search can't be made")
	wrong := func(path, format string, args ...any) {
		f.At(fault.Field{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	switch span := q.Until.Sub(q.Since); {
	case span <= 0:
		wrong("query.since", "must be before until")
	case span > MaxSpan:
		wrong("query.since", "must be at most %d days before until", int(MaxSpan.Hours()/24))
	}
	if q.Since.Year() < 1971 || q.Until.Year() > 2200 {
		wrong("query.until", "must be from 1971 to 2200")
	}
	if len(q.Text) > maxSearch {
		wrong("query.q", "must be at most %d characters", maxSearch)
	}
	if len(q.Filter) > maxFilter {
		wrong("query.filter", "must be at most %d characters", maxFilter)
	}
	if len(q.Agents) > MaxAgents {
		wrong("query.agent", "at most %d agents can be named", MaxAgents)
	}
	if q.Level != "" && !slices.Contains(Levels, q.Level) {
		wrong("query.level", "must be debug, info, warn or error")
	}
	if len(f.Fields) > 0 {
		return f
	}
	_, err := s.Store.Matcher(*q) // names the place of a mistake in the filter
	return err
}

// slot bounds how many questions the store answers at once, and how long each
// may take.
func (s *Service) slot(ctx context.Context, most time.Duration) (context.Context, func(), error) {
	wait := time.NewTimer(waitMost)
	defer wait.Stop()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-wait.C:
		return nil, nil, fault.New(fault.RateLimited, "logs.busy", "Too many searches run").Do("Try again in a moment.")
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	return ctx, func() { cancel(); <-s.slots }, nil
}

// slow explains a question that took too long.
func slow(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.TooLarge, "logs.too_slow", "The search took too long and was ended").
			Because("it has to look at too many lines").Do("Name agents, choose a shorter time, or search for whole words.").Wrap(err)
	}
	return err
}

// Find gives a page of entries.
func (s *Service) Find(ctx context.Context, q Query, cursor string) (Page, error) {
	if err := s.check(&q); err != nil {
		return Page{}, err
	}
	p, err := parsePlace(cursor)
	if err != nil {
		return Page{}, err
	}
	q.Limit = min(max(q.Limit, 1), MaxPage)
	ctx, done, err := s.slot(ctx, queryTime)
	if err != nil {
		return Page{}, err
	}
	defer done()
	page, err := s.page(ctx, q, p)
	return page, slow(ctx, err)
}

// page reads the entries from a place on. One more than is wanted tells whether
// there is a next page.
func (s *Service) page(ctx context.Context, q Query, p place) (Page, error) {
	out := Page{Since: q.Since, Until: q.Until}
	limit := q.Limit
	q.Limit++
	if !p.at.IsZero() {
		q.Skip = p.skip
		if q.Oldest {
			q.Since = latest(q.Since, p.at)
		} else {
			q.Until = earliest(q.Until, p.at.Add(1))
		}
	}
	if !q.Since.Before(q.Until) {
		return out, nil
	}
	list, err := s.Store.Find(ctx, q)
	if err != nil {
		return out, err
	}
	same := p // how many of the last time were given already
	for i := range list {
		if list[i].At.Equal(same.at) {
			same.skip++
		} else {
			same = place{list[i].At, 1}
		}
		list[i].Cursor = same.String()
	}
	if len(list) > limit {
		list = list[:limit]
		out.Next = list[limit-1].Cursor
	}
	out.Entries = list
	return out, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Each calls fn for up to most entries, page by page.
func (s *Service) Each(ctx context.Context, q Query, most int, fn func(Entry) error) error {
	if err := s.check(&q); err != nil {
		return err
	}
	ctx, done, err := s.slot(ctx, fileTime)
	if err != nil {
		return err
	}
	defer done()
	var p place
	for most > 0 {
		q.Limit = min(most, MaxPage)
		page, err := s.page(ctx, q, p)
		if err != nil {
			return slow(ctx, err)
		}
		for _, e := range page.Entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		most -= len(page.Entries)
		if page.Next == "" {
			return nil
		}
		if p, err = parsePlace(page.Next); err != nil {
			return err
		}
	}
	return nil
}

// Around gives the entry that the cursor names and those that the same instance
// wrote before and after it, the oldest first; at says which it is.
func (s *Service) Around(ctx context.Context, agentID, instance, cursor string, before, after int) (list []Entry, at int, err error) {
	p, err := parsePlace(cursor)
	if err != nil {
		return nil, 0, err
	}
	if p.at.IsZero() || agentID == "" || instance == "" {
		return nil, 0, fault.New(fault.Invalid, "logs.context", "The line is not named").
			At(fault.Field{Path: "query.cursor", Message: "and agent and instance are needed"})
	}
	ctx, done, err := s.slot(ctx, queryTime)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	q := Query{Agents: []string{agentID}, Instance: instance, Until: p.at, Since: p.at.Add(-24 * time.Hour), Limit: min(max(before, 0), MaxPage)}
	if q.Limit > 0 {
		if list, err = s.Store.Find(ctx, q); err != nil {
			return nil, 0, slow(ctx, err)
		}
		slices.Reverse(list)
	}
	at = len(list)
	q.Since, q.Until, q.Oldest, q.Limit = p.at, p.at.Add(24*time.Hour), true, min(max(after, 0), MaxPage)+1
	rest, err := s.Store.Find(ctx, q)
	if err != nil {
		return nil, 0, slow(ctx, err)
	}
	if len(rest) == 0 || !rest[0].At.Equal(p.at) {
		return nil, 0, fault.New(fault.NotFound, "logs.line_gone", "The line is not there any more").Because("it is older than what is kept, or was written by another instance")
	}
	list = append(list, rest...)
	for i := range list {
		list[i].Cursor = place{list[i].At, 1}.String()
	}
	return list, at, nil
}

// Tail lets somebody listen to what is written from now on, or from the place on
// that the cursor names as far as it is remembered.
func (s *Service) Tail(q Query, cursor string) (*Listener, error) {
	q.Since, q.Until = time.Time{}, time.Time{}
	check := q
	if err := s.check(&check); err != nil {
		return nil, err
	}
	after, err := parsePlace(cursor)
	if err != nil {
		return nil, err
	}
	if s.Collector == nil {
		return nil, fault.New(fault.Unavailable, "logs.no_tail", "There is no live tail here").Because("this portal does not take in the agents' output")
	}
	match, err := s.Store.Matcher(q)
	if err != nil {
		return nil, err
	}
	l, ok := s.Collector.hub.listen(match, after)
	if !ok {
		return nil, fault.New(fault.RateLimited, "logs.too_many", "Too many clients follow logs").Do("Close some, or read pages.")
	}
	return l, nil
}

// Drain ends the live tails, so that the server can end.
func (s *Service) Drain() {
	if s.Collector != nil {
		s.Collector.hub.end()
	}
}

// Status says how the store is and how far the agents' output was taken in.
func (s *Service) Status(ctx context.Context) Status {
	st := s.Store.Status(ctx)
	if s.Collector != nil {
		st = s.Collector.Progress(st)
	}
	return st
}

// shown is an error as it may be shown.
func shown(err error) string {
	if f := fault.As(err); f != nil {
		if f.Why != "" {
			return f.What + ": " + f.Why
		}
		return f.What
	}
	return "the store does not answer"
}
