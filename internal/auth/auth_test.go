package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

type world struct {
	t       testing.TB
	ctx     context.Context
	store   *store.Store
	now     time.Time
	audit   *audit.Recorder
	service *auth.Service
	keys    *auth.Keyring
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: storetest.New(t), now: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)}
	w.ctx = auth.With(t.Context(), auth.Principal{ID: "token:boss", Role: auth.Admin, From: "127.0.0.1", Request: "r1"})
	clock := func() time.Time { return w.now }
	w.audit = &audit.Recorder{Store: w.store.Audit(), Now: clock}
	n := 0
	w.service = &auth.Service{Tokens: w.store.Tokens(), Links: w.store.Links(), Users: w.store.Users(), Sessions: w.store.Sessions(),
		Passkeys: w.store.Passkeys(), Flows: w.store.Flows(), Attempts: w.store.Attempts(), Key: bytes.Repeat([]byte{1}, 32),
		Passwords: auth.Argon2{Memory: 64, Time: 1, Threads: 1}, Tx: w.store, Audit: w.audit, Events: w.store.Events(), Now: clock,
		NewID: func() string { n++; return fmt.Sprint("id-", n) }}
	w.keys = &auth.Keyring{Key: bytes.Repeat([]byte{1}, 32), Store: w.store.Credentials(), Tx: w.store, Audit: w.audit, Now: clock}
	return w
}

func (w *world) token(role auth.Role, ttl time.Duration) (string, auth.Token) {
	w.t.Helper()
	secret, token, err := w.service.CreateToken(w.ctx, "t "+string(role), role, ttl)
	if err != nil {
		w.t.Fatal(err)
	}
	return secret, token
}

// refused checks that the error says that access is refused, and why.
func (w *world) refused(err error, code string) {
	w.t.Helper()
	if f := fault.As(err); f == nil || f.Kind != fault.Unauthenticated || f.Code != code {
		w.t.Errorf("%v, want %s", err, code)
	}
}

