package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/txn"
)

func spec(name string) map[string]any {
	return map[string]any{"name": name, "command": "/bin/sleep", "args": []string{"3600"}}
}

func TestSameKeySameAnswer(t *testing.T) {
	w := newWorld(t)
	first := w.do("POST", api+"/agents", spec("One"), "Idempotency-Key", "k1").want(t, 201)
	second := w.do("POST", api+"/agents", spec("One"), "Idempotency-Key", "k1").want(t, 201)
	if second.Body != first.Body || second.Header.Get("Location") != first.Header.Get("Location") || second.Header.Get("ETag") != first.Header.Get("ETag") {
		t.Errorf("the answers differ:\n%s\n%s", first.Body, second.Body)
	}
	if first.Header.Get("Idempotency-Replayed") != "" || second.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replayed: %q, %q", first.Header.Get("Idempotency-Replayed"), second.Header.Get("Idempotency-Replayed"))
	}
	for name, r := range map[string]reply{
		"other body":    w.do("POST", api+"/agents", spec("Two"), "Idempotency-Key", "k1"),
		"other address": w.do("POST", api+"/agents/import", spec("One"), "Idempotency-Key", "k1"),
		"other query":   w.do("POST", api+"/agents/import?dry_run=true", spec("One"), "Idempotency-Key", "k1"),
	} {
		if r.Status != http.StatusConflict || r.code(t) != "idempotency.reused" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	// Keys of others are their own.
	other := []string{"Idempotency-Key", "k1"}
	w.do("POST", api+"/agents", spec("Three"), append(other, w.as(auth.Operator)...)...).want(t, 201)
	if n := w.do("GET", api+"/agents", nil).JSON(t)["total"]; n != 2.0 {
		t.Errorf("%v agents", n)
	}
	w.clock.Forward(25 * time.Hour)
	w.do("POST", api+"/agents", spec("Four"), "Idempotency-Key", "k1").want(t, 201)
}

func TestKeyOfARefusedRequestIsFree(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	before := len(w.refusals())
	w.do("POST", api+"/agents/one/start", nil, "Idempotency-Key", "k").want(t, 409)
	if got := w.refusals(); len(got) != before+1 {
		t.Errorf("%d refusals on record, want one: %+v", len(got)-before, got[:len(got)-before])
	}
	w.act("one", "provision")
	w.act("one", "deploy")
	w.do("POST", api+"/agents/one/start?wait=30s", nil, "Idempotency-Key", "k").want(t, 200)
}

func TestKeyOnAnAction(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	first := w.do("POST", api+"/agents/one/provision?wait=30s", nil, "Idempotency-Key", "k").want(t, 200)
	again := w.do("POST", api+"/agents/one/provision?wait=10s", nil, "Idempotency-Key", "k").want(t, 200)
	plain := w.do("POST", api+"/agents/one/provision", nil, "Idempotency-Key", "k").want(t, 202)
	id := func(r reply) any { return r.JSON(t)["operation"].(map[string]any)["id"] }
	if id(first) != id(again) || id(first) != id(plain) {
		t.Errorf("operations %v, %v, %v", id(first), id(again), id(plain))
	}
	if n := len(w.do("GET", api+"/operations?agent=one", nil).JSON(t)["items"].([]any)); n != 1 {
		t.Errorf("%d operations were made", n)
	}
}

func TestSameKeyAtTheSameInstant(t *testing.T) {
	w := newWorld(t)
	const n = 8
	replies := make([]reply, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { replies[i] = w.do("POST", api+"/agents", spec("One"), "Idempotency-Key", "k") })
	}
	wg.Wait()
	fresh := 0
	for _, r := range replies {
		if r.Status != 201 {
			t.Errorf("status %d: %s", r.Status, r.Body)
		}
		if r.Header.Get("Idempotency-Replayed") == "" {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("it was carried out %d times", fresh)
	}
}

func TestKeyDoesNotKeepSecrets(t *testing.T) {
	w := newWorld(t)
	body := map[string]any{"name": "ci", "role": "viewer"}
	first := w.do("POST", api+"/tokens", body, "Idempotency-Key", "k").want(t, 201).JSON(t)
	again := w.do("POST", api+"/tokens", body, "Idempotency-Key", "k").want(t, 201)
	if strings.Contains(again.Body, "ptl_") || again.JSON(t)["token"].(map[string]any)["id"] != first["token"].(map[string]any)["id"] {
		t.Errorf("given again: %s", again.Body)
	}
}

func TestWrongKeys(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{strings.Repeat("k", 256), "two words", "é"} {
		w.do("POST", api+"/agents", spec("One"), "Idempotency-Key", key).want(t, 400).code(t)
	}
}

