package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Passkeys asks browsers for passkeys and checks what they answer. See
// passkey.Authority.
type Passkeys interface {
	// Works tells whether browsers allow passkeys at the host.
	Works(host string) bool
	BeginSignIn(ctx context.Context, host string) (options json.RawMessage, flow string, err error)
	// SignIn gives the session of whoever has proved to have a passkey.
	SignIn(ctx context.Context, flow string, answer []byte) (session string, err error)
	BeginRegistration(ctx context.Context, host string, user auth.User) (options json.RawMessage, flow string, err error)
	FinishRegistration(ctx context.Context, flow string, user auth.User, answer []byte) (auth.Passkey, error)
}

// flowCookie holds what an answer of the browser has to come with.
const flowCookie = "portal_passkey"

// flowLife is for how many seconds a person may look for their passkey.
const flowLife = 300

// writeJSON answers a script of ours.
func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fault.New(fault.Internal, "page", "The answer can't be written").Wrap(err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
	return nil
}

// noPasskeys is for a portal at whose address browsers allow none.
func noPasskeys() error {
	return fault.New(fault.NotFound, "passkey.none", "Passkeys can't be used here").Do("Sign in another way.")
}

// passkeyOptions begins a sign-in with a passkey.
func (s *Server) passkeyOptions(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.SignIns.Passkeys == nil {
		return noPasskeys()
	}
	options, flow, err := s.cfg.SignIns.Passkeys.BeginSignIn(r.Context(), r.Host)
	return s.ask(w, r, options, flow, err)
}

func (s *Server) ask(w http.ResponseWriter, r *http.Request, options json.RawMessage, flow string, err error) error {
	if err != nil {
		return err
	}
	s.shortCookie(w, r, flowCookie, flow, flowLife, false)
	return writeJSON(w, map[string]json.RawMessage{"options": options})
}

// answer gives what the browser's script sent: where to go afterwards, what the
// passkey is to be called, and what the authenticator said.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (flow string, in passkeyAnswer, err error) {
	if c, err := r.Cookie(s.cookieName(r, flowCookie)); err == nil {
		flow = c.Value
	}
	body, err := io.ReadAll(r.Body) // bounded by the door
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		return "", in, badForm(err)
	}
	return flow, in, nil
}

type passkeyAnswer struct {
	Next   string          `json:"next"`
	Name   string          `json:"name"`
	Answer json.RawMessage `json:"answer"`
}

// passkeySignIn ends a sign-in with a passkey.
func (s *Server) passkeySignIn(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.SignIns.Passkeys == nil {
		return noPasskeys()
	}
	flow, in, err := s.answer(w, r)
	if err != nil {
		return err
	}
	session, err := s.cfg.SignIns.Passkeys.SignIn(r.Context(), flow, in.Answer)
	if err != nil {
		return s.cfg.Door.WrongCredentials(r.Context(), err)
	}
	s.cfg.Door.SetSession(w, r, session)
	s.shortCookie(w, r, flowCookie, "", -1, false)
	return writeJSON(w, map[string]string{"next": afterSignIn(in.Next)})
}

// newPasskeyOptions begins to add a passkey for whoever asks.
func (s *Server) newPasskeyOptions(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.SignIns.Passkeys == nil {
		return noPasskeys()
	}
	user, err := s.cfg.SignIns.Accounts.UserOf(r.Context())
	if err != nil {
		return err
	}
	options, flow, err := s.cfg.SignIns.Passkeys.BeginRegistration(r.Context(), r.Host, *user)
	return s.ask(w, r, options, flow, err)
}

// newPasskey adds the passkey.
func (s *Server) newPasskey(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.SignIns.Passkeys == nil {
		return noPasskeys()
	}
	flow, in, err := s.answer(w, r)
	if err != nil {
		return err
	}
	user, err := s.cfg.SignIns.Accounts.UserOf(r.Context())
	if err != nil {
		return err
	}
	k, err := s.cfg.SignIns.Passkeys.FinishRegistration(r.Context(), flow, *user, in.Answer)
	if fault.Is(err, fault.Unauthenticated) {
		// Whoever asks is signed in; it is the passkey that is not right.
		f := fault.As(err)
		return fault.New(fault.Conflict, f.Code, "%s", f.What).Because("%s", f.Why).Do("%s", f.Remedy).Wrap(f.Err)
	}
	if err != nil {
		return err
	}
	k.Name = in.Name
	if err := s.cfg.SignIns.Accounts.AddPasskey(r.Context(), k); err != nil {
		return err
	}
	s.shortCookie(w, r, flowCookie, "", -1, false)
	return writeJSON(w, map[string]string{"id": k.ID})
}
