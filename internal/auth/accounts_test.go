package auth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

const goodPassword = "correct horse battery staple"

// rules sets the rules of the configuration.
func (w *world) rules(admins, operators, viewers string) {
	w.t.Helper()
	w.service.Rules = nil
	for role, text := range map[auth.Role]string{auth.Admin: admins, auth.Operator: operators, auth.Viewer: viewers} {
		rules, err := auth.ParseRules(role, text)
		if err != nil {
			w.t.Fatal(err)
		}
		w.service.Rules = append(w.service.Rules, rules...)
	}
}

func identity(email string, groups ...string) auth.Identity {
	return auth.Identity{Provider: "google", Subject: "sub-" + email, Email: email, EmailVerified: true, Name: "Ann Ahrend",
		Claims: map[string][]string{"groups": groups, "picture": {"secret"}}}
}

// local makes a local user with the password.
func (w *world) local(email string, role auth.Role) *auth.User {
	w.t.Helper()
	u, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: email, Name: "Ann Ahrend", Role: role, Password: goodPassword})
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// signedIn gives the context of the session's principal.
func (w *world) signedIn(session string, err error) context.Context {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.service.SessionPrincipal(w.ctx, session)
	if err != nil {
		w.t.Fatal(err)
	}
	return auth.With(w.ctx, p)
}

func wantFault(t testing.TB, what string, err error, kind fault.Kind, code string) {
	t.Helper()
	if f := fault.As(err); f == nil || f.Kind != kind || f.Code != code {
		t.Errorf("%s: %v, want %s %s", what, err, kind, code)
	}
}

func wantField(t testing.TB, what string, err error, field string) {
	t.Helper()
	if f := fault.As(err); f == nil || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Path != field {
		t.Errorf("%s: %v, want the field %s", what, err, field)
	}
}

func TestRoleRules(t *testing.T) {
	w := newWorld(t)
	w.rules("Boss@Example.com, claim:groups=ops admins", "@ops.example.com", "@example.com,@ops.example.com")
	for _, c := range []struct {
		id   auth.Identity
		role auth.Role
	}{
		{identity("BOSS@example.com "), auth.Admin},
		{identity("x@ops.example.com"), auth.Operator}, // the highest counts
		{identity("x@example.com"), auth.Viewer},
		{identity("y@example.com", "ops admins", "other"), auth.Admin},
		{identity("z@example.com", "ops", "admins", "OPS ADMINS"), auth.Viewer},
		{identity("x@evil-example.com"), auth.Nobody},
		{identity("x@sub.example.com"), auth.Nobody},
		{identity("boss@example.com.evil.org"), auth.Nobody},
		{identity("x@elsewhere.org", "groups=ops admins"), auth.Nobody},
	} {
		session, err := w.service.SignInExternal(w.ctx, c.id)
		if c.role == auth.Nobody {
			wantFault(t, c.id.Email, err, fault.Forbidden, "auth.no_role")
			continue
		}
		if p := auth.From(w.signedIn(session, err)); p.Role != c.role || !strings.HasPrefix(p.User, "user:") || p.Name != "Ann Ahrend" {
			t.Errorf("%s: %+v, want %s", c.id.Email, p, c.role)
		}
	}
	list, _, err := w.service.ListUsers(w.ctx, "", 100)
	if err != nil || len(list) != 5 {
		t.Errorf("of strangers nothing is to be kept: %d users, %v", len(list), err)
	}
	for _, a := range list {
		if len(a.Claims["picture"]) > 0 {
			t.Errorf("claims that no rule names are kept: %v", a.Claims)
		}
	}
}

func TestRulesThatCannotBeRead(t *testing.T) {
	for _, text := range []string{"example.com", "@", "@*.example.com", "a@b@c", "claim:groups", "claim:=x", "claim:groups=", "Ann <ann@example.com>", "x y@example.com", "*@example.com"} {
		if rules, err := auth.ParseRules(auth.Admin, text); err == nil {
			t.Errorf("%q gave %v", text, rules)
		}
	}
	rules, err := auth.ParseRules(auth.Viewer, " a@b.org , @c.org,claim:hd=d.org,, ")
	if err != nil || len(rules) != 3 || rules[0].String() != "a@b.org" || rules[1].String() != "@c.org" || rules[2].String() != "claim:hd=d.org" {
		t.Errorf("%v %v", rules, err)
	}
}

