package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
)

// Settings is what people set for themselves and administrators for others. See
// auth.Service.
type Settings struct {
	Own    OwnAccount
	Tokens TokenService
	Users  UserService
	// Webhooks and WebhookReader tell other systems what happens.
	Webhooks      Webhooks
	WebhookReader WebhookReader
}

// OwnAccount is the account and the sessions of whoever asks.
type OwnAccount interface {
	UserOf(ctx context.Context) (*auth.User, error)
	SetOwnName(ctx context.Context, name string) error
	SetOwnPassword(ctx context.Context, current, password string) error
	PasskeysOf(ctx context.Context, userID string) ([]auth.Passkey, error)
	RemovePasskey(ctx context.Context, id string) error
	OwnSessions(ctx context.Context) ([]auth.OwnSession, error)
	EndOwnSession(ctx context.Context, id string) error
	EndOwnSessions(ctx context.Context) error
}

// TokenService gives and takes API tokens.
type TokenService interface {
	CreateToken(ctx context.Context, name string, role auth.Role, ttl time.Duration) (secret string, t auth.Token, err error)
	CreateOwnToken(ctx context.Context, name string, role auth.Role, ttl time.Duration) (secret string, t auth.Token, err error)
	ListTokens(ctx context.Context, cursor string, limit int) (list []auth.Token, next string, err error)
	RevokeToken(ctx context.Context, id string) error
}

// UserService is for administrators.
type UserService interface {
	ListUsers(ctx context.Context, cursor string, limit int) (list []auth.Account, next string, err error)
	User(ctx context.Context, id string) (*auth.User, error)
	AccountOf(u auth.User) auth.Account
	CreateUser(ctx context.Context, n auth.NewUser) (*auth.User, error)
	ChangeUser(ctx context.Context, id string, c auth.UserChange) (*auth.User, error)
	DeleteUser(ctx context.Context, id string) error
	NewUserLink(ctx context.Context, userID string, ttl time.Duration) (code string, err error)
	RoleRules() []auth.Rule
}

const (
	settingsPath = "/settings"
	profilePath  = settingsPath + "/profile"
	sessionsPath = settingsPath + "/sessions"
	tokensPath   = settingsPath + "/tokens"
	usersPath    = settingsPath + "/users"
)

// settingsRoutes are what people set for themselves and administrators for others.
var settingsRoutes = []Route{
	{Method: "GET", Path: settingsPath, Role: auth.Viewer, ID: "settings", handle: (*Server).settings},
	{Method: "GET", Path: profilePath, Role: auth.Viewer, ID: "profile-page", Title: "Profile", handle: (*Server).profilePage},
	{Method: "POST", Path: profilePath, Role: auth.Viewer, ID: "set-name", handle: (*Server).setName},
	{Method: "POST", Path: profilePath + "/password", Role: auth.Viewer, ID: "set-password", handle: (*Server).setPassword},
	{Method: "POST", Path: profilePath + "/passkeys/{id}/remove", Role: auth.Viewer, ID: "remove-passkey", handle: (*Server).removePasskey},
	{Method: "GET", Path: sessionsPath, Role: auth.Viewer, ID: "sessions-page", Title: "Sessions", handle: (*Server).sessionsPage},
	{Method: "POST", Path: sessionsPath + "/{id}/end", Role: auth.Viewer, ID: "end-one-session", handle: (*Server).endSession},
	{Method: "POST", Path: sessionsPath + "/end", Role: auth.Viewer, ID: "end-all-sessions", handle: (*Server).endSessions},
	{Method: "GET", Path: tokensPath, Role: auth.Viewer, ID: "tokens-page", Title: "API tokens", handle: (*Server).tokensPage},
	{Method: "POST", Path: tokensPath, Role: auth.Viewer, ID: "new-token", Secret: true, handle: (*Server).newToken},
	{Method: "POST", Path: tokensPath + "/{id}/revoke", Role: auth.Viewer, ID: "end-token", handle: (*Server).endToken},
	{Method: "GET", Path: usersPath, Role: auth.Admin, ID: "users-page", Title: "Users", handle: (*Server).usersPage},
	{Method: "POST", Path: usersPath, Role: auth.Admin, ID: "new-user", handle: (*Server).newUser},
	{Method: "GET", Path: usersPath + "/{id}", Role: auth.Admin, ID: "user-page", handle: (*Server).userPage},
	{Method: "POST", Path: usersPath + "/{id}", Role: auth.Admin, ID: "change-user", handle: (*Server).changeUser},
	{Method: "POST", Path: usersPath + "/{id}/link", Role: auth.Admin, ID: "user-link", Secret: true, handle: (*Server).userLink},
	{Method: "POST", Path: usersPath + "/{id}/delete", Role: auth.Admin, ID: "remove-user", handle: (*Server).removeUser},
}

// settings leads to the first of the pages.
func (s *Server) settings(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, profilePath, http.StatusSeeOther)
	return nil
}

