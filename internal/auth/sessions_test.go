package auth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/jwt"
)

// enter opens a session of the user from a browser at the address.
func (w *world) enter(u *auth.User, address string) (string, context.Context) {
	w.t.Helper()
	ctx := auth.WithClient(w.ctx, auth.Client{Address: address, UserAgent: "Browser/1 (\x1b[31mred)"})
	session, err := w.service.SignInPassword(ctx, u.Email, goodPassword)
	return session, w.signedIn(session, err)
}

func TestOwnSessions(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.local("ann@example.com", auth.Admin), w.local("bob@example.com", auth.Admin)
	here, asAnn := w.enter(ann, "10.0.0.1")
	w.now = w.now.Add(time.Hour)
	there, _ := w.enter(ann, "10.0.0.2")
	bobs, asBob := w.enter(bob, "10.0.0.3")
	list, err := w.service.OwnSessions(asAnn)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v %v", list, err)
	}
	if d := list[0]; d.Current || d.Address != "10.0.0.2" || d.UserAgent != "Browser/1 ([31mred)" || d.Method != "password" || d.Kind != auth.Browser {
		t.Errorf("the other: %+v", d)
	}
	if !list[1].Current || list[1].Address != "10.0.0.1" {
		t.Errorf("this one: %+v", list[1])
	}
	wantFault(t, "somebody else's", w.service.EndOwnSession(asBob, list[0].ID), fault.NotFound, "session.not_found")
	if err := w.service.EndOwnSession(asAnn, list[0].ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.SessionPrincipal(w.ctx, there)
	w.refused(err, "auth.session_over")
	w.enter(ann, "10.0.0.4")
	if err := w.service.EndOwnSessions(asAnn); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.SessionPrincipal(w.ctx, here)
	w.refused(err, "auth.session_over")
	if list, _ := w.service.OwnSessions(asAnn); len(list) != 0 {
		t.Errorf("left after signing out everywhere: %+v", list)
	}
	if _, err := w.service.SessionPrincipal(w.ctx, bobs); err != nil {
		t.Errorf("somebody else was signed out: %v", err)
	}
	if n := len(w.events(event.SessionChanged)); n != 3 {
		t.Errorf("%d events of ended sessions", n)
	}
}

func TestWhoCameByALinkSeesOnlyTheirOwnSession(t *testing.T) {
	w := newWorld(t)
	open := func() context.Context {
		code, err := w.service.NewLink(w.ctx, auth.Viewer, 0)
		if err != nil {
			t.Fatal(err)
		}
		return w.signedIn(w.service.RedeemLink(w.ctx, code))
	}
	one, two := open(), open()
	if p := auth.From(one); p.User != auth.LinkUser {
		t.Errorf("%+v", p)
	}
	list, err := w.service.OwnSessions(one)
	if err != nil || len(list) != 1 || !list[0].Current {
		t.Errorf("%+v %v", list, err)
	}
	wantFault(t, "another's", w.service.EndOwnSession(two, list[0].ID), fault.NotFound, "session.not_found")
	_, err = w.service.UserOf(one)
	wantFault(t, "account", err, fault.NotFound, "user.none")
}

func TestALinkOfAUser(t *testing.T) {
	w := newWorld(t)
	w.rules("", "", "@example.com")
	u, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: "new@example.com", Role: auth.Operator})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.service.SignInPassword(w.ctx, u.Email, "")
	w.refused(err, "auth.wrong_password") // no password is not an empty one
	code, err := w.service.NewUserLink(w.ctx, u.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx := w.signedIn(w.service.RedeemLink(w.ctx, code))
	if p := auth.From(ctx); p.User != u.Key() || p.Role != auth.Operator {
		t.Errorf("%+v", p)
	}
	_, err = w.service.RedeemLink(w.ctx, code)
	w.refused(err, "auth.link_dead")
	if err := w.service.SetOwnPassword(ctx, "", goodPassword); err != nil {
		t.Fatal(err)
	}
	if err := w.service.SetOwnPassword(ctx, "", goodPassword+" new"); err != nil {
		t.Errorf("whoever came by a link has forgotten the password: %v", err)
	}
	external := auth.From(w.signedIn(w.service.SignInExternal(w.ctx, identity("ext@example.com"))))
	_, err = w.service.NewUserLink(w.ctx, strings.TrimPrefix(external.User, "user:"), 0)
	wantFault(t, "a provider's user", err, fault.Conflict, "user.not_local")
}