func TestIdentitiesThatProveNothing(t *testing.T) {
	w := newWorld(t)
	w.rules("@example.com", "", "")
	change := func(fn func(*auth.Identity)) auth.Identity {
		id := identity("ann@example.com")
		fn(&id)
		return id
	}
	for code, id := range map[string]auth.Identity{
		"auth.email_unverified": change(func(id *auth.Identity) { id.EmailVerified = false }),
		"auth.email_missing":    change(func(id *auth.Identity) { id.Email = "" }),
		"auth.identity":         change(func(id *auth.Identity) { id.Subject = "" }),
	} {
		_, err := w.service.SignInExternal(w.ctx, id)
		wantFault(t, code, err, fault.Forbidden, code)
	}
	_, err := w.service.SignInExternal(w.ctx, change(func(id *auth.Identity) { id.Provider = auth.LocalProvider }))
	wantFault(t, "local", err, fault.Forbidden, "auth.identity")
	list, _, _ := w.store.Audit().Find(w.ctx, audit.Query{Action: "auth.sign_in", Outcome: audit.Refused})
	if len(list) != 4 {
		t.Errorf("%d refusals on record", len(list))
	}
}

func TestAnAddressThatSomebodyElseGotGivesNothing(t *testing.T) {
	w := newWorld(t)
	first := identity("ann@example.com")
	w.rules("", "", "@example.com")
	p := auth.From(w.signedIn(w.service.SignInExternal(w.ctx, first)))
	admin := auth.Admin
	if _, err := w.service.ChangeUser(w.ctx, strings.TrimPrefix(p.User, "user:"), auth.UserChange{Role: &admin}); err != nil {
		t.Fatal(err)
	}
	later := first
	later.Subject = "somebody else"
	if q := auth.From(w.signedIn(w.service.SignInExternal(w.ctx, later))); q.User == p.User || q.Role != auth.Viewer {
		t.Errorf("the account of %+v went to %+v", p, q)
	}
	// The same person with a new address stays who they are.
	moved := first
	moved.Email = "ann.new@example.com"
	if q := auth.From(w.signedIn(w.service.SignInExternal(w.ctx, moved))); q.User != p.User || q.Role != auth.Admin {
		t.Errorf("%+v is not %+v", q, p)
	}
}

func TestInvitedUser(t *testing.T) {
	w := newWorld(t)
	u, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: "Bob@example.com", Provider: "google", Role: auth.Operator})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.service.CreateUser(w.ctx, auth.NewUser{Email: "bob@example.com", Provider: "google", Role: auth.Viewer})
	wantFault(t, "again", err, fault.Conflict, "user.taken")
	p := auth.From(w.signedIn(w.service.SignInExternal(w.ctx, identity("bob@example.com"))))
	if p.User != u.Key() || p.Role != auth.Operator {
		t.Errorf("%+v", p)
	}
	// The invitation is used up: another person with that address is a stranger.
	id := identity("bob@example.com")
	id.Subject = "another"
	_, err = w.service.SignInExternal(w.ctx, id)
	wantFault(t, "a second", err, fault.Forbidden, "auth.no_role")
}

func TestARoleThatIsTakenAwayIsGoneAtOnce(t *testing.T) {
	w := newWorld(t)
	w.rules("root@example.com", "claim:groups=ops", "@example.com")
	session, err := w.service.SignInExternal(w.ctx, identity("ann@example.com", "ops"))
	p := auth.From(w.signedIn(session, err))
	id := strings.TrimPrefix(p.User, "user:")
	role := func(want auth.Role) {
		t.Helper()
		q, err := w.service.CheckSession(w.ctx, p.Session)
		if want == auth.Nobody {
			if !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%+v %v", q, err)
			}
			return
		}
		if err != nil || q.Role != want {
			t.Errorf("%+v %v, want %s", q, err, want)
		}
	}
	role(auth.Operator)
	given := auth.Viewer
	if _, err := w.service.ChangeUser(w.ctx, id, auth.UserChange{Role: &given}); err != nil {
		t.Fatal(err)
	}
	role(auth.Viewer) // what an administrator gives goes before the rules
	given = auth.Nobody
	if _, err := w.service.ChangeUser(w.ctx, id, auth.UserChange{Role: &given}); err != nil {
		t.Fatal(err)
	}
	role(auth.Operator)
	// At the next sign-in elsewhere the provider no longer names the group.
	if _, err := w.service.SignInExternal(w.ctx, identity("ann@example.com")); err != nil {
		t.Fatal(err)
	}
	role(auth.Viewer)
	w.rules("root@example.com", "", "") // the configuration does not know her any more
	role(auth.Nobody)
	_, err = w.service.SignInExternal(w.ctx, identity("ann@example.com"))
	wantFault(t, "again", err, fault.Forbidden, "auth.no_role")
	if n := len(w.events(event.UserChanged)); n < 4 {
		t.Errorf("%d events", n)
	}
}

