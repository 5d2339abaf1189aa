package metrics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// The labels that the portal gives to what it stores. What an agent calls so is
// stored with "exported_" before it.
const (
	LabelAgent     = "agent"      // id
	LabelAgentName = "agent_name" // as people know it
	LabelInstance  = "instance"   // id
	LabelJob       = "job"        // which part of the portal measured it
)

// JobAgent is the job of what instances say of themselves.
const JobAgent = "agent"

// Labels gives the labels of something that the portal measures of an instance
// or, without one, of an agent; more are further labels and their values.
func Labels(name, job, agentID, agentName, instance string, more ...string) map[string]string {
	m := make(map[string]string, 5+len(more)/2)
	set := func(name, value string) {
		if value != "" {
			m[name] = value
		}
	}
	set(LabelName, name)
	set(LabelJob, job)
	set(LabelAgent, agentID)
	set(LabelAgentName, agentName)
	set(LabelInstance, instance)
	for i := 0; i+1 < len(more); i += 2 {
		set(more[i], more[i+1])
	}
	return m
}

// own marks the samples of a page as those of the target.
func own(t Target, samples []Sample) {
	for _, s := range samples {
		for name, value := range map[string]string{
			LabelAgent: t.AgentID, LabelAgentName: t.AgentName, LabelInstance: t.InstanceID, LabelJob: JobAgent,
		} {
			if theirs, ok := s.Labels[name]; ok {
				s.Labels["exported_"+name] = theirs
			}
			s.Labels[name] = value
			if value == "" {
				delete(s.Labels, name)
			}
		}
	}
}

// keep stores what came of one question: all samples of the page, whether there
// was one, and how long it took.
func (s *Scraper) keep(ctx context.Context, v *visit, p *Page, took time.Duration, err error) {
	s.judge(v, p, err)
	s.describe(p.About)
	if s.Into == nil {
		return
	}
	none := errors.Is(err, ErrNone)
	if none && !v.known && p.Samples == nil {
		return // it never had any, and is well without
	}
	v.known = true
	b := v.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	at := s.Windows.Now()
	t := s.target(v)
	samples := p.Samples
	n := len(samples)
	own(t, samples)
	batch := b.births(t, samples, p.Grows, at)
	up := 0.0
	if p.Refused == nil && (err == nil || none && samples != nil) {
		up = 1
		b.run = t.Run
	}
	about := func(name string, value float64) {
		samples = append(samples, Sample{Labels: Labels(name, JobAgent, t.AgentID, t.AgentName, t.InstanceID), Value: value})
	}
	about("up", up)
	about("scrape_duration_seconds", took.Seconds())
	about("scrape_samples_scraped", float64(n))
	s.append(ctx, append(batch, b.turn(samples, at)...))
	if up == 0 {
		b.at = time.Time{} // what comes next has no page right before it
	}
}

// judge refuses the samples of an agent that has too many series, and tells of
// every refusal once.
func (s *Scraper) judge(v *visit, p *Page, err error) {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		p.Refused = refusal
	case err != nil && !errors.Is(err, ErrNone):
		return
	case len(p.Samples) > 0:
		s.mu.Lock()
		b := s.budgets[v.AgentID]
		if b == nil {
			b = &budget{}
			s.budgets[v.AgentID] = b
		}
		metric, over := b.allow(p.Samples, s.Windows.Now())
		s.mu.Unlock()
		if over {
			p.Refused = &Refusal{Metric: metric, Why: fmt.Sprintf(
				"its series change all the time: more than %d within an hour; most of the new ones are of %.100q", maxAgentSeries, metric)}
		}
	}
	if p.Refused != nil && p.Samples != nil {
		p.Samples = nil
		p.Dropped = append(p.Dropped, "nothing is stored: "+p.Refused.Why)
	}
	s.mu.Lock()
	before := v.refused
	v.refused = p.Refused
	s.mu.Unlock()
	switch {
	case p.Refused != nil && before == nil:
		s.Log.Warn("the metrics of an agent are refused", "agent", v.AgentID, "instance", v.InstanceID, "metric", p.Refused.Metric, "why", p.Refused.Why)
		if s.Refused != nil {
			s.Refused(v.Target, *p.Refused)
		}
	case p.Refused == nil && before != nil:
		s.Log.Info("the metrics of an agent are taken again", "agent", v.AgentID, "instance", v.InstanceID)
	}
}

// finish ends the series of instances that do not run any more.
func (s *Scraper) finish(ctx context.Context, gone []*ledger) {
	for _, b := range gone {
		b.mu.Lock()
		ends := b.close(s.Windows.Now())
		if s.Into != nil && len(ends) > 0 {
			s.append(ctx, ends)
		}
		b.mu.Unlock()
	}
}

// append stores samples; that it can't is said once.
func (s *Scraper) append(ctx context.Context, samples []Sample) {
	err := s.Into.Append(ctx, samples)
	if ctx.Err() != nil {
		return
	}
	if failing := err != nil; s.unstored.Swap(failing) != failing {
		if failing {
			s.Log.Warn("can't keep the metrics of agents", "err", err)
		} else {
			s.Log.Info("the metrics of agents are kept again")
		}
	}
}

// describe remembers what metrics are.
func (s *Scraper) describe(about map[string]Metadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range about {
		if _, known := s.about[name]; known || len(s.about) < maxAbout {
			s.about[name] = m
		}
	}
}

// maxAbout is how many metrics are explained.
const maxAbout = 10_000

// Metadata gives what agents say of their metrics, by name; of all of them if
// none is named.
func (s *Scraper) Metadata(name string) map[string]Metadata {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" {
		return maps.Clone(s.about)
	}
	if m, ok := s.about[name]; ok {
		return map[string]Metadata{name: m}
	}
	return nil
}
