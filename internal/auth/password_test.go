package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// from gives the context of a request from the address, with a browser that
// shows the device's secret.
func (w *world) from(address, device string) context.Context {
	return auth.WithClient(w.ctx, auth.Client{Address: address, Device: device})
}

func TestPassword(t *testing.T) {
	w := newWorld(t)
	u := w.local("ann@example.com", auth.Admin)
	if _, err := w.service.SignInPassword(w.ctx, " Ann@Example.com", goodPassword); err != nil {
		t.Error(err)
	}
	for email, password := range map[string]string{u.Email: goodPassword + " ", "nobody@example.com": goodPassword, "": "", "rubbish": strings.Repeat("x", 1<<20), "x@example.com": ""} {
		_, err := w.service.SignInPassword(w.ctx, email, password)
		w.refused(err, "auth.wrong_password")
	}
	stored, err := w.store.Users().User(w.ctx, u.ID)
	if err != nil || !strings.HasPrefix(stored.Password, "$argon2id$v=19$m=64,t=1,p=1$") || strings.Contains(stored.Password, goodPassword) {
		t.Errorf("stored: %q %v", stored.Password, err)
	}
	if a := auth.DefaultArgon2; a.Memory < 19*1024 || a.Time < 2 {
		t.Errorf("weaker than it should be: %+v", a)
	}
}

func TestAPasswordIsHashedAnewWhenTheWorkGrows(t *testing.T) {
	w := newWorld(t)
	u := w.local("ann@example.com", auth.Admin)
	w.service.Passwords = auth.Argon2{Memory: 128, Time: 2, Threads: 1}
	for range 2 {
		if _, err := w.service.SignInPassword(w.ctx, u.Email, goodPassword); err != nil {
			t.Fatal(err)
		}
		if stored, _ := w.store.Users().User(w.ctx, u.ID); !strings.Contains(stored.Password, "$m=128,t=2,p=1$") {
			t.Errorf("stored: %q", stored.Password)
		}
	}
	// What was damaged in the store is no wrong password, and not a right one.
	for _, damaged := range []string{"$argon2id$", "$argon2i$v=19$m=64,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=64,t=1,p=1$AAAA$", "$argon2id$v=19$m=99999999,t=1,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA", "plain"} {
		stored, _ := w.store.Users().User(w.ctx, u.ID)
		stored.Password = damaged
		if err := w.store.Users().UpdateUser(w.ctx, *stored); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.SignInPassword(w.ctx, u.Email, damaged); err == nil || fault.As(err) != nil {
			t.Errorf("%q: %v", damaged, err)
		}
		w.now = w.now.Add(time.Hour)
	}
}

func TestPasswordsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"elevenchars", strings.Repeat("ab", 10), strings.Repeat("long ", 300), "my name is AHREND", "ann.a@work is me", "äöüäöüäöüäöü"} {
		_, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: "ann.a@example.com", Name: "Ann Ahrend", Role: auth.Viewer, Password: bad})
		wantField(t, bad, err, "password")
	}
	if _, err := w.service.CreateUser(w.ctx, auth.NewUser{Email: "ann.a@example.com", Name: "Ann Ahrend", Role: auth.Viewer, Password: "ünser längeres Wort"}); err != nil {
		t.Error(err)
	}
}

func TestChangeOfPassword(t *testing.T) {
	w := newWorld(t)
	u := w.local("ann@example.com", auth.Admin)
	_, ctx := w.enter(u, "10.0.0.1")
	other, _ := w.enter(u, "10.0.0.2")
	const next = "an entirely new one"
	wantField(t, "current", w.service.SetOwnPassword(ctx, "wrong wrong wrong", next), "current")
	wantField(t, "short", w.service.SetOwnPassword(ctx, goodPassword, "short"), "password")
	if err := w.service.SetOwnPassword(ctx, goodPassword, next); err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.CheckSession(w.ctx, auth.From(ctx).Session); err != nil {
		t.Errorf("whoever changed it is signed out: %v", err)
	}
	_, err := w.service.SessionPrincipal(w.ctx, other)
	w.refused(err, "auth.session_over")
	_, err = w.service.SignInPassword(w.ctx, u.Email, goodPassword)
	w.refused(err, "auth.wrong_password")
	if _, err := w.service.SignInPassword(w.ctx, u.Email, next); err != nil {
		t.Error(err)
	}
	// An open browser is no way to try them all.
	var last error
	for range 10 {
		if last = w.service.SetOwnPassword(ctx, "wrong wrong wrong", next); !fault.Is(last, fault.Invalid) {
			break
		}
	}
	wantFault(t, "many tries", last, fault.RateLimited, "auth.slow_down")
	for _, e := range w.records("user.password") {
		if text := string(e.Before) + string(e.After); strings.Contains(text, "argon2") {
			t.Errorf("on record: %s", text)
		}
	}
}

