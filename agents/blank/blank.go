// Package blank is the smallest agent. It does nothing of its own, and so
// shows what every agent has, and lets an installation be tried out: its tasks
// answer, take time and fail as they are asked to.
package blank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

// MaxSleep is the longest that a task of type "sleep" may take.
const MaxSleep = 5 * time.Minute

// Run is the agent.
func Run(ctx context.Context) error { return agentkit.Run(ctx, Agent()) }

// Agent gives the agent's definition, for programs that run it themselves.
func Agent() agentkit.Agent {
	return agentkit.Agent{
		Tasks: map[string]agentkit.Handler{
			"ping":  ping,
			"echo":  echo,
			"sleep": sleep,
			"fail":  fail,
		},
	}
}

func ping(context.Context, agentkit.Task) (any, error) {
	return map[string]any{"pong": true, "at": time.Now().UTC()}, nil
}

// echo gives the payload back.
func echo(_ context.Context, t agentkit.Task) (any, error) {
	if len(t.Payload) == 0 {
		return json.RawMessage("null"), nil
	}
	return t.Payload, nil
}

// sleep takes the time that {"for": "3s"} says.
func sleep(ctx context.Context, t agentkit.Task) (any, error) {
	var in struct {
		For string `json:"for"`
	}
	if err := t.Decode(&in); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(in.For)
	if err != nil || d < 0 || d > MaxSleep {
		return nil, agentkit.Permanent(fmt.Errorf(`for: a time span from "0s" to %q is accepted`, MaxSleep))
	}
	start := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return map[string]string{"slept": time.Since(start).Round(time.Millisecond).String()}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fail fails as {"message": "…", "permanent": true} asks, or panics with
// {"panic": true}.
func fail(_ context.Context, t agentkit.Task) (any, error) {
	in := struct {
		Message   string `json:"message"`
		Permanent bool   `json:"permanent"`
		Panic     bool   `json:"panic"`
	}{Message: "this failure was asked for"}
	if len(t.Payload) > 0 {
		if err := t.Decode(&in); err != nil {
			return nil, err
		}
	}
	if in.Panic {
		panic(in.Message)
	}
	err := errors.New(in.Message)
	if in.Permanent {
		err = agentkit.Permanent(err)
	}
	return nil, err
}
