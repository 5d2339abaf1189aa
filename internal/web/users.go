package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
)

// usersView is the list of users, the form for a new one, and the rules.
type usersView struct {
	Accounts []auth.Account
	Next     string
	Rules    []auth.Rule
	Provider string // its name; "" for none
	Label    string // of the provider
	Form     auth.NewUser
	Key      string
	Added    *auth.Account // who was just added
}

// roleOptions are the roles to choose from, up to the given one.
func roleOptions(most auth.Role) []components.Option {
	out := []components.Option{}
	for _, o := range []components.Option{{Value: string(auth.Viewer), Label: "Viewer: sees everything, changes nothing"},
		{Value: string(auth.Operator), Label: "Operator: acts on agents"}, {Value: string(auth.Admin), Label: "Admin: also manages users and tokens"}} {
		if most.Includes(auth.Role(o.Value)) {
			out = append(out, o)
		}
	}
	return out
}

func (s *Server) usersPage(w http.ResponseWriter, r *http.Request) error {
	return s.showUsers(w, r, nil, auth.NewUser{Role: auth.Viewer})
}

func (s *Server) showUsers(w http.ResponseWriter, r *http.Request, problem *fault.Error, form auth.NewUser) error {
	ctx, svc := r.Context(), s.cfg.Settings.Users
	list, next, err := svc.ListUsers(ctx, r.URL.Query().Get("cursor"), 100)
	if err != nil {
		return err
	}
	v := usersView{Accounts: list, Rules: svc.RoleRules(), Form: form, Key: newNonce()}
	if p := s.cfg.SignIns.Provider; p != nil {
		v.Provider, v.Label = p.Name(), p.Label()
	}
	if next != "" {
		v.Next = usersPath + "?cursor=" + url.QueryEscape(next)
	}
	if id := r.URL.Query().Get("user"); id != "" && problem == nil {
		if u, err := svc.User(ctx, id); err == nil {
			a := svc.AccountOf(*u)
			v.Added = &a
		}
	}
	return s.showSetting(w, r, "Users and roles", usersPath, problem, func(in setting) templ.Component { return usersBody(in, v) })
}

// newUser adds somebody. They choose their password themselves, by a link.
func (s *Server) newUser(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := auth.NewUser{Email: r.PostForm.Get("email"), Name: r.PostForm.Get("name"), Role: auth.Role(r.PostForm.Get("role")), Provider: r.PostForm.Get("provider")}
	u, err := s.cfg.Settings.Users.CreateUser(r.Context(), form)
	if err != nil {
		if f := shownInForm(err); f != nil {
			return s.showUsers(w, r, f, form)
		}
		return err
	}
	http.Redirect(w, r, usersPath+"?done=user-created&user="+url.QueryEscape(u.ID), http.StatusSeeOther)
	return nil
}

// userView is one user, for administrators.
type userView struct {
	auth.Account
	Own      bool // it is the one who asks
	Passkeys int
	Link     string // a one-time link that was just made
}

func (v userView) path() string { return usersPath + "/" + v.ID }

func (s *Server) userPage(w http.ResponseWriter, r *http.Request) error {
	return s.showUser(w, r, nil, "")
}

func (s *Server) showUser(w http.ResponseWriter, r *http.Request, problem *fault.Error, link string) error {
	ctx := r.Context()
	u, err := s.cfg.Settings.Users.User(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	keys, err := s.cfg.Settings.Own.PasskeysOf(ctx, u.ID)
	if err != nil {
		return err
	}
	v := userView{Account: s.cfg.Settings.Users.AccountOf(*u), Own: auth.From(ctx).User == u.Key(), Passkeys: len(keys), Link: link}
	if link != "" {
		r = r.Clone(ctx) // as with tokens: secrets are not packed
		r.Header.Del("Accept-Encoding")
	}
	return s.showSetting(w, r, u.Email, usersPath, problem, func(in setting) templ.Component { return userBody(in, v) })
}

// changeUser makes the one change that was sent: of the role, or of whether the
// user may come in.
func (s *Server) changeUser(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	var c auth.UserChange
	if r.PostForm.Has("role") {
		role := auth.Role(r.PostForm.Get("role"))
		c.Role = &role
	}
	if r.PostForm.Has("disabled") {
		disabled := r.PostForm.Get("disabled") == "true"
		c.Disabled = &disabled
	}
	return s.afterUser(w, r, func() error {
		_, err := s.cfg.Settings.Users.ChangeUser(r.Context(), r.PathValue("id"), c)
		return err
	}, usersPath+"/"+url.PathEscape(r.PathValue("id")), "user")
}

// afterUser does something with a user and says what came of it.
func (s *Server) afterUser(w http.ResponseWriter, r *http.Request, do func() error, to, name string) error {
	if err := do(); err != nil {
		if f := shownInForm(err); f != nil {
			return s.showUser(w, r, f, "")
		}
		return err
	}
	return done(w, r, to, name)
}

// userLink makes a one-time link and shows it, this once.
func (s *Server) userLink(w http.ResponseWriter, r *http.Request) error {
	code, err := s.cfg.Settings.Users.NewUserLink(r.Context(), r.PathValue("id"), 0)
	if err != nil {
		if f := shownInForm(err); f != nil {
			return s.showUser(w, r, f, "")
		}
		return err
	}
	return s.showUser(w, r, nil, strings.TrimSuffix(s.cfg.SignIns.PublicURL, "/")+"/auth/link/"+code)
}

// removeUser deletes a user whose e-mail was typed to show that it is meant.
func (s *Server) removeUser(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	return s.afterUser(w, r, func() error {
		u, err := s.cfg.Settings.Users.User(r.Context(), r.PathValue("id"))
		if err != nil {
			return err
		}
		if strings.TrimSpace(r.PostForm.Get("confirm")) != u.Email {
			return fault.New(fault.Invalid, "user.confirm", "The user was not deleted").
				At(fault.Field{Path: "confirm", Message: "is not the e-mail of the user"})
		}
		return s.cfg.Settings.Users.DeleteUser(r.Context(), u.ID)
	}, usersPath, "user-deleted")
}
