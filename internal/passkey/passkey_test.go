package passkey_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/passkey"
)

const origin, host = "https://portal.example.com", "portal.example.com"

func (w *world) register(a *authenticator, user auth.User) (auth.Passkey, error) {
	w.t.Helper()
	options, flow, err := w.authority.BeginRegistration(w.t.Context(), host, user)
	if err != nil {
		w.t.Fatal(err)
	}
	k, err := w.authority.FinishRegistration(w.t.Context(), flow, user, a.create(options))
	if err == nil {
		k.Name, k.CreatedAt = "Key", w.now
		err = w.store.Passkeys().CreatePasskey(w.t.Context(), k)
	}
	return k, err
}

func (w *world) signIn(a *authenticator) (passkey.Proof, error) {
	w.t.Helper()
	options, flow, err := w.authority.BeginSignIn(w.t.Context(), host)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.authority.FinishSignIn(w.t.Context(), flow, a.get(options))
}

func (w *world) refused(err error, code string) {
	w.t.Helper()
	if f := fault.As(err); f == nil || f.Kind != fault.Unauthenticated || f.Code != code {
		w.t.Errorf("got %v, want %s", err, code)
	}
}

func TestPasskey(t *testing.T) {
	w := newWorld(t)
	a := newAuthenticator(t, origin, host)
	k, err := w.register(a, w.ann)
	if err != nil {
		t.Fatal(err)
	}
	if k.UserID != w.ann.ID || k.ID != b64(a.id) || len(k.PublicKey) == 0 || !k.BackupEligible || k.BackedUp || !slices.Equal(k.Transports, []string{"internal"}) || k.Attestation != "none" {
		t.Errorf("%+v", k)
	}
	a.count, a.flags = 7, a.flags|backedUp
	proof, err := w.signIn(a)
	if err != nil || proof != (passkey.Proof{UserID: w.ann.ID, CredentialID: k.ID, SignCount: 7, BackedUp: true}) {
		t.Errorf("%+v %v", proof, err)
	}
}

func TestWhatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	a := newAuthenticator(t, origin, host)
	if _, err := w.register(a, w.ann); err != nil {
		t.Fatal(err)
	}
	raw, _, err := w.authority.BeginRegistration(t.Context(), host, w.ann)
	if err != nil {
		t.Fatal(err)
	}
	o := a.read(raw)
	if o.RP.ID != host || o.Selection.ResidentKey != "required" || o.Selection.UserVerification != "required" || len(o.Exclude) != 1 || o.Exclude[0].ID != b64(a.id) {
		t.Errorf("a new passkey: %s", raw)
	}
	raw, _, err = w.authority.BeginSignIn(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is said about who has a passkey here.
	if o := a.read(raw); o.RPID != host || o.UserVerification != "required" || len(o.Allow) != 0 || bytes.Contains(raw, []byte(w.ann.Email)) {
		t.Errorf("a sign-in: %s", raw)
	}
	again, _, err := w.authority.BeginSignIn(t.Context(), host)
	if err != nil || a.read(again).Challenge == o.Challenge || a.read(again).Challenge == a.read(raw).Challenge {
		t.Errorf("the challenge is not new: %v", err)
	}
}

func TestAnswersThatMustNotBeTaken(t *testing.T) {
	base := newWorld(t)
	for name, change := range map[string]func(w *world, a *authenticator){
		"another site":             func(_ *world, a *authenticator) { a.origin = "https://portal.example.com.evil.example" },
		"another port":             func(_ *world, a *authenticator) { a.origin = origin + ":8443" },
		"not encrypted":            func(_ *world, a *authenticator) { a.origin = "http://" + host },
		"in a frame":               func(_ *world, a *authenticator) { a.crossSite = true },
		"for another party":        func(_ *world, a *authenticator) { a.party = "evil.example" },
		"not verified":             func(_ *world, a *authenticator) { a.flags = present | eligible },
		"nobody there":             func(_ *world, a *authenticator) { a.flags = verified | eligible },
		"another key":              func(_ *world, a *authenticator) { a.key = newAuthenticator(a.t, origin, host).key },
		"as somebody else":         func(w *world, a *authenticator) { a.handle = w.bob.Handle() },
		"as nobody":                func(_ *world, a *authenticator) { a.handle = nil },
		"as a stranger":            func(_ *world, a *authenticator) { a.handle = []byte("unknown") },
		"unknown passkey":          func(_ *world, a *authenticator) { a.id = []byte("unknown") },
		"another kind of answer":   func(_ *world, a *authenticator) { a.typ = "webauthn.create" },
		"backed up against nature": func(_ *world, a *authenticator) { a.flags = present | verified | backedUp },
	} {
		t.Run(name, func(t *testing.T) {
			w := base.again(t)
			a := newAuthenticator(t, origin, host)
			if _, err := w.register(a, w.ann); err != nil {
				t.Fatal(err)
			}
			change(w, a)
			proof, err := w.signIn(a)
			if w.refused(err, "passkey.wrong"); proof != (passkey.Proof{}) {
				t.Errorf("it proves %+v", proof)
			}
		})
	}
}