// settingsTabs are the pages that the person may see.
func settingsTabs(current string, role auth.Role) []components.Tab {
	tabs := []components.Tab{{Name: "Profile", Href: profilePath}, {Name: "Sessions", Href: sessionsPath}, {Name: "API tokens", Href: tokensPath}}
	if role.Includes(auth.Admin) {
		tabs = append(tabs, components.Tab{Name: "Users and roles", Href: usersPath}, components.Tab{Name: "Webhooks", Href: webhooksPath})
	}
	for i := range tabs {
		tabs[i].Current = tabs[i].Href == current
	}
	return tabs
}

// doneTexts are what a page says after a form. The address holds the name, so
// that nobody's link makes the portal say something else.
var doneTexts = map[string]string{
	"name": "Your name was changed", "password": "Your password was changed; all your other sessions were ended",
	"passkey": "The passkey was removed", "passkey-added": "The passkey was added",
	"session": "The session was ended", "token": "The token was revoked",
	"user": "The user was changed", "user-created": "The user was added", "user-deleted": "The user was deleted",
	"webhook": "The webhook was changed", "webhook-deleted": "The webhook was deleted", "webhook-resumed": "Deliveries go on",
	"orphan":        "What was left over was removed",
	"webhook-taken": "It was sent and taken", "webhook-not-taken": "It was sent and not taken; the first delivery below says why",
}

// setting is what every page of the settings shows.
type setting struct {
	Tabs    []components.Tab
	Done    string       // what came of the form before
	Problem *fault.Error // what is wrong with the form that was sent
}

// field is what is wrong with a field of the form that was sent.
func (v setting) field(path string) string {
	if v.Problem != nil {
		for _, f := range v.Problem.Fields {
			if f.Path == path {
				return strings.ToUpper(f.Message[:1]) + f.Message[1:]
			}
		}
	}
	return ""
}

// fieldOf is what is wrong with a field that holds a list, or with one of its values.
func (v setting) fieldOf(path string) string {
	if v.Problem != nil {
		for _, f := range v.Problem.Fields {
			if strings.HasPrefix(f.Path, path+"[") {
				return strings.ToUpper(f.Message[:1]) + f.Message[1:]
			}
		}
	}
	return v.field(path)
}

// formStatuses are those of the problems that a form shows itself.
var formStatuses = map[fault.Kind]int{
	fault.Invalid: http.StatusBadRequest, fault.Conflict: http.StatusConflict, fault.Forbidden: http.StatusForbidden,
	fault.RateLimited: http.StatusTooManyRequests,
}

// shownInForm tells whether the person can do something about the problem in
// the form itself.
func shownInForm(err error) *fault.Error {
	if f := fault.As(err); f != nil && formStatuses[f.Kind] != 0 {
		return f
	}
	return nil
}

// showSetting writes a page of the settings.
func (s *Server) showSetting(w http.ResponseWriter, r *http.Request, title, path string, problem *fault.Error, body func(setting) templ.Component) error {
	v := setting{Tabs: settingsTabs(path, auth.From(r.Context()).Role), Problem: problem}
	status := http.StatusOK
	if problem != nil {
		status = formStatuses[problem.Kind]
	} else if r.Method == http.MethodGet {
		v.Done = doneTexts[r.URL.Query().Get("done")]
	}
	shell := Shell{Title: title, Active: settingsPath}
	if shell.Title != "Settings" {
		shell.Crumbs = []Crumb{{Name: "Settings", Href: settingsPath}}
	}
	return s.showStatus(w, r, status, shell, settingBody(v, body(v)))
}

// done leads back to a page that says what came of the form.
func done(w http.ResponseWriter, r *http.Request, path, name string) error {
	http.Redirect(w, r, path+"?done="+url.QueryEscape(name), http.StatusSeeOther)
	return nil
}

// profileView is who is signed in.
type profileView struct {
	Who      auth.Principal
	User     *auth.User // nil for those who have no account
	Passkeys []auth.Passkey
	Offers   bool // passkeys can be added
	Linked   bool // the session came from a one-time link: the old password is not asked for
	Name     string
}

func (s *Server) profilePage(w http.ResponseWriter, r *http.Request) error {
	return s.showProfile(w, r, nil, "")
}

func (s *Server) showProfile(w http.ResponseWriter, r *http.Request, problem *fault.Error, name string) error {
	ctx := r.Context()
	v := profileView{Who: auth.From(ctx)}
	u, err := s.cfg.Settings.Own.UserOf(ctx)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if u != nil {
		if v.User, v.Name = u, u.Name; problem != nil {
			v.Name = name
		}
		if v.Passkeys, err = s.cfg.Settings.Own.PasskeysOf(ctx, u.ID); err != nil {
			return err
		}
		v.Offers = u.Local() && s.cfg.SignIns.Passkeys != nil && s.cfg.SignIns.Passkeys.Works(r.Host)
		if v.Linked, err = s.linked(ctx); err != nil {
			return err
		}
	}
	return s.showSetting(w, r, "Profile", profilePath, problem, func(in setting) templ.Component { return profileBody(in, v) })
}

