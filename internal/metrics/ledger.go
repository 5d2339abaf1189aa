package metrics

import (
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"
)

// ledger knows what one source stored last, so that a series that is no longer
// reported is ended at once and not found for five minutes more.
type ledger struct {
	mu    sync.Mutex
	last  map[string]map[string]string // labels by Key
	run   string                       // that the last values are of
	at    time.Time                    // of the last values
	ended bool
}

// turn gives what is to be stored of the values that a source has now: the
// values, and the end of every series that it has no more.
func (l *ledger) turn(samples []Sample, at time.Time) []Sample {
	next := make(map[string]map[string]string, len(samples))
	for i := range samples {
		samples[i].At = at
		key := Key(samples[i].Labels)
		if known := l.last[key]; known != nil {
			samples[i].Labels = known // one map instead of one a page
		}
		next[key] = samples[i].Labels
	}
	for key, labels := range l.last {
		if next[key] == nil {
			samples = append(samples, Sample{Labels: labels, At: at, Value: Stale()})
		}
	}
	l.last, l.at = next, at
	return samples
}

// births gives a zero for every counter that is new and is known to have begun
// at 0, at the time when it did: otherwise what it counted before it was first
// seen would be in no rate.
func (l *ledger) births(t Target, samples []Sample, grows map[string]bool, at time.Time) []Sample {
	var born time.Time
	age := at.Sub(t.StartedAt)
	switch {
	case l.run == t.Run && !l.at.IsZero():
		born = l.at
	case l.run != t.Run && !t.StartedAt.IsZero() && age > 0 && age <= newborn:
		born = t.StartedAt
	default:
		return nil
	}
	var out []Sample
	for _, s := range samples {
		if !grows[s.Labels[LabelName]] || s.Value == 0 {
			continue
		}
		if l.run == t.Run && l.last[Key(s.Labels)] != nil {
			continue
		}
		out = append(out, Sample{Labels: s.Labels, At: born.Add(time.Millisecond), Value: 0})
	}
	return out
}

// close gives the ends of all series.
func (l *ledger) close(at time.Time) []Sample {
	l.ended = true
	return l.turn(nil, at)
}

// budget bounds the series of one agent: an agent whose labels change all the
// time would fill the memory though no page of it is large.
type budget struct {
	now, before map[uint64]struct{}
	since       time.Time
}

// The series that one agent may have in an hour, and may begin to have.
const (
	maxAgentSeries = 20_000
	budgetTurns    = time.Hour
)

// allow counts the series of a page. It gives the metric with the most new ones
// if they are more than the agent may have.
func (b *budget) allow(samples []Sample, at time.Time) (metric string, over bool) {
	if b.now == nil || at.Sub(b.since) > budgetTurns {
		b.before, b.now, b.since = b.now, make(map[uint64]struct{}, len(samples)), at
	}
	fresh := map[string]int{}
	var added []uint64
	for _, s := range samples {
		h := hash(s.Labels)
		if _, ok := b.now[h]; ok {
			continue
		}
		if _, ok := b.before[h]; !ok {
			fresh[s.Labels[LabelName]]++
		}
		added = append(added, h)
	}
	if len(b.now)+len(added) > maxAgentSeries {
		names := slices.SortedFunc(maps.Keys(fresh), func(x, y string) int { return fresh[y] - fresh[x] })
		if len(names) > 0 {
			return names[0], true
		}
		return "", true
	}
	for _, h := range added {
		b.now[h] = struct{}{}
	}
	return "", false
}

func hash(labels map[string]string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(Key(labels)))
	return h.Sum64()
}