func TestRegistrationsThatMustNotBeTaken(t *testing.T) {
	base := newWorld(t)
	for name, change := range map[string]func(a *authenticator){
		"another site":           func(a *authenticator) { a.origin = "https://evil.example" },
		"for another party":      func(a *authenticator) { a.party = "evil.example" },
		"not verified":           func(a *authenticator) { a.flags = present | eligible },
		"another kind of answer": func(a *authenticator) { a.typ = "webauthn.get" },
	} {
		t.Run(name, func(t *testing.T) {
			w := base.again(t)
			a := newAuthenticator(t, origin, host)
			change(a)
			_, err := w.register(a, w.ann)
			w.refused(err, "passkey.wrong")
		})
	}
}

func TestChallengeWorksOnceAndForItsPurpose(t *testing.T) {
	w := newWorld(t)
	a := newAuthenticator(t, origin, host)
	if _, err := w.register(a, w.ann); err != nil {
		t.Fatal(err)
	}
	begin := func() (json.RawMessage, string) {
		t.Helper()
		options, flow, err := w.authority.BeginSignIn(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		return options, flow
	}
	options, flow := begin()
	answer := a.get(options)
	if _, err := w.authority.FinishSignIn(t.Context(), flow, answer); err != nil {
		t.Fatal(err)
	}
	_, err := w.authority.FinishSignIn(t.Context(), flow, answer)
	w.refused(err, "auth.flow_over")
	_, other := begin()
	_, err = w.authority.FinishSignIn(t.Context(), other, answer) // an answer to what was asked before
	w.refused(err, "passkey.wrong")
	_, flow = begin()
	_, err = w.authority.FinishRegistration(t.Context(), flow, w.ann, a.create(options))
	w.refused(err, "auth.flow_over")
	options, flow = begin()
	w.now = w.now.Add(passkey.FlowLife)
	_, err = w.authority.FinishSignIn(t.Context(), flow, a.get(options))
	w.refused(err, "auth.flow_over")
	// Somebody else's registration, taken over.
	options, flow, err = w.authority.BeginRegistration(t.Context(), host, w.ann)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.authority.FinishRegistration(t.Context(), flow, w.bob, newAuthenticator(t, origin, host).create(options))
	w.refused(err, "passkey.wrong")
	for _, rubbish := range []string{"", "{}", "null", `{"id":"x","response":7}`, string(bytes.Repeat([]byte("["), 100000))} {
		_, flow = begin()
		_, err = w.authority.FinishSignIn(t.Context(), flow, []byte(rubbish))
		w.refused(err, "passkey.wrong")
	}
}

func TestWherePasskeysWork(t *testing.T) {
	a, err := passkey.New(passkey.Config{Origins: []string{"https://Portal.example.com:443", "http://127.0.0.1:8080", "http://localhost:8080", "http://portal.example.com", "https://[::1]:1"}})
	if err != nil {
		t.Fatal(err)
	}
	for at, works := range map[string]bool{
		host: true, "Portal.Example.COM": true, "localhost:8080": true, "localhost:9090": false, "localhost": false, "127.0.0.1:8080": false,
		"portal.example.com:80": false, "[::1]:1": false, "evil.example": false, "": false, "null": false,
	} {
		if a.Works(at) != works {
			t.Errorf("%q: %v", at, !works)
		}
		if works {
			continue
		}
		if _, _, err := a.BeginSignIn(t.Context(), at); !fault.Is(err, fault.Conflict) {
			t.Errorf("%q: %v", at, err)
		}
	}
	for _, wrong := range []string{"", "portal", "ftp://x", "https://"} {
		if _, err := passkey.New(passkey.Config{Origins: []string{wrong}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// A store that fails is not the person's fault.
func TestStoreThatFails(t *testing.T) {
	w := newWorld(t)
	a := newAuthenticator(t, origin, host)
	if _, err := w.register(a, w.ann); err != nil {
		t.Fatal(err)
	}
	w.accounts.fail = errors.New("disk on fire")
	if _, err := w.signIn(a); err == nil || fault.As(err) != nil {
		t.Errorf("%v", err)
	}
}
