package cause

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

var (
	noMemory = regexp.MustCompile(`(?i)out of memory|OutOfMemory|OOM[- ]?kill|cannot allocate memory|can't allocate|heap out of memory|MemoryError|bad_alloc|ENOMEM|memory (exhausted|limit exceeded)|allocation failed|Java heap space|GC overhead limit|insufficient memory`)
	noSpace  = regexp.MustCompile(`(?i)no space left|ENOSPC|disk quota exceeded|EDQUOT|disk (is )?full|not enough (disk )?space|insufficient (disk|storage)|out of (disk )?space|errno 28\b|file too large|EFBIG|SIGXFSZ|(disk limit|size of volume \S+) exceeded|storage (is )?(full|exhausted)|volume (is )?full`)
	noFiles  = regexp.MustCompile(`(?i)too many open files|EMFILE|ENFILE|errno 24\b|(file|socket) (descriptor|handle)s?\b.{0,40}(exhaust|limit|leak|used up|run out|ran out|unavailable)|(run|ran) out of (file )?(descriptors|handles)|open files limit|no file descriptors`)
)

// memory: it uses more memory than it may.
func memory(f *Facts) *Finding {
	limit := f.Spec.Resources.Memory
	var certainty float64
	var evidence []Evidence
	switch m := last(f.texts(), noMemory); {
	case f.Ended != nil && f.Ended.OOMKilled:
		certainty, evidence = 1, f.evidence()
	case m != nil && f.failed():
		certainty, evidence = 0.93, append([]Evidence{m.evidence()}, f.exitEvidence()...)
	case f.signal() == "SIGKILL" && f.filled() > 0.85:
		certainty, evidence = 0.9, f.evidence()
	case f.serving() && f.rising():
		certainty = 0.8
	default:
		return nil
	}
	out := &Finding{
		Code: OutOfMemory, Certainty: certainty, Key: "memory", Evidence: evidence,
		Title:   "It runs out of memory",
		Summary: "It uses more memory than it may.",
	}
	if limit > 0 {
		out.Summary = fmt.Sprintf("It uses more memory than the %s that it may.", limit)
		out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: "resources.memory is " + limit.String()})
	}
	if n := len(f.Samples); n > 1 {
		first, now := f.Samples[0], f.Samples[n-1]
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", At: now.At,
			Text: fmt.Sprintf("It used %s, and %s %s before", bytes(now.Memory), bytes(first.Memory), now.At.Sub(first.At).Round(time.Second))})
	}
	return out
}

// filled is how much of its memory the agent used when it was last measured.
func (f *Facts) filled() float64 {
	if n := len(f.Samples); n > 0 && f.Spec.Resources.Memory > 0 {
		return float64(f.Samples[n-1].Memory) / float64(f.Spec.Resources.Memory)
	}
	return 0
}

// rising tells whether the memory grew with every look and is almost used up.
func (f *Facts) rising() bool {
	if len(f.Samples) < 5 || f.filled() < 0.92 {
		return false
	}
	recent := f.Samples[len(f.Samples)-5:]
	for i := 1; i < len(recent); i++ {
		if recent[i].Memory <= recent[i-1].Memory || recent[i].InstanceID != recent[i-1].InstanceID || recent[i].Run != recent[i-1].Run {
			return false
		}
	}
	return true
}

// disk: what it wrote does not fit any more.
func disk(f *Facts) *Finding {
	m := last(f.texts(), noSpace)
	if m == nil && f.Ended != nil && noSpace.MatchString(f.Ended.Reason) {
		m = &match{line: f.Ended.Reason}
	}
	if m == nil {
		for _, in := range f.Instances {
			if noSpace.MatchString(in.Reason) {
				m = &match{line: in.Reason}
			}
		}
	}
	used, limit := int64(0), int64(f.Spec.Resources.Disk)
	if n := len(f.Samples); n > 0 {
		used = f.Samples[n-1].Disk
	}
	full := limit > 0 && float64(used) >= 0.97*float64(limit)
	switch {
	case m == nil && f.signal() == "SIGXFSZ":
		m = &match{line: "ended by SIGXFSZ: a file grew beyond the limit"}
	case m == nil && (!full || f.Health == agent.HealthHealthy && !f.failed()):
		return nil
	}
	out := &Finding{
		Code: DiskFull, Certainty: 0.85, Key: "disk", Title: "Its disk space is used up",
		Summary: "What it writes does not fit any more.",
	}
	if m != nil {
		out.Certainty, out.Evidence = 0.96, append(out.Evidence, m.evidence())
	}
	if limit > 0 {
		out.Summary = fmt.Sprintf("What it writes does not fit into the %s that it may use.", f.Spec.Resources.Disk)
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", Text: fmt.Sprintf("Its directories hold %s of %s", bytes(used), f.Spec.Resources.Disk), At: f.Now})
	}
	if f.DiskFree >= 0 && f.DiskFree < 64<<20 {
		out.Certainty = max(out.Certainty, 0.97)
		out.Evidence = append(out.Evidence, Evidence{Kind: "host", Text: "The file system has " + bytes(f.DiskFree) + " left", At: f.Now})
	}
	out.Evidence = append(out.Evidence, f.exitEvidence()...)
	return out
}

// files: it opens files or connections and does not close them.
func files(f *Facts) *Finding {
	m := last(f.texts(), noFiles)
	var at Sample
	for _, s := range f.newest() {
		if s.FileLimit > 0 && float64(s.OpenFiles) >= 0.8*float64(s.FileLimit) {
			at = s
		}
	}
	grew := f.filesGrew(at)
	if m == nil && !grew {
		return nil
	}
	out := &Finding{
		Code: FDLeak, Certainty: 0.85, Key: "files", Title: "It runs out of file descriptors",
		Summary: "It opens files or connections and does not close them.",
	}
	if m != nil {
		out.Certainty, out.Evidence = 0.95, append(out.Evidence, m.evidence())
	}
	if at.FileLimit > 0 {
		out.Summary = fmt.Sprintf("It has %d files and connections open of the %d that it may, and does not close them.", at.OpenFiles, at.FileLimit)
		out.Evidence = append(out.Evidence, Evidence{Kind: "metric", Text: fmt.Sprintf("%d of %d file descriptors are open", at.OpenFiles, at.FileLimit), At: at.At})
	}
	out.Evidence = append(out.Evidence, f.exitEvidence()...)
	return out
}

// newest gives the last sample of each instance.
func (f *Facts) newest() map[string]Sample {
	out := map[string]Sample{}
	for _, s := range f.Samples {
		out[s.InstanceID] = s
	}
	return out
}

// filesGrew tells whether the open files grew up to the sample and never shrank.
func (f *Facts) filesGrew(at Sample) bool {
	if at.FileLimit == 0 {
		return false
	}
	looks, before := 0, Sample{}
	for _, s := range f.Samples {
		if s.InstanceID != at.InstanceID || s.Run != at.Run {
			continue
		}
		if looks > 0 && s.OpenFiles < before.OpenFiles {
			looks = 0
		}
		before = s
		looks++
	}
	return looks >= 3
}

// bytes writes a number of bytes for people.
func bytes(n int64) string {
	switch {
	case n >= 1<<30:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<30)), ".0") + " GiB"
	case n >= 1<<20:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<20)), ".0") + " MiB"
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
