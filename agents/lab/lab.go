// Package lab is an agent that is made to suffer: the fault laboratory brings it
// up healthy and then lets something real go wrong with it, so that it can be
// seen whether the portal finds out what. What it does wrong it does in earnest
// (it binds, opens, allocates, hangs); only the words in which it complains are
// borrowed from the programs of several languages, as VOICE says.
//
// Its settings are variables: VOICE and SEED (wording), REQUIRED (names of
// variables it can't do without), SETTINGS (a JSON object), LISTEN (an address
// of its own), UPSTREAM (a URL it needs), FEATURES, CONCURRENCY and OPEN_FILES.
// Tasks: work takes time, parse reads a message, misbehave begins a plan.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

// Run is the agent.
func Run(ctx context.Context) error {
	if _, err := agentkit.ReadEnv(os.Getenv); err != nil {
		return err
	}
	s := &subject{getenv: os.Getenv, voice: newVoice(os.Getenv, os.Stdout, os.Stderr), exit: os.Exit, dir: os.Getenv("AGENT_DATA_DIR")}
	return agentkit.Run(ctx, s.agent())
}

// subject is the agent at work.
type subject struct {
	getenv func(string) string
	voice  *voice
	exit   func(code int)
	dir    string

	upstream *upstream // nil without one
	plans    plans
	side     *http.Server
}

func (s *subject) agent() agentkit.Agent {
	// What the kit itself says would give a program of another language away.
	output := io.Discard
	if s.voice.name == "json" {
		output = s.voice.out
	}
	return agentkit.Agent{
		Output: output, Concurrency: s.number("CONCURRENCY", 4), Grace: time.Second,
		Retry: []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, time.Second},
		Start: s.start, Stop: s.stop, Ready: s.ready,
		Tasks: map[string]agentkit.Handler{"work": s.work, "parse": s.parse, "misbehave": s.misbehave},
	}
}

func (s *subject) number(name string, otherwise int) int {
	if n, err := strconv.Atoi(s.getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// start looks at everything that has to be right before there is work. What is
// wrong ends the program, as it would any other.
func (s *subject) start(ctx context.Context) error {
	if n := s.number("OPEN_FILES", 0); n > 0 {
		if err := limitFiles(n); err != nil {
			return err
		}
	}
	s.voice.say(begin, nil)
	if err := s.checkVariables(); err != nil {
		return s.die(missingVariable, err, 1)
	}
	if err := s.checkSettings(); err != nil {
		return s.die(badSettings, err, 1)
	}
	if err := s.listen(ctx); err != nil {
		return s.die(portTaken, err, 1)
	}
	if url := s.getenv("UPSTREAM"); url != "" {
		s.upstream = newUpstream(url, s.getenv("QUEUE_TOKEN"), s.voice)
		if err := s.upstream.first(ctx, s.getenv("UPSTREAM_NEEDED") == "start"); err != nil {
			s.exit(1)
			return err
		}
	}
	s.crashLater()
	if err := s.resume(); err != nil {
		return err
	}
	s.voice.say(ready, nil)
	return nil
}

func (s *subject) stop(context.Context) error {
	if s.side != nil {
		return s.side.Close()
	}
	return nil
}

// die complains and ends the program.
func (s *subject) die(e event, err error, code int) error {
	s.voice.say(e, err)
	s.exit(code)
	return err
}

func (s *subject) checkVariables() error {
	for name := range strings.SplitSeq(s.getenv("REQUIRED"), ",") {
		if name != "" && s.getenv(name) == "" {
			return complaint{"NAME": name}
		}
	}
	return nil
}

// checkSettings reads SETTINGS as strictly as a program should.
func (s *subject) checkSettings() error {
	text := s.getenv("SETTINGS")
	if text == "" {
		return nil
	}
	var v struct {
		Workers  int    `json:"workers"`
		Interval string `json:"interval"`
		Mode     string `json:"mode"`
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return complaint{"NAME": "SETTINGS", "WHY": err.Error()}
	}
	if v.Workers < 1 {
		return complaint{"NAME": "workers", "WHY": fmt.Sprintf("%d is less than 1", v.Workers)}
	}
	if _, err := time.ParseDuration(v.Interval); err != nil {
		return complaint{"NAME": "interval", "WHY": err.Error()}
	}
	if v.Mode != "fast" && v.Mode != "safe" {
		return complaint{"NAME": "mode", "WHY": fmt.Sprintf("%q is not one of fast, safe", v.Mode)}
	}
	return nil
}

// ready refuses work for as long as something is wrong.
func (s *subject) ready(context.Context) error {
	if s.upstream != nil {
		if err := s.upstream.state(); err != nil {
			return err
		}
	}
	return s.plans.ready()
}

// work takes the time that {"for": "250ms"} says.
func (s *subject) work(ctx context.Context, t agentkit.Task) (any, error) {
	var in struct {
		For string `json:"for"`
	}
	if err := t.Decode(&in); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(in.For)
	if err != nil || d < 0 || d > time.Minute {
		return nil, agentkit.Permanent(errors.New(`for: a time span of at most a minute is accepted`))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return "done", nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// parse reads a message. One that is broken it can't survive: with FEATURES
// "brittle" the whole program ends, otherwise the task fails each time.
func (s *subject) parse(_ context.Context, t agentkit.Task) (any, error) {
	var in struct {
		Order int      `json:"order"`
		Lines []string `json:"lines"`
	}
	err := json.Unmarshal(t.Payload, &in)
	if err == nil && in.Lines != nil {
		return len(in.Lines), nil
	}
	if err == nil {
		err = errors.New("lines is null")
	}
	c := complaint{"ID": t.ID, "WHY": err.Error(), "N": strconv.Itoa(t.Attempt)}
	s.voice.say(poison, c)
	if s.has("brittle") {
		// The message goes back before the program is gone, so that it comes again.
		time.AfterFunc(150*time.Millisecond, func() { s.exit(1) })
	}
	return nil, fmt.Errorf("message %s can't be read: %w", t.ID, err)
}

func (s *subject) has(feature string) bool {
	for f := range strings.SplitSeq(s.getenv("FEATURES"), ",") {
		if f == feature {
			return true
		}
	}
	return false
}