func TestRoles(t *testing.T) {
	for _, c := range []struct {
		has, need auth.Role
		may       bool
	}{
		{auth.Admin, auth.Admin, true}, {auth.Admin, auth.Viewer, true}, {auth.Operator, auth.Viewer, true}, {auth.Operator, auth.Admin, false},
		{auth.Viewer, auth.Operator, false}, {auth.Nobody, auth.Viewer, false}, {"king", auth.Viewer, false},
	} {
		if c.has.Includes(c.need) != c.may {
			t.Errorf("%q for %q", c.has, c.need)
		}
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	secret, token := w.token(auth.Operator, 0)
	if !strings.HasPrefix(secret, "ptl_") || len(secret) != 47 || token.Hash == secret || strings.Contains(token.Hash, secret[4:]) {
		t.Errorf("secret %q, hash %q", secret, token.Hash)
	}
	if life := token.ExpiresAt.Sub(token.CreatedAt); life != auth.DefaultTokenLife || token.CreatedBy != "token:boss" {
		t.Errorf("token %+v", token)
	}
	other, _ := w.token(auth.Viewer, time.Hour)
	if other == secret {
		t.Error("two tokens have one secret")
	}
	p, err := w.service.Authenticate(w.ctx, secret)
	if err != nil || !strings.HasPrefix(p.ID, "token:t operator/") || p.Role != auth.Operator || p.Name != "t operator" {
		t.Errorf("%+v %v", p, err)
	}
	for _, wrong := range []string{"", "ptl_", secret[:46], secret + "0", strings.ToUpper(secret), "ptl_" + strings.Repeat("0", 43), "ptl_" + strings.Repeat("-", 43), other[:20] + secret[20:]} {
		_, err := w.service.Authenticate(w.ctx, wrong)
		w.refused(err, "auth.token_unknown")
	}
	w.now = w.now.Add(time.Hour)
	_, err = w.service.Authenticate(w.ctx, other)
	w.refused(err, "auth.token_expired")
}

func TestTokenThatCannotBe(t *testing.T) {
	w := newWorld(t)
	w.token(auth.Viewer, 0)
	for _, c := range []struct {
		name  string
		role  auth.Role
		ttl   time.Duration
		field string
	}{
		{"", auth.Viewer, 0, "name"}, {"  ", auth.Viewer, 0, "name"}, {strings.Repeat("ä", 101), auth.Viewer, 0, "name"}, {"a\nb", auth.Viewer, 0, "name"},
		{"x", "king", 0, "role"}, {"x", "", 0, "role"}, {"x", auth.Viewer, -1, "ttl"}, {"x", auth.Viewer, auth.MaxTokenLife + 1, "ttl"},
	} {
		_, _, err := w.service.CreateToken(w.ctx, c.name, c.role, c.ttl)
		if f := fault.As(err); f == nil || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Path != c.field {
			t.Errorf("%q %q %s: %v", c.name, c.role, c.ttl, err)
		}
	}
	if _, _, err := w.service.CreateToken(w.ctx, "t viewer", auth.Viewer, 0); !fault.Is(err, fault.Conflict) {
		t.Errorf("taken name: %v", err)
	}
}

func TestRevokedToken(t *testing.T) {
	w := newWorld(t)
	secret, token := w.token(auth.Admin, 0)
	for range 2 {
		if err := w.service.RevokeToken(w.ctx, token.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.service.Authenticate(w.ctx, secret)
	w.refused(err, "auth.token_revoked")
	if err := w.service.RevokeToken(w.ctx, "none"); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown: %v", err)
	}
	w.token(auth.Admin, 0) // the name is free again
	list, _, err := w.store.Audit().Find(w.ctx, audit.Query{Target: "token/" + token.ID})
	if err != nil || len(list) != 2 || list[0].Action != "token.revoke" || list[1].Action != "token.create" || list[0].Actor != "token:boss" || list[0].From != "127.0.0.1" {
		t.Errorf("record %+v %v", list, err)
	}
	events, err := w.store.Events().Find(w.ctx, event.Query{Types: []event.Type{event.TokenChanged}, Rooms: []string{event.RoomAudit}})
	if err != nil || len(events) != 3 {
		t.Errorf("events %+v %v", events, err)
	}
	for _, e := range list {
		if bytes.Contains(append(e.Before, e.After...), []byte(token.Hash)) {
			t.Error("the hash is on record")
		}
	}
}

func TestLastUseIsNotedOnceAMinute(t *testing.T) {
	w := newWorld(t)
	secret, token := w.token(auth.Viewer, 0)
	touches := &touching{TokenStore: w.store.Tokens()}
	w.service.Tokens = touches
	use := func() {
		t.Helper()
		if _, err := w.service.Authenticate(w.ctx, secret); err != nil {
			t.Fatal(err)
		}
	}
	use()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(use)
	}
	wg.Wait()
	if touches.n != 1 {
		t.Errorf("noted %d times in one moment", touches.n)
	}
	w.now = w.now.Add(time.Minute)
	use()
	if stored, err := w.store.Tokens().Token(w.ctx, token.ID); touches.n != 2 || err != nil || !stored.LastUsedAt.Equal(w.now.Truncate(time.Microsecond)) {
		t.Errorf("noted %d times, last %v, %v", touches.n, stored, err)
	}
	w.now = w.now.Add(-time.Hour) // the clock is put back
	use()
	if touches.n != 3 {
		t.Errorf("noted %d times", touches.n)
	}
}

type touching struct {
	auth.TokenStore
	mu sync.Mutex
	n  int
}

func (s *touching) TouchToken(ctx context.Context, id string, at time.Time) error {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	if err := s.TokenStore.TouchToken(ctx, id, at); err != nil {
		return err
	}
	return errors.New("a failure to note use turns nobody away")
}

func TestLinkAndSession(t *testing.T) {
	w := newWorld(t)
	code, err := w.service.NewLink(w.ctx, auth.Admin, 0)
	if err != nil {
		t.Fatal(err)
	}
	session, err := w.service.RedeemLink(w.ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.service.RedeemLink(w.ctx, code)
	w.refused(err, "auth.link_dead")
	p, err := w.service.SessionPrincipal(w.ctx, session)
	if err != nil || p.Role != auth.Admin || !strings.HasPrefix(p.ID, "session:") {
		t.Errorf("%+v %v", p, err)
	}
	if list, _, _ := w.store.Audit().Find(w.ctx, audit.Query{Action: "auth.sign_in"}); len(list) != 1 || list[0].Actor != p.ID {
		t.Errorf("record %+v", list)
	}
	for _, wrong := range []string{"", code, session[:10], "pts_" + strings.Repeat("0", 43)} {
		_, err := w.service.SessionPrincipal(w.ctx, wrong)
		w.refused(err, "auth.session_over")
	}
	for range 2 {
		if err := w.service.EndSession(w.ctx, p.Session); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.service.SessionPrincipal(w.ctx, session)
	w.refused(err, "auth.session_over")
	events, err := w.store.Events().Find(w.ctx, event.Query{Types: []event.Type{event.SignIn, event.SessionChanged}})
	if err != nil || len(events) != 2 {
		t.Errorf("events %+v %v", events, err)
	}
}

func TestLinkEnds(t *testing.T) {
	w := newWorld(t)
	code, err := w.service.NewLink(w.ctx, auth.Viewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(auth.DefaultLinkLife)
	_, err = w.service.RedeemLink(w.ctx, code)
	w.refused(err, "auth.link_dead")
	_, err = w.service.RedeemLink(w.ctx, "nonsense")
	w.refused(err, "auth.link_dead")
	for _, c := range []struct {
		role auth.Role
		ttl  time.Duration
	}{{"king", 0}, {auth.Viewer, -1}, {auth.Viewer, 25 * time.Hour}} {
		if _, err := w.service.NewLink(w.ctx, c.role, c.ttl); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestSessionLivesByUse(t *testing.T) {
	w := newWorld(t)
	open := func() string {
		t.Helper()
		code, err := w.service.NewLink(w.ctx, auth.Viewer, 0)
		if err != nil {
			t.Fatal(err)
		}
		session, err := w.service.RedeemLink(w.ctx, code)
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
	used, watched := open(), open()
	p, err := w.service.SessionPrincipal(w.ctx, watched)
	if err != nil {
		t.Fatal(err)
	}
	id := p.Session
	for range 2 {
		w.now = w.now.Add(13 * time.Hour)
		if _, err := w.service.SessionPrincipal(w.ctx, used); err != nil {
			t.Fatal(err)
		}
		_, _ = w.service.CheckSession(w.ctx, id) // looking is not use
	}
	_, err = w.service.CheckSession(w.ctx, id)
	w.refused(err, "auth.session_over")
	for w.now.Before(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)) {
		w.now = w.now.Add(20 * time.Hour)
		if _, err = w.service.SessionPrincipal(w.ctx, used); err != nil {
			break
		}
	}
	w.refused(err, "auth.session_over") // use does not make it last for ever
	if err := w.service.Expire(w.ctx); err != nil {
		t.Fatal(err)
	}
}

func (w *world) agents(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		a := &agent.Agent{ID: id, Spec: agent.Spec{ID: id, Name: id}, Revision: 1, State: agent.Draft, CreatedAt: w.now, UpdatedAt: w.now}
		if err := w.store.Agents().Create(w.ctx, a, agent.Revision{AgentID: id, Number: 1, Spec: a.Spec, CreatedAt: w.now}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestKeyring(t *testing.T) {
	w := newWorld(t)
	w.agents("a", "b")
	if _, err := w.keys.Secret(w.ctx, "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("before issuing: %v", err)
	}
	first, err := w.keys.Issue(w.ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	again, err := w.keys.Issue(w.ctx, "a") // the step that issues may run twice
	if err != nil || again != first {
		t.Errorf("issued again: %q, %q, %v", first, again, err)
	}
	if s, err := w.keys.Secret(w.ctx, "a"); err != nil || s != first {
		t.Errorf("secret %q, %v", s, err)
	}
	other, err := w.keys.Issue(w.ctx, "b")
	if err != nil || other == first {
		t.Errorf("another agent's: %q, %v", other, err)
	}
	if err := w.keys.Verify(w.ctx, "a", first); err != nil {
		t.Error(err)
	}
	for agent, secret := range map[string]string{"a": other, "b": first, "none": first, "": ""} {
		w.refused(w.keys.Verify(w.ctx, agent, secret), "auth.agent_refused")
	}
	for range 2 {
		if err := w.keys.Revoke(w.ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	w.refused(w.keys.Verify(w.ctx, "a", first), "auth.agent_refused")
	if fresh, err := w.keys.Issue(w.ctx, "a"); err != nil || fresh == first {
		t.Errorf("after revoking: %q, %v", fresh, err)
	}
	list, _, err := w.store.Audit().Find(w.ctx, audit.Query{Target: "agent/a"})
	if err != nil || len(list) != 3 {
		t.Errorf("record %+v %v", list, err)
	}
}

func TestKeyringWithTheWrongKey(t *testing.T) {
	w := newWorld(t)
	w.agents("a")
	if _, err := w.keys.Issue(w.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	w.keys.Key = bytes.Repeat([]byte{2}, 32)
	for _, get := range []func(context.Context, string) (string, error){w.keys.Secret, w.keys.Issue} {
		if _, err := get(w.ctx, "a"); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "master key") {
			t.Errorf("%v", err)
		}
	}
	w.keys.Key = nil
	for _, get := range []func(context.Context, string) (string, error){w.keys.Secret, w.keys.Issue} {
		if _, err := get(w.ctx, "a"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	}
}

func TestRecheck(t *testing.T) {
	w := newWorld(t)
	if p, err := auth.Recheck(w.ctx); err != nil || p.ID != "token:boss" {
		t.Errorf("%+v %v", p, err)
	}
	secret, token := w.token(auth.Viewer, 0)
	ctx := auth.WithRecheck(w.ctx, func(ctx context.Context) (auth.Principal, error) { return w.service.Authenticate(ctx, secret) })
	if p, err := auth.Recheck(ctx); err != nil || p.Role != auth.Viewer {
		t.Errorf("%+v %v", p, err)
	}
	if err := w.service.RevokeToken(w.ctx, token.ID); err != nil {
		t.Fatal(err)
	}
	_, err := auth.Recheck(ctx)
	w.refused(err, "auth.token_revoked")
}

func TestAStoreThatDoesNotAnswerIsNoWrongPassword(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.token(auth.Viewer, 0)
	code, err := w.service.NewLink(w.ctx, auth.Viewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	session, err := w.service.RedeemLink(w.ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	_, errToken := w.service.Authenticate(w.ctx, secret)
	_, errSession := w.service.SessionPrincipal(w.ctx, session)
	_, errLink := w.service.RedeemLink(w.ctx, code)
	for what, err := range map[string]error{"token": errToken, "session": errSession, "link": errLink, "agent": w.keys.Verify(w.ctx, "a", "x"),
		"end": w.service.EndSession(w.ctx, session), "revoke": w.keys.Revoke(w.ctx, "a")} {
		if err == nil || fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