// rotate is what the edge does with each request: ask who it is, then whether
// the secret is to change. It gives the secret that the browser has afterwards.
func (w *world) rotate(secret string) string {
	w.t.Helper()
	p, err := w.service.SessionPrincipal(w.ctx, secret)
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
	fresh, err := w.service.RotateSession(w.ctx, secret, p.Role)
	if err != nil {
		w.t.Fatal(err)
	}
	if fresh == "" {
		return secret
	}
	return fresh
}

func TestTheSecretOfASessionChanges(t *testing.T) {
	w := newWorld(t)
	w.local("root@example.com", auth.Admin)
	u := w.local("ann@example.com", auth.Admin)
	first, ctx := w.enter(u, "10.0.0.1")
	if got := w.rotate(first); got != first {
		t.Error("it changed at once")
	}
	w.now = w.now.Add(auth.RotateEvery)
	second := w.rotate(first)
	if second == first {
		t.Fatal("it did not change in time")
	}
	for range 3 { // requests that were on their way
		if got := w.rotate(first); got != first {
			t.Error("a request on its way changed it again")
		}
	}
	w.rotate(second) // now the browser has shown that it has it
	w.now = w.now.Add(auth.RotateGrace - time.Second)
	w.rotate(first)
	if p := auth.From(w.signedIn(second, nil)); p.Session != auth.From(ctx).Session {
		t.Error("it is another session")
	}
	w.now = w.now.Add(time.Second)
	_, err := w.service.SessionPrincipal(w.ctx, first)
	w.refused(err, "auth.session_over")
	// Somebody else has the old one: nobody knows which of both is the thief.
	_, err = w.service.SessionPrincipal(w.ctx, second)
	w.refused(err, "auth.session_over")
	w.records("auth.session_reused")
}

func TestASecretThatNeverArrivedIsReplaced(t *testing.T) {
	w := newWorld(t)
	first, _ := w.enter(w.local("ann@example.com", auth.Admin), "10.0.0.1")
	w.now = w.now.Add(auth.RotateEvery)
	lost := w.rotate(first)
	w.now = w.now.Add(time.Hour)
	second := w.rotate(first) // the browser still has the old one, and it is good
	if second == lost || second == first {
		t.Fatalf("got %q", second)
	}
	_, err := w.service.SessionPrincipal(w.ctx, lost)
	w.refused(err, "auth.session_over")
	w.rotate(second)
}

func TestTheSecretChangesWithTheRole(t *testing.T) {
	w := newWorld(t)
	w.local("root@example.com", auth.Admin)
	u := w.local("ann@example.com", auth.Viewer)
	first, _ := w.enter(u, "10.0.0.1")
	admin := auth.Admin
	if _, err := w.service.ChangeUser(w.ctx, u.ID, auth.UserChange{Role: &admin}); err != nil {
		t.Fatal(err)
	}
	second := w.rotate(first)
	if second == first {
		t.Error("the secret of the viewer became that of an admin")
	}
	if p := auth.From(w.signedIn(second, nil)); p.Role != auth.Admin {
		t.Errorf("%+v", p)
	}
}

func TestManyRequestsAtOnceGetOneNewSecret(t *testing.T) {
	w := newWorld(t)
	first, _ := w.enter(w.local("ann@example.com", auth.Admin), "10.0.0.1")
	w.now = w.now.Add(auth.RotateEvery)
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := map[string]bool{}
	for range 8 {
		wg.Go(func() {
			got, err := w.service.RotateSession(w.ctx, first, auth.Admin)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if got != "" {
				fresh[got] = true
			}
		})
	}
	wg.Wait()
	if len(fresh) != 1 {
		t.Errorf("%d new secrets", len(fresh))
	}
}

// commandLine makes access tokens possible and gives a code's verifier and request.
func (w *world) commandLine() (string, auth.CodeRequest) {
	w.service.Access = &jwt.Tokens{Key: w.service.Key, Issuer: "http://portal", Now: func() time.Time { return w.now }, NewID: w.service.NewID}
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	return verifier, auth.CodeRequest{Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Redirect: "http://127.0.0.1:40000/back"}
}