// guess tries passwords until it has to wait, and says how long and how many were tried.
func (w *world) guess(ctx context.Context, email string, at most) (tried int, wait time.Duration) {
	w.t.Helper()
	for tried < int(at) {
		_, err := w.service.SignInPassword(ctx, email, "wrong wrong wrong")
		if f := fault.As(err); f != nil && f.Kind == fault.RateLimited {
			seconds := f.Extra["retry_after"].(int)
			return tried, time.Second * time.Duration(seconds)
		}
		w.refused(err, "auth.wrong_password")
		tried++
	}
	return tried, 0
}

type most int

func TestGuessingGetsSlowerAndSlower(t *testing.T) {
	w := newWorld(t)
	w.local("ann@example.com", auth.Admin)
	for _, email := range []string{"ann@example.com", "nobody@example.com"} { // who is there and who is not looks the same
		tried, wait := w.guess(w.from("", ""), email, 100)
		if tried != 5 || wait != time.Second {
			t.Errorf("%s: %d tries, then %s", email, tried, wait)
		}
	}
	day, total, longest := w.now.Add(24*time.Hour), 0, time.Duration(0)
	for w.now.Before(day) {
		n, wait := w.guess(w.from("", ""), "ann@example.com", 100)
		total += n
		longest = max(longest, wait)
		w.now = w.now.Add(wait)
	}
	if total > 120 || longest != 15*time.Minute {
		t.Errorf("%d guesses in a day, %s at most between two", total, longest)
	}
	// The right one is not tried either while it is to wait, and afterwards it is.
	_, err := w.service.SignInPassword(w.from("", ""), "ann@example.com", goodPassword)
	if err != nil {
		wantFault(t, "right, too early", err, fault.RateLimited, "auth.slow_down")
	}
	w.now = w.now.Add(15 * time.Minute)
	if _, err := w.service.SignInPassword(w.from("", ""), "ann@example.com", goodPassword); err != nil {
		t.Errorf("locked out for good: %v", err)
	}
	if tried, _ := w.guess(w.from("", ""), "ann@example.com", 100); tried != 5 {
		t.Errorf("%d tries after a success", tried)
	}
}