// linked tells whether whoever asks came by a one-time link.
func (s *Server) linked(ctx context.Context) (bool, error) {
	list, err := s.cfg.Settings.Own.OwnSessions(ctx)
	for _, d := range list {
		if d.Current {
			return d.Method == "link", err
		}
	}
	return false, err
}

func (s *Server) setName(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	name := r.PostForm.Get("name")
	if err := s.cfg.Settings.Own.SetOwnName(r.Context(), name); err != nil {
		if f := shownInForm(err); f != nil {
			return s.showProfile(w, r, f, name)
		}
		return err
	}
	return done(w, r, profilePath, "name")
}

func (s *Server) setPassword(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	err := s.cfg.Settings.Own.SetOwnPassword(r.Context(), r.PostForm.Get("current"), r.PostForm.Get("password"))
	if err != nil {
		if f := shownInForm(err); f != nil {
			return s.showProfile(w, r, f, "")
		}
		return err
	}
	return done(w, r, profilePath, "password")
}

func (s *Server) removePasskey(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Settings.Own.RemovePasskey(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return done(w, r, profilePath, "passkey")
}

func (s *Server) sessionsPage(w http.ResponseWriter, r *http.Request) error {
	list, err := s.cfg.Settings.Own.OwnSessions(r.Context())
	if err != nil {
		return err
	}
	return s.showSetting(w, r, "Sessions", sessionsPath, nil, func(setting) templ.Component { return sessionsBody(list) })
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := s.cfg.Settings.Own.EndOwnSession(r.Context(), id); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if id == auth.From(r.Context()).Session {
		s.leave(w, r)
		return nil
	}
	return done(w, r, sessionsPath, "session")
}

func (s *Server) endSessions(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Settings.Own.EndOwnSessions(r.Context()); err != nil {
		return err
	}
	s.leave(w, r)
	return nil
}

// leave takes the session that has ended from the browser.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) {
	s.cfg.Door.SetSession(w, r, "")
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}

// tokensView is the list of tokens, and the form for a new one.
type tokensView struct {
	Who    auth.Principal
	Person bool // tokens of one's own can be made
	Tokens []auth.Token
	Next   string // leads on
	Now    time.Time
	Form   tokenForm
	Secret string // of the token that was just made
	Made   string // its name
}

// tokenForm is what was filled in.
type tokenForm struct{ Name, Role, Life, Owner string }

// tokenLives are how long tokens can be good.
var tokenLives = []components.Option{{Value: "24h", Label: "1 day"}, {Value: "168h", Label: "7 days"}, {Value: "720h", Label: "30 days"},
	{Value: "2160h", Label: "90 days"}, {Value: "8760h", Label: "365 days"}}

func (s *Server) tokensPage(w http.ResponseWriter, r *http.Request) error {
	return s.showTokens(w, r, nil, tokensView{Form: tokenForm{Life: "2160h"}})
}

func (s *Server) showTokens(w http.ResponseWriter, r *http.Request, problem *fault.Error, v tokensView) error {
	ctx := r.Context()
	list, next, err := s.cfg.Settings.Tokens.ListTokens(ctx, r.URL.Query().Get("cursor"), 100)
	if err != nil {
		return err
	}
	v.Who, v.Tokens, v.Now = auth.From(ctx), list, s.cfg.Now()
	v.Person = strings.HasPrefix(v.Who.User, "user:")
	if next != "" {
		v.Next = tokensPath + "?cursor=" + url.QueryEscape(next)
	}
	if v.Form.Role == "" {
		v.Form.Role = string(auth.Viewer)
	}
	if v.Secret != "" {
		// A secret is not packed together with other text: the length of what comes
		// out says something about it.
		r = r.Clone(ctx)
		r.Header.Del("Accept-Encoding")
	}
	return s.showSetting(w, r, "API tokens", tokensPath, problem, func(in setting) templ.Component { return tokensBody(in, v) })
}

// newToken makes a token and shows its secret, this once. The form has no
// idempotency key: with one the answer would be kept. Sent twice, the second is
// refused, because the name is taken.
func (s *Server) newToken(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := tokenForm{Name: r.PostForm.Get("name"), Role: r.PostForm.Get("role"), Life: r.PostForm.Get("life"), Owner: r.PostForm.Get("owner")}
	ttl, err := time.ParseDuration(form.Life)
	if err != nil || ttl <= 0 {
		ttl = -1 // which is refused with the others
	}
	create := s.cfg.Settings.Tokens.CreateOwnToken
	if form.Owner == "nobody" {
		create = s.cfg.Settings.Tokens.CreateToken
	}
	secret, t, err := create(r.Context(), form.Name, auth.Role(form.Role), ttl)
	if err != nil {
		if f := shownInForm(err); f != nil {
			return s.showTokens(w, r, f, tokensView{Form: form})
		}
		return err
	}
	return s.showTokens(w, r, nil, tokensView{Form: tokenForm{Life: "2160h"}, Secret: secret, Made: t.Name})
}

func (s *Server) endToken(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Settings.Tokens.RevokeToken(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return done(w, r, tokensPath, "token")
}
