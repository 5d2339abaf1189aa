package passkey_test

import (
	"context"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/passkey"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// world is a portal with two people.
type world struct {
	t         *testing.T
	now       time.Time
	store     *store.Store
	accounts  *accounts
	authority *passkey.Authority
	ann, bob  auth.User
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: storetest.New(t), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.accounts = &accounts{Service: &auth.Service{
		Users: w.store.Users(), Passkeys: w.store.Passkeys(), Flows: w.store.Flows(), Now: func() time.Time { return w.now },
	}}
	var err error
	if w.authority, err = passkey.New(passkey.Config{Origins: []string{origin}, Name: "Portal", Accounts: w.accounts}); err != nil {
		t.Fatal(err)
	}
	w.ann, w.bob = w.user("1", "ann@example.com"), w.user("2", "bob@example.com")
	return w
}

// again is the same portal in another test: opening its store takes long.
func (w *world) again(t *testing.T) *world {
	out := *w
	out.t = t
	return &out
}

func (w *world) user(id, email string) auth.User {
	w.t.Helper()
	u := auth.User{ID: id, Email: email, Subject: email, Provider: auth.LocalProvider, Role: auth.Admin, CreatedAt: w.now}
	if err := w.store.Users().CreateUser(w.t.Context(), u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// accounts are the real ones, whose store can fail.
type accounts struct {
	*auth.Service
	fail error
}

func (a *accounts) User(ctx context.Context, id string) (*auth.User, error) {
	if a.fail != nil {
		return nil, a.fail
	}
	return a.Service.User(ctx, id)
}
