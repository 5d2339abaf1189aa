package compose

import (
	"fmt"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/waooaw/platform-portal/internal/adoption"
)

// span reads a duration as compose writes it.
func span(v any) (string, bool) {
	var d types.Duration
	if v == nil || d.DecodeMapstructure(v) != nil || d <= 0 {
		return "", false
	}
	return time.Duration(d).String(), true
}

func (s *service) health() {
	h, _ := s.Take("healthcheck").(map[string]any)
	if h == nil {
		return
	}
	h = cloned(h)
	var test []string
	switch v := h["test"].(type) {
	case string:
		test = []string{"/bin/sh", "-c", v}
	case []any:
		for _, e := range v {
			test = append(test, fmt.Sprint(e))
		}
		switch {
		case len(test) > 1 && test[0] == "CMD":
			test = test[1:]
		case len(test) == 2 && test[0] == "CMD-SHELL":
			test = []string{"/bin/sh", "-c", test[1]}
		default:
			test = nil
		}
	}
	delete(h, "test")
	off := h["disable"] == true
	delete(h, "disable")
	if off || len(test) == 0 {
		return
	}
	probe := map[string]any{"exec": map[string]any{"command": adoption.Anys(test)}, "interval": "30s", "timeout": "30s"}
	for key, field := range map[string]string{"interval": "interval", "timeout": "timeout", "start_period": "initial_delay"} {
		if d, ok := span(h[key]); ok {
			probe[field] = d
			delete(h, key)
		}
	}
	if n, err := strconv.Atoi(fmt.Sprint(h["retries"])); err == nil && n > 0 {
		probe["failure_threshold"] = n
		delete(h, "retries")
	}
	s.Doc["probes"] = map[string]any{"liveness": probe}
	s.Note("healthcheck", false, "becomes the liveness probe: an instance that fails it is started again, which compose does not do")
	s.Rest("healthcheck.", h)
}

func cloned(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// size reads a number of bytes as compose writes it.
func size(v any) (int64, bool) {
	var b types.UnitBytes
	if v == nil || b.DecodeMapstructure(v) != nil || b <= 0 {
		return 0, false
	}
	return int64(b), true
}

// resources takes limits and replicas from where either form of the file has them.
func (s *service) resources() {
	out := map[string]any{}
	limit := func(memory, cpus, pids any) {
		if n, ok := size(memory); ok {
			out["memory"] = strconv.FormatInt(n, 10)
		}
		if c, err := strconv.ParseFloat(fmt.Sprint(cpus), 64); err == nil && c > 0 {
			out["cpu"] = c
		}
		if n, err := strconv.Atoi(fmt.Sprint(pids)); err == nil && n > 0 {
			out["pids"] = n
		}
	}
	limit(s.Take("mem_limit"), s.Take("cpus"), s.Take("pids_limit"))
	replicas := s.Take("scale")
	if d, _ := s.Take("deploy").(map[string]any); d != nil {
		d = cloned(d)
		if r, _ := d["resources"].(map[string]any); r != nil {
			r = cloned(r)
			if l, _ := r["limits"].(map[string]any); l != nil {
				l = cloned(l)
				limit(l["memory"], l["cpus"], l["pids"])
				delete(l, "memory")
				delete(l, "cpus")
				delete(l, "pids")
				s.Rest("deploy.resources.limits.", l)
				delete(r, "limits")
			}
			s.Rest("deploy.resources.", r)
			delete(d, "resources")
		}
		if d["replicas"] != nil {
			replicas = d["replicas"]
			delete(d, "replicas")
		}
		s.Rest("deploy.", d)
	}
	if n, err := strconv.Atoi(fmt.Sprint(replicas)); err == nil && n >= 0 {
		if s.Doc["replicas"] = n; n == 0 {
			s.Doc["replicas"] = 1
			s.Note("scale", true, "an agent has at least one replica; it does not run before it is started")
		}
	}
	if u, _ := s.Take("ulimits").(map[string]any); u != nil {
		u = cloned(u)
		n := u["nofile"]
		if both, _ := n.(map[string]any); both != nil {
			n = both["hard"]
		}
		if v, err := strconv.Atoi(fmt.Sprint(n)); err == nil && v > 0 {
			out["open_files"] = v
			delete(u, "nofile")
		}
		s.Rest("ulimits.", u)
	}
	if len(out) > 0 {
		s.Doc["resources"] = out
	}
}

// others are fields of one line, and those that say what is so anyway.
func (s *service) others() {
	if d, ok := span(s.Left["stop_grace_period"]); ok {
		s.Take("stop_grace_period")
		s.Doc["stop_timeout"] = d
	}
	labels := map[string]any{}
	for name, v := range texts(s.Take("labels")) {
		if v != nil {
			labels[name] = *v
		}
	}
	if len(labels) > 0 {
		s.Doc["labels"] = labels
	}
	if s.Left["read_only"] == true {
		s.Take("read_only")
	} else if s.Left["image"] == nil {
		s.Note("read_only", false, "only volumes and /tmp can be written to, unless docker.allow has writable")
		s.Take("read_only")
	}
	if v, _ := s.Left["stop_signal"].(string); v == "SIGTERM" {
		s.Take("stop_signal")
	}
	for _, key := range []string{"expose", "init", "platform", "pull_policy", "tty", "stdin_open"} {
		if v := s.Left[key]; v == false || key == "expose" {
			s.Take(key) // says what is so anyway
		}
	}
	if drop, _ := s.Left["cap_drop"].([]any); len(drop) > 0 {
		s.Take("cap_drop") // all are dropped
	}
}