func TestManyGuessesAtOnceAreNoWayAround(t *testing.T) {
	w := newWorld(t)
	w.local("ann@example.com", auth.Admin)
	var wg sync.WaitGroup
	var tried atomic.Int32
	for range 40 {
		wg.Go(func() {
			if _, err := w.service.SignInPassword(w.from("10.0.0.1", ""), "ann@example.com", "wrong wrong wrong"); fault.Is(err, fault.Unauthenticated) {
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	if n := tried.Load(); n != 5 {
		t.Errorf("%d were tried", n)
	}
}

func TestAnAddressThatTriesManyAccountsIsSlowedDown(t *testing.T) {
	w := newWorld(t)
	w.local("ann@example.com", auth.Admin)
	tried := 0
	for i := range 200 {
		n, _ := w.guess(w.from("2001:db8::"+fmt.Sprint(i), ""), fmt.Sprintf("user%d@example.com", i), 1)
		tried += n
	}
	if tried != 20 {
		t.Errorf("%d tries from one network", tried)
	}
	if _, err := w.service.SignInPassword(w.from("10.9.9.9", ""), "ann@example.com", goodPassword); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestAStrangerDoesNotLockOutWhoWasHereBefore(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.local("ann@example.com", auth.Admin), w.local("bob@example.com", auth.Viewer)
	session, _ := w.enter(ann, "10.0.0.1")
	device, err := w.service.Device(w.from("10.0.0.1", ""), session)
	if err != nil || device == "" {
		t.Fatalf("%q %v", device, err)
	}
	if again, err := w.service.Device(w.from("10.0.0.1", device), session); err != nil || again != device {
		t.Errorf("the browser became another: %v", err)
	}
	for range 30 { // from the same address, as behind a proxy
		_, wait := w.guess(w.from("10.0.0.1", ""), ann.Email, 100)
		w.now = w.now.Add(min(wait, time.Minute))
	}
	_, err = w.service.SignInPassword(w.from("10.0.0.1", ""), ann.Email, goodPassword)
	wantFault(t, "a strange browser", err, fault.RateLimited, "auth.slow_down")
	if _, err := w.service.SignInPassword(w.from("10.0.0.1", device), ann.Email, goodPassword); err != nil {
		t.Errorf("her own browser: %v", err)
	}
	// Her browser is no way to guess faster, and worth nothing for anybody else.
	if tried, wait := w.guess(w.from("10.0.0.1", device), ann.Email, 100); tried != 5 || wait == 0 {
		t.Errorf("%d tries, then %s", tried, wait)
	}
	w.guess(w.from("10.0.0.2", device), bob.Email, 100)
	_, err = w.service.SignInPassword(w.from("10.0.0.3", ""), bob.Email, goodPassword)
	wantFault(t, "her browser guesses at somebody else", err, fault.RateLimited, "auth.slow_down")
	for _, forged := range []string{device[:89] + "0", "ptd_" + strings.Repeat("0", 86), device[:47], strings.Repeat("é", 45)} {
		_, err = w.service.SignInPassword(w.from("10.0.0.1", forged), ann.Email, goodPassword)
		if device != forged {
			wantFault(t, forged, err, fault.RateLimited, "auth.slow_down")
		}
	}
}

func TestPasskeys(t *testing.T) {
	w := newWorld(t)
	w.rules("", "", "@example.com")
	ann, bob := w.local("ann@example.com", auth.Admin), w.local("bob@example.com", auth.Admin)
	_, asAnn := w.enter(ann, "10.0.0.1")
	_, asBob := w.enter(bob, "10.0.0.1")
	k := auth.Passkey{ID: "k1", UserID: bob.ID, PublicKey: []byte{1}, SignCount: 3, Name: "Key\x1b[31m"}
	if err := w.service.AddPasskey(asAnn, k); err != nil {
		t.Fatal(err)
	}
	list, err := w.service.PasskeysOf(w.ctx, ann.ID)
	if err != nil || len(list) != 1 || list[0].Name != "Key[31m" {
		t.Errorf("%+v %v", list, err)
	}
	wantFault(t, "twice", w.service.AddPasskey(asBob, k), fault.Conflict, "passkey.taken")
	enter := func(user, key string, count uint32) error {
		_, err := w.service.SignInPasskey(w.ctx, user, key, count, true)
		return err
	}
	if err := enter(ann.ID, "k1", 4); err != nil {
		t.Error(err)
	}
	w.refused(enter(ann.ID, "k1", 4), "auth.passkey_copied")
	w.refused(enter(ann.ID, "k1", 0), "auth.passkey_copied")
	w.refused(enter(bob.ID, "k1", 9), "auth.passkey_unknown")
	w.refused(enter(ann.ID, "none", 9), "auth.passkey_unknown")
	if err := w.service.AddPasskey(asAnn, auth.Passkey{ID: "k2"}); err != nil { // does not count, as most do
		t.Fatal(err)
	}
	for range 2 {
		if err := enter(ann.ID, "k2", 0); err != nil {
			t.Error(err)
		}
	}
	off := true
	if _, err := w.service.ChangeUser(w.ctx, ann.ID, auth.UserChange{Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "disabled", enter(ann.ID, "k2", 0), fault.Forbidden, "auth.account_disabled")
	wantFault(t, "somebody else's", w.service.RemovePasskey(asBob, "k1"), fault.NotFound, "passkey.not_found")
	if err := w.service.RemovePasskey(asAnn, "k1"); err != nil {
		t.Error(err)
	}
	external := w.signedIn(w.service.SignInExternal(w.ctx, identity("ext@example.com")))
	wantFault(t, "a provider's user", w.service.AddPasskey(external, auth.Passkey{ID: "k3"}), fault.Conflict, "user.not_local")
	if got := auth.UserOfHandle(ann.Handle()); got != ann.ID || strings.Contains(string(ann.Handle()), "ann@") {
		t.Errorf("handle %q", ann.Handle())
	}
}

func TestFlows(t *testing.T) {
	w := newWorld(t)
	secret, err := w.service.PutFlow(w.ctx, "oidc", []byte("data"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.service.TakeFlow(w.ctx, "passkey", secret)
	w.refused(err, "auth.flow_over")
	if data, err := w.service.TakeFlow(w.ctx, "oidc", secret); err != nil || string(data) != "data" {
		t.Errorf("%q %v", data, err)
	}
	for _, wrong := range []string{secret, "", "rubbish"} {
		_, err = w.service.TakeFlow(w.ctx, "oidc", wrong)
		w.refused(err, "auth.flow_over")
	}
	secret, _ = w.service.PutFlow(w.ctx, "oidc", nil, time.Hour)
	w.now = w.now.Add(auth.MaxFlowLife)
	_, err = w.service.TakeFlow(w.ctx, "oidc", secret)
	w.refused(err, "auth.flow_over")
}

func TestWhoGivesUpWaitingIsNotHashed(t *testing.T) {
	w := newWorld(t)
	w.local("ann@example.com", auth.Admin)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := w.service.SignInPassword(ctx, "ann@example.com", goodPassword); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
