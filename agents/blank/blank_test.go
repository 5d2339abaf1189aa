package blank_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
	"github.com/waooaw/platform-portal/agents/blank"
)

func do(t *testing.T, kind, payload string) (any, error) {
	t.Helper()
	handler := blank.Agent().Tasks[kind]
	if handler == nil {
		t.Fatalf("there is no task %s", kind)
	}
	return handler(t.Context(), agentkit.Task{ID: "1", Type: kind, Payload: json.RawMessage(payload)})
}

func TestPingAndEcho(t *testing.T) {
	if v, err := do(t, "ping", ""); err != nil || v == nil {
		t.Fatal(v, err)
	}
	for payload, want := range map[string]string{`{"a":[1,null]}`: `{"a":[1,null]}`, ``: `null`, `7`: `7`} {
		v, err := do(t, "echo", payload)
		got, _ := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Fatalf("%s came back as %s, %v", payload, got, err)
		}
	}
}

func TestSleepTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := do(t, "sleep", `{"for":"3s"}`); err != nil || time.Since(start) != 3*time.Second {
			t.Fatal(time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := blank.Agent().Tasks["sleep"](ctx, agentkit.Task{Payload: json.RawMessage(`{"for":"1m"}`)})
		if !errors.Is(err, context.DeadlineExceeded) || agentkit.IsPermanent(err) {
			t.Fatal("it sleeps on, or could not be tried again:", err)
		}
	})
	for _, payload := range []string{``, `{}`, `{"for":"long"}`, `{"for":"-1s"}`, `{"for":"6m"}`, `{"until":"noon"}`} {
		if _, err := do(t, "sleep", payload); !agentkit.IsPermanent(err) {
			t.Fatalf("%s: %v", payload, err)
		}
	}
}

func TestFailFailsAsAsked(t *testing.T) {
	for payload, permanent := range map[string]bool{``: false, `{"message":"no"}`: false, `{"permanent":true}`: true, `{"x":1}`: true} {
		if _, err := do(t, "fail", payload); err == nil || agentkit.IsPermanent(err) != permanent {
			t.Fatalf("%s: %v", payload, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Fatal("it does not panic")
		}
	}()
	do(t, "fail", `{"panic":true}`)
}

func TestRunNeedsItsEnvironment(t *testing.T) {
	t.Setenv("PORT", "")
	if err := blank.Run(t.Context()); err == nil {
		t.Fatal("it ran without a port")
	}
}