func TestCommandLine(t *testing.T) {
	w := newWorld(t)
	w.local("root@example.com", auth.Admin)
	u := w.local("ann@example.com", auth.Operator)
	verifier, ask := w.commandLine()
	_, browser := w.enter(u, "10.0.0.1")
	code, err := w.service.NewCode(browser, ask)
	if err != nil {
		t.Fatal(err)
	}
	g, err := w.service.RedeemCode(auth.WithClient(w.ctx, auth.Client{Address: "10.0.0.9", UserAgent: "portal/1"}), code, verifier, ask.Redirect)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.service.Authenticate(w.ctx, g.Access)
	if err != nil || p.Role != auth.Operator || p.User != u.Key() || g.Expires.Sub(w.now) > auth.AccessLife {
		t.Errorf("%+v %v", p, err)
	}
	cli := auth.With(w.ctx, p)
	list, err := w.service.OwnSessions(cli)
	if err != nil || len(list) != 2 || !list[0].Current && !list[1].Current {
		t.Errorf("%+v %v", list, err)
	}
	_, err = w.service.NewCode(cli, ask)
	wantFault(t, "a command line makes another", err, fault.Forbidden, "auth.needs_browser")
	wantFault(t, "password", w.service.SetOwnPassword(cli, goodPassword, goodPassword+"x"), fault.Forbidden, "auth.needs_browser")

	viewer := auth.Viewer
	if _, err := w.service.ChangeUser(w.ctx, u.ID, auth.UserChange{Role: &viewer}); err != nil {
		t.Fatal(err)
	}
	if p, err := w.service.Authenticate(w.ctx, g.Access); err != nil || p.Role != auth.Viewer {
		t.Errorf("the token keeps a role that is gone: %+v %v", p, err)
	}
	if err := w.service.EndOwnSession(browser, p.Session); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.Authenticate(w.ctx, g.Access)
	w.refused(err, "auth.session_over")
	_, err = w.service.Refresh(w.ctx, g.Refresh)
	w.refused(err, "auth.session_over")
}

func TestCodesThatAreNotTaken(t *testing.T) {
	w := newWorld(t)
	verifier, ask := w.commandLine()
	_, browser := w.enter(w.local("ann@example.com", auth.Admin), "10.0.0.1")
	code := func() string {
		t.Helper()
		c, err := w.service.NewCode(browser, ask)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	used := code()
	if _, err := w.service.RedeemCode(w.ctx, used, verifier, ask.Redirect); err != nil {
		t.Fatal(err)
	}
	_, err := w.service.RedeemCode(w.ctx, used, verifier, ask.Redirect)
	w.refused(err, "auth.flow_over")
	for what, try := range map[string][2]string{"verifier": {strings.Repeat("w", 43), ask.Redirect}, "redirect": {verifier, "http://127.0.0.1:40001/back"}, "none": {"", ask.Redirect}} {
		c := code()
		_, err := w.service.RedeemCode(w.ctx, c, try[0], try[1])
		w.refused(err, "auth.code_wrong")
		_, err = w.service.RedeemCode(w.ctx, c, verifier, ask.Redirect)
		if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: after a wrong try: %v", what, err)
		}
	}
	late := code()
	w.now = w.now.Add(3 * time.Minute)
	_, err = w.service.RedeemCode(w.ctx, late, verifier, ask.Redirect)
	w.refused(err, "auth.flow_over")
	out := code()
	if err := w.service.EndOwnSessions(browser); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.RedeemCode(w.ctx, out, verifier, ask.Redirect)
	w.refused(err, "auth.code_wrong")
	_, err = w.service.NewCode(w.ctx, ask)
	wantFault(t, "a token", err, fault.Forbidden, "auth.needs_browser")
}

