package lab

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is something that the agent says.
type event string

// The events.
const (
	begin           event = "begin"
	ready           event = "ready"
	portTaken       event = "port"
	badSettings     event = "settings"
	missingVariable event = "variable"
	refused         event = "refused"
	slow            event = "slow"
	expired         event = "expired"
	skewed          event = "skewed"
	crash           event = "crash"
	heap            event = "heap"
	files           event = "files"
	disk            event = "disk"
	busy            event = "busy"
	flaky           event = "flaky"
	poison          event = "poison"
	muttered        event = "muttered"
)

// complaint is an error with what its text is made of.
type complaint map[string]string

// Error gives the parts in order.
func (c complaint) Error() string {
	parts := make([]string, 0, len(c))
	for _, k := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, strings.ToLower(k)+" "+c[k])
	}
	return strings.Join(parts, ", ")
}

// voice says things as programs of one language do.
type voice struct {
	name     string
	seed     string
	out, err io.Writer
	now      func() time.Time

	mu   sync.Mutex
	last map[event]time.Time
}

// Voices are the ways to speak.
var Voices = []string{"go", "python", "node", "java", "json", "plain"}

func newVoice(getenv func(string) string, out, err io.Writer) *voice {
	v := &voice{name: getenv("VOICE"), seed: getenv("SEED"), out: out, err: err, now: time.Now, last: map[event]time.Time{}}
	if !slices.Contains(Voices, v.name) {
		v.name = Voices[0]
	}
	return v
}

// quiet is how long the same thing is not said again.
const quiet = 900 * time.Millisecond

// say says what happened, in the voice's words. The same is not said all the time.
func (v *voice) say(e event, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if now.Sub(v.last[e]) < quiet {
		return
	}
	v.last[e] = now
	c, ok := err.(complaint) //nolint:errorlint // it is never wrapped
	if !ok {
		c = complaint{}
		if err != nil {
			c["WHY"] = err.Error()
		}
	}
	variants := phrases[e][v.name]
	if len(variants) == 0 {
		return
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(e)+v.seed)
	text := variants[int(h.Sum32())%len(variants)]
	w := v.err
	if e == begin || e == ready || e == heap || v.name == "json" || v.name == "java" {
		w = v.out
	}
	_, _ = io.WriteString(w, v.dress(e, fill(text, c), c)+"\n")
}

// fill puts the parts into the places {NAME}.
func fill(text string, c complaint) string {
	pairs := make([]string, 0, 2*len(c))
	for k, val := range c {
		pairs = append(pairs, "{"+k+"}", val)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// dress adds what the language's logger adds. A text that begins with ! is not
// from a logger.
func (v *voice) dress(e event, text string, c complaint) string {
	if raw, ok := strings.CutPrefix(text, "!"); ok {
		return raw
	}
	level := "ERROR"
	switch e {
	case begin, ready, heap:
		level = "INFO"
	case busy, flaky, slow, muttered:
		level = "WARN"
	}
	now := v.now()
	switch v.name {
	case "go":
		return now.Format("2006/01/02 15:04:05 ") + text
	case "python":
		if level == "WARN" {
			level = "WARNING"
		}
		return now.Format("2006-01-02 15:04:05,000 ") + level + " service.main: " + text
	case "node":
		return text
	case "java":
		return now.Format("2006-01-02 15:04:05.000 ") + fmt.Sprintf("%5s 1 --- [           main] com.example.Service : ", level) + text
	case "json":
		msg, why, _ := strings.Cut(text, " | ")
		line := map[string]any{"time": now.UTC().Format(time.RFC3339Nano), "level": strings.ToLower(level), "msg": msg}
		if why != "" {
			line["error"] = why
		}
		if port := c["PORT"]; port != "" {
			line["port"] = port
		}
		b, _ := json.Marshal(line)
		return string(b)
	}
	return text
}
