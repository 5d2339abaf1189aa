// Package drivetest drives a portal in a test, and ends the test where the portal
// does not do what it was asked.
package drivetest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// Pilot is a portal that runs agents on an engine.
type Pilot struct {
	*testing.T
	*drive.Portal
	// Ctx bounds the whole test.
	Ctx context.Context
	// Runtime is that of the agents which say nothing else.
	Runtime string
}

// Open starts the program on an empty data directory; it is stopped at the end of
// the test.
func Open(t *testing.T, program, runtime string, args ...string) *Pilot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	p, err := drive.New(program, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &Pilot{T: t, Portal: p, Ctx: ctx, Runtime: runtime}
}

// Create makes an agent.
func (p *Pilot) Create(name string, spec map[string]any) {
	p.Helper()
	body := map[string]any{"name": name, "runtime": p.Runtime}
	for k, v := range spec {
		body[k] = v
	}
	if err := p.Call(p.Ctx, http.MethodPost, "/agents", body, nil); err != nil {
		p.Fatal(err)
	}
}

// Running makes an agent and brings it to where it runs.
func (p *Pilot) Running(name string, spec map[string]any) {
	p.Helper()
	p.Create(name, spec)
	p.Do(name, "provision", "deploy", "start")
	p.Until(name, "RUNNING", "healthy")
}

// Do lets the portal do one action after the other, each of which has to succeed.
func (p *Pilot) Do(name string, actions ...string) {
	p.Helper()
	for _, action := range actions {
		op, err := p.Act(p.Ctx, name, action)
		if err != nil || op.State != "SUCCEEDED" {
			p.Fatalf("%s %s: %+v, %v", action, name, op, err)
		}
	}
}

// Until waits until the agent is so; any health is right where none is given.
func (p *Pilot) Until(name, state, health string) {
	p.Helper()
	var a drive.Agent
	err := drive.Poll(p.Ctx, 100*time.Millisecond, func() (done bool, err error) {
		a, err = p.Agent(p.Ctx, name)
		return a.State == state && (health == "" || a.Health == health), err
	})
	if err != nil {
		p.Fatalf("%s is %s and %s, want %s and %s: %v", name, a.State, a.Health, state, health, err)
	}
}

// Command gives what the command line says, which has to succeed.
func (p *Pilot) Command(args ...string) string {
	p.Helper()
	out, err := p.Portal.Run(p.Ctx, args...)
	if err != nil {
		p.Fatal(err)
	}
	return out
}
