package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// calls gives the agent a service that it calls.
func (s *scene) calls() (*service, error) {
	v, err := newService(context.Background())
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, v.close)
	s.env["UPSTREAM"] = v.url()
	return v, nil
}

// outage is how long a service that is not the portal's takes to come back: the
// portal can't repair it, but has to say what it is and to let the agent be well
// afterwards.
func (s *scene) outage() time.Duration { return time.Duration(s.between(12, 18)) * time.Second }

func slowDependency(s *scene) error {
	v, err := s.calls()
	if err != nil {
		return err
	}
	delay, length := time.Duration(s.between(900, 4000))*time.Millisecond, s.outage()
	s.note("%s, answers take %s, for %s", s.voice, delay, length)
	s.inject = func(context.Context) error {
		v.set(func(v *service) { v.delay = delay })
		s.later(length, func() { v.set(func(v *service) { v.delay = 0 }) })
		return nil
	}
	return nil
}

func networkRefused(s *scene) error {
	v, err := s.calls()
	if err != nil {
		return err
	}
	length := s.outage()
	s.note("%s, for %s", s.voice, length)
	s.inject = func(ctx context.Context) error {
		v.close()
		s.later(length, func() { _ = v.open(context.WithoutCancel(ctx)) })
		return nil
	}
	return nil
}

func expiredCredential(s *scene) error {
	v, err := s.calls()
	if err != nil {
		return err
	}
	refusal := s.pick("token expired", "the access token expired 12 minutes ago", `{"error":"invalid_token","error_description":"The token has expired"}`,
		"ExpiredToken: The security token included in the request is expired", "password has expired", "certificate of the client has expired")
	s.note("%s, %q", s.voice, refusal)
	s.inject = func(context.Context) error {
		v.set(func(v *service) {
			v.refusal = refusal
			for proof := range v.asked {
				v.denied[proof] = true
			}
		})
		return nil
	}
	return nil
}

func clockSkew(s *scene) error {
	v, err := s.calls()
	if err != nil {
		return err
	}
	off, length := time.Duration(s.between(6, 240))*time.Minute, s.outage()
	if s.rng.IntN(2) == 0 {
		off = -off
	}
	refusal := s.pick("The difference between the request time and the server's time is too large.",
		"request timestamp is outside of the accepted window", "token used before issued", "Clock skew too great")
	s.note("%s, off by %s, for %s", s.voice, off, length)
	s.inject = func(context.Context) error {
		v.set(func(v *service) { v.off, v.refusal = off, refusal })
		s.later(length, func() { v.set(func(v *service) { v.off = 0 }) })
		return nil
	}
	return nil
}

func queueBacklog(s *scene) error {
	s.env["CONCURRENCY"] = "1"
	tasks, each := s.between(180, 300), s.between(180, 260)
	s.note("%d tasks of %d ms at once", tasks, each)
	s.inject = func(ctx context.Context) error {
		payload := map[string]any{"type": "work", "payload": map[string]any{"for": (time.Duration(each) * time.Millisecond).String()}}
		for range tasks {
			if err := s.p.task(ctx, s.name, payload); err != nil {
				return err
			}
		}
		return nil
	}
	s.cured = func(ctx context.Context) (bool, error) {
		waiting, err := s.p.waiting(ctx, s.name)
		return waiting < tasks/4, err
	}
	return nil
}

func poisonMessage(s *scene) error {
	brittle := s.rng.IntN(2) == 0
	if brittle {
		s.env["FEATURES"] = "brittle"
		s.spec["restart"] = map[string]any{"max_restarts": 2, "window": "1m", "backoff": map[string]any{"initial": "200ms", "max": "1s"}}
	}
	payload := map[string]any{"type": "parse", "id": fmt.Sprintf("order-%06d", s.rng.IntN(1_000_000))}
	switch s.rng.IntN(3) {
	case 0:
		payload["payload"] = "not an order"
	case 1:
		payload["payload"] = map[string]any{"order": "seven"}
	default:
		payload["payload"] = map[string]any{"order": 7}
	}
	s.note("%s, ends the program: %t, %v", s.voice, brittle, payload["payload"])
	s.inject = func(ctx context.Context) error { return s.p.task(ctx, s.name, payload) }
	s.cured = func(ctx context.Context) (bool, error) {
		waiting, err := s.p.waiting(ctx, s.name)
		return waiting == 0, err
	}
	return nil
}

// waiting is how many tasks of the agent are not done yet.
func (p *portal) waiting(ctx context.Context, id string) (int, error) {
	var q struct {
		Pending  int `json:"pending"`
		InFlight int `json:"in_flight"`
	}
	err := p.call(ctx, http.MethodGet, "/queues/"+url.PathEscape(id), nil, &q)
	return q.Pending + q.InFlight, err
}
