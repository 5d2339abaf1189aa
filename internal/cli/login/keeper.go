package login

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// early is how long before its end an access token is replaced.
const early = 30 * time.Second

// Keeper keeps sign-ins, for one user. Several commands may use it at once.
type Keeper struct {
	Path string // of the file, see PathIn; "" where nothing can be kept
	Now  func() time.Time
	// Ask asks the portal at the address for tokens: it sends the form to
	// /auth/token. Faults as the portal gives them.
	Ask func(ctx context.Context, server string, form map[string]string) (Tokens, error)
}

// Tokens is what a portal gives to a command line.
type Tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int    `json:"expires_in"` // seconds
}

// Current is the portal that was signed in to last; "" for none.
func (k *Keeper) Current() (string, error) {
	all, err := k.read()
	return all.Current, err
}

// Has tells whether there is a sign-in to the portal at the address.
func (k *Keeper) Has(server string) (bool, error) {
	all, err := k.read()
	_, ok := all.Portals[server]
	return ok, err
}

// Forget removes the sign-in to the portal at the address.
func (k *Keeper) Forget(ctx context.Context, server string) error {
	return k.change(ctx, func(all *content) error {
		delete(all.Portals, server)
		if all.Current == server {
			all.Current = ""
		}
		return nil
	})
}

// Access gives an access token for the portal, getting a new one if what is kept
// ends soon. Unauthenticated if the sign-in is over.
func (k *Keeper) Access(ctx context.Context, server string) (string, error) {
	all, err := k.read()
	if err != nil {
		return "", err
	}
	if s, ok := all.Portals[server]; ok && k.good(s) {
		return s.Access, nil
	}
	var token string
	var over error
	err = k.change(ctx, func(all *content) error {
		s, ok := all.Portals[server]
		if !ok {
			return signInOver(server) // another command signed out meanwhile
		}
		if k.good(s) { // another command got it meanwhile
			token = s.Access
			return nil
		}
		fresh, err := k.ask(ctx, server, map[string]string{"grant_type": "refresh_token", "refresh_token": s.Refresh})
		if fault.Is(err, fault.Unauthenticated) {
			delete(all.Portals, server)
			over = signInOver(server)
			return nil
		}
		if err != nil {
			return err
		}
		token, all.Portals[server] = fresh.Access, fresh
		return nil
	})
	if err == nil {
		err = over
	}
	return token, err
}

func (k *Keeper) good(s signIn) bool { return k.Now().Before(s.Expires.Add(-early)) }

func (k *Keeper) ask(ctx context.Context, server string, form map[string]string) (signIn, error) {
	t, err := k.Ask(ctx, server, form)
	if err != nil {
		return signIn{}, err
	}
	return signIn{Access: t.Access, Refresh: t.Refresh, Expires: k.Now().Add(time.Duration(t.ExpiresIn) * time.Second)}, nil
}

func signInOver(server string) error {
	return fault.New(fault.Unauthenticated, "cli.sign_in_over", "You are not signed in to %s any more", server).
		Do("Run: portal login %s", server)
}