func (w *world) events(types ...event.Type) []event.Event {
	w.t.Helper()
	list, err := w.store.Events().Find(w.ctx, event.Query{Types: types, Rooms: []string{event.RoomAudit}})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func TestADisabledUserIsOutAtOnce(t *testing.T) {
	w := newWorld(t)
	w.local("root@example.com", auth.Admin)
	u := w.local("ann@example.com", auth.Operator)
	session, err := w.service.SignInPassword(w.ctx, u.Email, goodPassword)
	ctx := w.signedIn(session, err)
	token, _, err := w.service.CreateOwnToken(ctx, "mine", auth.Operator, 0)
	if err != nil {
		t.Fatal(err)
	}
	off, on := true, false
	if _, err := w.service.ChangeUser(w.ctx, u.ID, auth.UserChange{Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.SessionPrincipal(w.ctx, session)
	w.refused(err, "auth.session_over")
	_, err = w.service.Authenticate(w.ctx, token)
	w.refused(err, "auth.no_role")
	_, err = w.service.SignInPassword(w.ctx, u.Email, goodPassword)
	wantFault(t, "sign-in", err, fault.Forbidden, "auth.account_disabled")
	_, err = w.service.NewUserLink(w.ctx, u.ID, 0)
	wantFault(t, "link", err, fault.Conflict, "user.disabled")
	if _, err := w.service.ChangeUser(w.ctx, u.ID, auth.UserChange{Disabled: &on}); err != nil {
		t.Fatal(err)
	}
	if p, err := w.service.Authenticate(w.ctx, token); err != nil || p.Role != auth.Operator {
		t.Errorf("%+v %v", p, err)
	}
	if err := w.service.DeleteUser(w.ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.Authenticate(w.ctx, token)
	w.refused(err, "auth.token_unknown")
}

func TestTheLastAdminStays(t *testing.T) {
	w := newWorld(t)
	w.rules("rule@example.com", "", "")
	a, b := w.local("a@example.com", auth.Admin), w.local("b@example.com", auth.Admin)
	viewer, off := auth.Viewer, true
	demote := auth.UserChange{Role: &viewer}
	if _, err := w.service.ChangeUser(w.ctx, a.ID, demote); err != nil {
		t.Fatal(err)
	}
	_, err := w.service.ChangeUser(w.ctx, b.ID, demote)
	wantFault(t, "demote", err, fault.Conflict, "user.last_admin")
	_, err = w.service.ChangeUser(w.ctx, b.ID, auth.UserChange{Disabled: &off})
	wantFault(t, "disable", err, fault.Conflict, "user.last_admin")
	wantFault(t, "delete", w.service.DeleteUser(w.ctx, b.ID), fault.Conflict, "user.last_admin")
	// An admin by a rule is one, too.
	if _, err := w.service.SignInExternal(w.ctx, identity("rule@example.com")); err != nil {
		t.Fatal(err)
	}
	if err := w.service.DeleteUser(w.ctx, b.ID); err != nil {
		t.Fatal(err)
	}
}

func TestNobodyRaisesThemselves(t *testing.T) {
	w := newWorld(t)
	w.local("root@example.com", auth.Admin)
	u := w.local("ann@example.com", auth.Operator)
	ctx := w.signedIn(w.service.SignInPassword(w.ctx, u.Email, goodPassword))
	admin, off := auth.Admin, true
	_, err := w.service.ChangeUser(ctx, u.ID, auth.UserChange{Role: &admin})
	wantFault(t, "role", err, fault.Forbidden, "user.own_access")
	_, err = w.service.ChangeUser(ctx, u.ID, auth.UserChange{Disabled: &off})
	wantFault(t, "disable", err, fault.Forbidden, "user.own_access")
	wantFault(t, "delete", w.service.DeleteUser(ctx, u.ID), fault.Forbidden, "user.own_access")
	_, _, err = w.service.CreateOwnToken(ctx, "t", auth.Admin, 0)
	wantFault(t, "token", err, fault.Forbidden, "auth.role_above")
	_, _, err = w.service.CreateToken(ctx, "t", auth.Viewer, 0)
	wantFault(t, "token of nobody", err, fault.Forbidden, "auth.role")
	if err := w.service.SetOwnName(ctx, "Ann <b>"); err != nil {
		t.Error(err)
	}
	wantField(t, "name", w.service.SetOwnName(ctx, "a\nb"), "name")
}

func TestUsersThatCannotBe(t *testing.T) {
	w := newWorld(t)
	for field, n := range map[string]auth.NewUser{
		"email":    {Email: "no address", Role: auth.Viewer},
		"role":     {Email: "a@example.com"},
		"name":     {Email: "a@example.com", Role: auth.Viewer, Name: "a\x00b"},
		"provider": {Email: "a@example.com", Role: auth.Viewer, Provider: "a b"},
		"password": {Email: "a@example.com", Role: auth.Viewer, Password: "short"},
	} {
		_, err := w.service.CreateUser(w.ctx, n)
		wantField(t, field, err, field)
	}
	_, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: "a@example.com", Role: auth.Viewer, Provider: "google", Password: goodPassword})
	wantField(t, "password of a provider's user", err, "password")
	u := w.local("a@example.com", auth.Viewer)
	_, err = w.service.CreateUser(w.ctx, auth.NewUser{Email: "A@EXAMPLE.com", Role: auth.Viewer})
	wantFault(t, "taken", err, fault.Conflict, "user.taken")
	king := auth.Role("king")
	_, err = w.service.ChangeUser(w.ctx, u.ID, auth.UserChange{Role: &king})
	wantField(t, "king", err, "role")
	_, err = w.service.ChangeUser(w.ctx, "none", auth.UserChange{})
	wantFault(t, "unknown", err, fault.NotFound, "user.not_found")
	for _, e := range w.records("user.create") {
		if text := string(e.After); strings.Contains(text, "argon2") || strings.Contains(text, goodPassword) {
			t.Errorf("a password is on record: %s", text)
		}
	}
}

func (w *world) records(action string) []audit.Entry {
	w.t.Helper()
	list, _, err := w.store.Audit().Find(w.ctx, audit.Query{Action: action})
	if err != nil || len(list) == 0 {
		w.t.Errorf("no record of %s: %v", action, err)
	}
	return list
}

func TestOwnTokens(t *testing.T) {
	w := newWorld(t)
	w.local("root@example.com", auth.Admin)
	ann, bob := w.local("ann@example.com", auth.Operator), w.local("bob@example.com", auth.Viewer)
	asAnn := w.signedIn(w.service.SignInPassword(w.ctx, ann.Email, goodPassword))
	asBob := w.signedIn(w.service.SignInPassword(w.ctx, bob.Email, goodPassword))
	secret, mine, err := w.service.CreateOwnToken(asAnn, "ci", auth.Operator, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.service.CreateOwnToken(asBob, "ci", auth.Viewer, time.Hour); err != nil {
		t.Errorf("names of different people meet: %v", err)
	}
	_, machine := w.token(auth.Viewer, 0)
	for who, want := range map[string]int{"ann": 1, "bob": 1, "admin": 3} {
		ctx := map[string]context.Context{"ann": asAnn, "bob": asBob, "admin": w.ctx}[who]
		if list, _, err := w.service.ListTokens(ctx, "", 10); err != nil || len(list) != want {
			t.Errorf("%s sees %d tokens, %v", who, len(list), err)
		}
	}
	for _, id := range []string{mine.ID, machine.ID} {
		wantFault(t, "somebody else's", w.service.RevokeToken(asBob, id), fault.NotFound, "token.not_found")
	}
	p, err := w.service.Authenticate(w.ctx, secret)
	if err != nil || p.Role != auth.Operator || p.User != ann.Key() {
		t.Errorf("%+v %v", p, err)
	}
	_, _, err = w.service.CreateOwnToken(auth.With(w.ctx, p), "more", auth.Viewer, 0)
	wantFault(t, "a token makes tokens", err, fault.Forbidden, "auth.needs_session")
	viewer := auth.Viewer
	if _, err := w.service.ChangeUser(w.ctx, ann.ID, auth.UserChange{Role: &viewer}); err != nil {
		t.Fatal(err)
	}
	if p, err = w.service.Authenticate(w.ctx, secret); err != nil || p.Role != auth.Viewer {
		t.Errorf("the token allows more than its user: %+v %v", p, err)
	}
	if err := w.service.RevokeToken(asAnn, mine.ID); err != nil {
		t.Error(err)
	}
}