func TestCodesGoToThisMachineOnly(t *testing.T) {
	_, good := (&world{service: &auth.Service{}}).commandLine()
	for redirect, ok := range map[string]bool{
		"http://127.0.0.1:1/": true, "http://[::1]:65535/back?x=1": true, "http://127.0.0.1:40000": true,
		"https://127.0.0.1:1/": false, "http://127.0.0.1/": false, "http://localhost:1/": false, "http://127.0.0.2:1/": false, "http://10.0.0.1:1/": false,
		"http://127.0.0.1:1@evil.example/": false, "http://127.0.0.1:1.evil.example/": false, "http://evil.example:1/": false, "http://127.0.0.1:0/": false,
		"javascript:alert(1)": false, "//127.0.0.1:1/": false, "http://127.0.0.1:1/#f": false, "http://127.0.0.1:1/\r\nX: y": false, "http:\\\\127.0.0.1:1": false, "": false,
	} {
		err := auth.CodeRequest{Challenge: good.Challenge, Redirect: redirect}.Check()
		if ok == (err != nil) {
			t.Errorf("%q: %v", redirect, err)
		}
	}
	for _, challenge := range []string{"", "x", good.Challenge + "A", good.Challenge[:42] + "=", strings.Repeat("v", 43) + "\n"} {
		if err := (auth.CodeRequest{Challenge: challenge, Redirect: good.Redirect}).Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("challenge %q: %v", challenge, err)
		}
	}
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t)
	verifier, ask := w.commandLine()
	ann := w.local("ann@example.com", auth.Admin)
	login := func() *auth.Grant {
		t.Helper()
		_, browser := w.enter(ann, "10.0.0.1")
		code, err := w.service.NewCode(browser, ask)
		if err != nil {
			t.Fatal(err)
		}
		g, err := w.service.RedeemCode(w.ctx, code, verifier, ask.Redirect)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g, other := login(), login()
	tokens := []string{g.Refresh}
	for range 3 {
		w.now = w.now.Add(20 * time.Hour)
		next, err := w.service.Refresh(w.ctx, g.Refresh)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.Authenticate(w.ctx, next.Access); err != nil {
			t.Error(err)
		}
		g = next
		tokens = append(tokens, g.Refresh)
	}
	for _, wrong := range []string{"", "ptr_", g.Refresh[:89], g.Refresh + "0", "ptr_" + strings.Repeat("0", 86), strings.Replace(g.Refresh, "ptr_", "pts_", 1)} {
		_, err := w.service.Refresh(w.ctx, wrong)
		w.refused(err, "auth.session_over")
	}
	if _, err := w.service.Refresh(w.ctx, other.Refresh); err != nil {
		t.Fatal(err)
	}
	// However old the one that comes back is: the session ends, and no other does.
	_, err := w.service.Refresh(w.ctx, tokens[0])
	w.refused(err, "auth.session_over")
	_, err = w.service.Refresh(w.ctx, g.Refresh)
	w.refused(err, "auth.session_over")
	_, err = w.service.Authenticate(w.ctx, g.Access)
	w.refused(err, "auth.session_over")
	w.records("auth.session_reused")

	idle := login()
	w.now = w.now.Add(auth.CLIIdle)
	_, err = w.service.Refresh(w.ctx, idle.Refresh)
	w.refused(err, "auth.session_over")
}

func TestRefreshEndsInTheEnd(t *testing.T) {
	w := newWorld(t)
	verifier, ask := w.commandLine()
	_, browser := w.enter(w.local("ann@example.com", auth.Admin), "10.0.0.1")
	code, err := w.service.NewCode(browser, ask)
	if err != nil {
		t.Fatal(err)
	}
	g, err := w.service.RedeemCode(w.ctx, code, verifier, ask.Redirect)
	for days := 0; err == nil; days += 5 {
		if days > 30 {
			t.Fatal("it goes on for ever")
		}
		w.now = w.now.Add(5 * 24 * time.Hour)
		g, err = w.service.Refresh(w.ctx, g.Refresh)
	}
	w.refused(err, "auth.session_over")
}

// BenchmarkRequest is what finding out who asks costs each request.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(b)
	u, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: "ann@example.com", Role: auth.Admin, Password: goodPassword})
	if err != nil {
		b.Fatal(err)
	}
	session, err := w.service.SignInPassword(w.ctx, u.Email, goodPassword)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := w.service.SessionPrincipal(w.ctx, session)
		if err == nil {
			_, err = w.service.RotateSession(w.ctx, session, p.Role)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
