package agent

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode"
)

// What holds where a spec says nothing.
const (
	DefaultRuntime          = "process"
	DefaultTemplate         = "blank" // runs where a spec names no program
	DefaultPIDs             = 512
	DefaultStopTimeout      = 10 * time.Second
	DefaultProbeInterval    = 10 * time.Second
	DefaultProbeTimeout     = time.Second
	DefaultFailureThreshold = 3
	DefaultSuccessThreshold = 1
	DefaultRestartPolicy    = "always"
	DefaultMaxRestarts      = 5
	DefaultRestartWindow    = 5 * time.Minute
	DefaultBackoff          = 100 * time.Millisecond
	DefaultMaxBackoff       = 30 * time.Second
)

// Templates are the built-in agent programs.
var Templates = []string{"blank", "memory"}

// WithDefaults gives a copy in which everything that has a default and was left
// out is filled in: the id from the name, what to run, how often to probe, how
// to restart. It is what is stored and run.
func (s Spec) WithDefaults() Spec {
	or(&s.ID, Slug(s.Name))
	or(&s.Runtime, DefaultRuntime)
	or(&s.Replicas, 1)
	if s.Image == "" && s.Command == "" {
		or(&s.Template, DefaultTemplate)
	}
	or(&s.Resources.PIDs, DefaultPIDs)
	or(&s.StopTimeout, Duration(DefaultStopTimeout))
	or(&s.Restart.Policy, DefaultRestartPolicy)
	or(&s.Restart.MaxRestarts, DefaultMaxRestarts)
	or(&s.Restart.Window, Duration(DefaultRestartWindow))
	or(&s.Restart.Backoff.Initial, min(Duration(DefaultBackoff), Duration(s.Restart.Backoff.Max.Or(DefaultBackoff))))
	or(&s.Restart.Backoff.Max, max(Duration(DefaultMaxBackoff), s.Restart.Backoff.Initial))
	s.Probes.Liveness = s.Probes.Liveness.withDefaults("/health")
	s.Probes.Readiness = s.Probes.Readiness.withDefaults("/ready")
	if len(s.Volumes) > 0 {
		s.Volumes = append([]Volume(nil), s.Volumes...)
		for i := range s.Volumes {
			or(&s.Volumes[i].Path, s.Volumes[i].Name)
		}
	}
	return s
}

func (p *Probe) withDefaults(path string) *Probe {
	if p == nil {
		return nil
	}
	c := *p
	or(&c.Interval, Duration(DefaultProbeInterval))
	or(&c.Timeout, Duration(DefaultProbeTimeout))
	or(&c.FailureThreshold, DefaultFailureThreshold)
	or(&c.SuccessThreshold, DefaultSuccessThreshold)
	if c.HTTP != nil {
		h := *c.HTTP
		or(&h.Path, path)
		or(&h.Port, "$(PORT)")
		c.HTTP = &h
	}
	if c.TCP != nil {
		t := *c.TCP
		or(&t.Port, "$(PORT)")
		c.TCP = &t
	}
	return &c
}

func or[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Tree gives the spec as the plain tree that Decode reads, with int64 and
// float64 for numbers.
func (s Spec) Tree() map[string]any {
	b, err := json.Marshal(s)
	if err != nil {
		panic("agent: a spec must encode: " + err.Error()) // Validate refuses what could fail
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		panic("agent: a spec must decode: " + err.Error())
	}
	return plainNumbers(m).(map[string]any)
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = plainNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = plainNumbers(e)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil || math.IsInf(f, 0) {
			return v.String()
		}
		return f
	}
	return v
}

// Slug makes an id from a name: WowAgentFactory becomes wow-agent-factory. It
// is "" if nothing of the name can be part of an id.
func Slug(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, c := range runes {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case c >= 'A' && c <= 'Z':
			if i > 0 && (lowerOrDigit(runes[i-1]) || i+1 < len(runes) && unicode.IsUpper(runes[i-1]) && unicode.IsLower(runes[i+1])) {
				hyphen(&b)
			}
			b.WriteRune(c - 'A' + 'a')
		default:
			hyphen(&b)
		}
	}
	s := b.String()
	if len(s) > maxID {
		s = s[:maxID]
	}
	return strings.Trim(s, "-")
}

func lowerOrDigit(c rune) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func hyphen(b *strings.Builder) {
	if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
		b.WriteByte('-')
	}
}