func TestWait(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	w.act("one", "provision")
	release := w.runtime.Block("Prepare")
	r := w.do("POST", api+"/agents/one/deploy?wait=50ms", nil).want(t, 202)
	op := r.JSON(t)["operation"].(map[string]any)
	if r.Header.Get("Location") != api+"/operations/"+op["id"].(string) || op["state"] == "SUCCEEDED" {
		t.Errorf("answer in between: %s", r.Body)
	}
	place := r.Header.Get("Location")
	release()
	if s := w.do("GET", place+"?wait=30s", nil).want(t, 200).JSON(t)["state"]; s != "SUCCEEDED" {
		t.Errorf("state %v", s)
	}
	for _, wait := range []string{"6m", "-1s", "soon"} {
		if r := w.do("POST", api+"/agents/one/start?wait="+wait, nil).want(t, 400); fmt.Sprint(errorPaths(t, r)) != "[query.wait]" {
			t.Errorf("wait=%s: %s", wait, r.Body)
		}
	}
	if s := w.do("GET", api+"/agents/one", nil).JSON(t)["state"]; s != "DEPLOYED" {
		t.Errorf("a refused request did something: %v", s)
	}
}

// Every refused change is on record once, whoever refused it.
func TestRefusalsAreOnRecordOnce(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	for name, try := range map[string]struct {
		do     func() reply
		status int
		actor  string
	}{
		"no token":     {func() reply { return w.do("POST", api+"/agents/one/start", nil, "Authorization", "") }, 401, "anonymous"},
		"wrong role":   {func() reply { return w.do("DELETE", api+"/agents/one", nil, w.as(auth.Viewer)...) }, 403, "token:"},
		"wrong state":  {func() reply { return w.do("POST", api+"/agents/one/start", nil) }, 409, "token:"},
		"stale":        {func() reply { return w.do("PATCH", api+"/agents/one", `{"tier":1}`, "If-Match", `"99"`) }, 412, "token:"},
		"unknown":      {func() reply { return w.do("DELETE", api+"/agents/none", nil) }, 404, "token:"},
		"taken name":   {func() reply { return w.do("POST", api+"/agents", spec("One")) }, 409, "token:"},
		"wrong secret": {func() reply { return w.do("GET", api+"/agents", nil, "Authorization", "Bearer ptl_x") }, 401, "anonymous"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.refusals())
			r := try.do().want(t, try.status)
			got := w.refusals()
			if len(got) != before+1 {
				t.Fatalf("%d entries were written: %+v", len(got)-before, got)
			}
			e := got[0]
			if !strings.HasPrefix(e.Actor, try.actor) || e.From != "127.0.0.1" || e.Request != r.Header.Get("X-Request-Id") || e.Reason == "" || e.Action == "" {
				t.Errorf("entry %+v", e)
			}
		})
	}
	if report, err := audit.Verify(t.Context(), w.store.Audit()); err != nil || !report.OK {
		t.Errorf("the chain: %+v %v", report, err)
	}
}

// late is a store in which what another replica stores shows a moment too late.
type late struct {
	auth.IdempotencyStore
	blind int
}

func (l *late) Replay(ctx context.Context, principal, key string) (*auth.Replay, error) {
	if l.blind > 0 {
		l.blind--
		return nil, fault.New(fault.NotFound, "replay", "none")
	}
	return l.IdempotencyStore.Replay(ctx, principal, key)
}

func TestSameKeyAtTwoReplicas(t *testing.T) {
	l := &late{}
	w := newWorld(t, func(c *httpapi.Config) { l.IdempotencyStore, c.Idempotency = c.Idempotency, l })
	first := w.do("POST", api+"/agents", spec("One"), "Idempotency-Key", "k1").want(t, 201)
	l.blind = 1 // the agent is there already
	if again := w.do("POST", api+"/agents", spec("One"), "Idempotency-Key", "k1").want(t, 201); again.Body != first.Body {
		t.Errorf("the answers differ: %s", again.Body)
	}
	first = w.do("PATCH", api+"/agents/one", `{"tier":1}`, "Idempotency-Key", "k2").want(t, 200)
	l.blind = 1 // it could be done twice, but for the key
	if again := w.do("PATCH", api+"/agents/one", `{"tier":1}`, "Idempotency-Key", "k2").want(t, 200); again.Body != first.Body {
		t.Errorf("the answers differ: %s", again.Body)
	}
	if n := len(w.refusals()); n != 0 {
		t.Errorf("%d refusals on record", n)
	}
}

// panics breaks down in the midst of a transaction.
type panics struct {
	httpapi.AgentService
	tx txn.Runner
}

func (p panics) Delete(ctx context.Context, id string, _ int64) error {
	return p.tx.Do(ctx, func(context.Context) error { panic(id) })
}

func TestPanicWithAKeyHoldsNothingUp(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Agents = panics{c.Agents, c.Tx} })
	w.create("One")
	w.do("DELETE", api+"/agents/one", nil, "Idempotency-Key", "k").want(t, 500).code(t)
	w.create("Two")
}
