package cause

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/health"
)

var noAnswer = regexp.MustCompile(`(?i)no answer within|did not answer|hangs again|liveness probe failed|timeout|deadline`)

// hang: its process runs and does not answer.
func hang(f *Facts) *Finding {
	reason := f.silent()
	if reason == "" {
		return nil
	}
	out := &Finding{
		Code: Hang, Certainty: 0.82, Key: "hang", Title: "It hangs",
		Summary:  "Its process runs and does not answer.",
		Evidence: []Evidence{{Kind: "probe", Text: short(reason), At: f.Now}},
	}
	if use, ok := f.cores(); ok {
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", Text: fmt.Sprintf("It uses %.2f cores", use), At: f.Now})
		if use < 0.05 {
			out.Certainty = 0.88
		}
	}
	return out
}

// silent gives why it is taken to hang.
func (f *Facts) silent() string {
	if f.code() == "liveness" && f.Failure != nil {
		return f.Failure.Reason
	}
	for _, in := range append(f.Instances, deref(f.Ended)...) {
		if strings.Contains(in.Reason, "liveness probe failed") && noAnswer.MatchString(in.Reason) {
			return in.Reason
		}
	}
	for _, r := range f.Probes {
		if f.Now.Sub(r.At) > 5*time.Minute {
			break
		}
		if !r.OK && r.Kind == health.Liveness && noAnswer.MatchString(r.Reason) {
			return "liveness: " + r.Reason
		}
	}
	if f.State == agent.Running && f.Health == agent.HealthUnhealthy && noAnswer.MatchString(f.HealthReason) {
		return f.HealthReason
	}
	if f.code() == "agent.not_ready" && f.Problem != nil && noAnswer.MatchString(f.Problem.Why) {
		return f.Problem.Why
	}
	return ""
}

func deref[T any](p *T) []T {
	if p == nil {
		return nil
	}
	return []T{*p}
}

// cores is how much processor it used between the newest two looks of one run.
func (f *Facts) cores() (float64, bool) {
	for i := len(f.Samples) - 1; i > 0; i-- {
		now := f.Samples[i]
		for j := i - 1; j >= 0; j-- {
			was := f.Samples[j]
			if was.InstanceID != now.InstanceID || was.Run != now.Run {
				continue
			}
			d := now.At.Sub(was.At).Seconds()
			if d <= 0 || now.CPUSeconds < was.CPUSeconds {
				return 0, false
			}
			return (now.CPUSeconds - was.CPUSeconds) / d, true
		}
	}
	return 0, false
}

var starving = regexp.MustCompile(`(?i)cpu (starv|throttl|quota|limit)|throttl(ed|ing)\b.{0,30}\b(cpu|processor)|starv(ed|ing|ation)|event loop (is )?(blocked|lag|delay)|not enough (cpu|processor)|scheduling (delay|latency)`)

// processor: it gets less of the processor than it needs.
func processor(f *Facts) *Finding {
	limit := f.Spec.Resources.CPU
	use, known := f.cores()
	m := last(f.texts(), starving)
	held := f.throttled()
	symptom := f.symptom()
	tight := limit > 0 && known && use >= 0.85*limit
	switch {
	case m == nil && symptom == "":
		return nil // it is busy, and that is all
	case m == nil && !(tight && held >= 0.3) && !(limit > 0 && held >= 0.5):
		return nil
	}
	out := &Finding{
		Code: CPUStarved, Certainty: 0.93, Key: "cpu", Title: "It gets too little of the processor",
		Summary: "It needs more of the processor than it may use.",
	}
	if limit > 0 {
		out.Summary = fmt.Sprintf("It needs more of the processor than the %g cores that it may use.", limit)
		out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: fmt.Sprintf("resources.cpu is %g", limit)})
	}
	if m != nil {
		out.Evidence = append(out.Evidence, m.evidence())
		if held < 0.3 && !tight {
			out.Certainty = 0.85
		}
	}
	if known {
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", Text: fmt.Sprintf("It used %.2f cores and was held back %.0f %% of the time", use, 100*held), At: f.Now})
	}
	if symptom != "" {
		out.Evidence = append(out.Evidence, Evidence{Kind: "probe", Text: short(symptom), At: f.Now})
	}
	return out
}

// throttled is the share of the time that its limit held it back.
func (f *Facts) throttled() float64 {
	var most float64
	for i := len(f.Samples) - 1; i > 0 && f.Now.Sub(f.Samples[i].At) < 30*time.Second; i-- {
		now := f.Samples[i]
		for j := i - 1; j >= 0; j-- {
			was := f.Samples[j]
			if was.InstanceID != now.InstanceID || was.Run != now.Run {
				continue
			}
			if d := now.At.Sub(was.At).Seconds(); d > 0 {
				most = max(most, min(1, (now.ThrottledSeconds-was.ThrottledSeconds)/d))
			}
			break
		}
	}
	return most
}

// symptom is what users of the agent notice: that it does not answer in time.
func (f *Facts) symptom() string {
	if f.Health == agent.HealthUnhealthy || f.Health == agent.HealthDegraded {
		return f.HealthReason
	}
	for _, r := range f.Probes {
		if f.Now.Sub(r.At) < time.Minute && !r.OK {
			return string(r.Kind) + ": " + r.Reason
		}
	}
	return f.silent()
}
