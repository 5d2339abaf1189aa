package auth

import (
	"context"
	"strings"
	"unicode"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// NewUser is somebody who is to have access.
type NewUser struct {
	Email string
	Name  string
	// Provider is where they sign in; LocalProvider where empty.
	Provider string
	Role     Role
	// Password is for local users; without one they need a link first.
	Password string
}

// CreateUser makes a user, who can sign in from now on: with the password, by a
// link, or at the provider. Faults: Invalid; Conflict for an e-mail that is taken.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (*User, error) {
	if n.Provider == "" {
		n.Provider = LocalProvider
	}
	u := User{ID: s.NewID(), Email: normalEmail(n.Email), Name: strings.TrimSpace(n.Name), Provider: n.Provider, Role: n.Role, CreatedAt: s.now()}
	fields := append(checkName(u.Name), s.checkNew(u)...)
	if u.Local() {
		u.Subject = u.Email
		if n.Password != "" {
			fields = append(fields, checkPassword("password", n.Password, u)...)
		}
	} else if n.Password != "" {
		fields = append(fields, fault.Field{Path: "password", Message: "is for local users only"})
	}
	if len(fields) > 0 {
		return nil, fault.New(fault.Invalid, "user.invalid", "The user can't be made").Do("Correct the fields listed.").At(fields...)
	}
	if n.Password != "" {
		var err error
		if u.Password, err = s.hashPassword(ctx, n.Password); err != nil {
			return nil, err
		}
	}
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Users.CreateUser(ctx, u); err != nil {
			return err
		}
		return s.noteUser(ctx, "user.create", nil, &u, "created")
	})
	if err != nil {
		return nil, err
	}
	return &u, nil
}

func (s *Service) checkNew(u User) []fault.Field {
	var out []fault.Field
	if !plainEmail(u.Email) {
		out = append(out, fault.Field{Path: "email", Message: "must be an e-mail address such as ann@example.com"})
	}
	if !u.Role.Valid() {
		out = append(out, fault.Field{Path: "role", Message: "must be viewer, operator or admin"})
	}
	if len(u.Provider) > 64 || strings.ContainsFunc(u.Provider, func(r rune) bool { return r <= ' ' || r > '~' }) {
		out = append(out, fault.Field{Path: "provider", Message: "must be local or the name of a provider"})
	}
	return out
}

func checkName(name string) []fault.Field {
	switch {
	case len([]rune(name)) > maxUserName:
		return []fault.Field{{Path: "name", Message: "is longer than 100 characters"}}
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return []fault.Field{{Path: "name", Message: "holds a character that can't be printed"}}
	}
	return nil
}

// UserChange is what is to change of a user; nil leaves it as it is.
type UserChange struct {
	Name     *string
	Role     *Role // Nobody leaves a provider's user to the rules
	Disabled *bool
}

// ChangeUser changes a user. Nobody changes their own role or disables
// themselves (Forbidden), and there is always an admin left (Conflict). A
// disabled user is signed out at once.
func (s *Service) ChangeUser(ctx context.Context, id string, c UserChange) (*User, error) {
	var after User
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		before, err := s.Users.User(ctx, id)
		if err != nil {
			return err
		}
		after = *before
		if err := s.apply(ctx, &after, c); err != nil {
			return err
		}
		if after.Name == before.Name && after.Role == before.Role && after.DisabledAt == before.DisabledAt {
			return nil
		}
		if err := s.stillAdmins(ctx, *before, after); err != nil {
			return err
		}
		if err := s.Users.UpdateUser(ctx, after); err != nil {
			return err
		}
		if after.DisabledAt != nil {
			if _, err := s.Sessions.DeleteSessionsOf(ctx, id, ""); err != nil {
				return err
			}
		}
		return s.noteUser(ctx, "user.update", before, &after, "changed")
	})
	if err != nil {
		return nil, err
	}
	return &after, nil
}

// apply makes the change of u after checking it.
func (s *Service) apply(ctx context.Context, u *User, c UserChange) error {
	own := From(ctx).User == u.Key()
	if c.Name != nil {
		name := strings.TrimSpace(*c.Name)
		if fields := checkName(name); len(fields) > 0 {
			return fault.New(fault.Invalid, "user.invalid", "The user can't be changed").Do("Correct the fields listed.").At(fields...)
		}
		u.Name = name
	}
	if c.Role != nil && *c.Role != u.Role {
		if own {
			return ownAccess("You can't change your own role")
		}
		if !c.Role.Valid() && (u.Local() || *c.Role != Nobody) {
			return fault.New(fault.Invalid, "user.invalid", "The user can't be changed").Do("Correct the fields listed.").
				At(fault.Field{Path: "role", Message: "must be viewer, operator or admin"})
		}
		u.Role = *c.Role
	}
	if c.Disabled != nil && *c.Disabled != (u.DisabledAt != nil) {
		if own {
			return ownAccess("You can't disable your own account")
		}
		u.DisabledAt = nil
		if *c.Disabled {
			now := s.now()
			u.DisabledAt = &now
		}
	}
	return nil
}

func ownAccess(what string) *fault.Error {
	return fault.New(fault.Forbidden, "user.own_access", "%s", what).Do("Ask another administrator to do it.")
}

// stillAdmins refuses a change after which no user would be an admin.
func (s *Service) stillAdmins(ctx context.Context, before, after User) error {
	was, _ := s.RoleOf(before)
	is, _ := s.RoleOf(after)
	if was != Admin || is == Admin {
		return nil
	}
	for cursor := ""; ; {
		list, next, err := s.Users.Users(ctx, cursor, 1000)
		if err != nil {
			return err
		}
		for _, u := range list {
			if role, _ := s.RoleOf(u); u.ID != before.ID && role == Admin {
				return nil
			}
		}
		if cursor = next; cursor == "" {
			return fault.New(fault.Conflict, "user.last_admin", "%s is the last administrator", before.Email).
				Because("nobody could give access any more").Do("Make somebody else an administrator first.")
		}
	}
}

// DeleteUser removes a user with everything that gives them access. Nobody
// deletes themselves (Forbidden) or the last admin (Conflict).
func (s *Service) DeleteUser(ctx context.Context, id string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		u, err := s.Users.User(ctx, id)
		if err != nil {
			return err
		}
		if From(ctx).User == u.Key() {
			return ownAccess("You can't delete your own account")
		}
		gone, now := *u, s.now()
		gone.DisabledAt = &now
		if err := s.stillAdmins(ctx, *u, gone); err != nil {
			return err
		}
		if err := s.Users.DeleteUser(ctx, id); err != nil {
			return err
		}
		return s.noteUser(ctx, "user.delete", u, nil, "deleted")
	})
}

// User gives a user; NotFound.
func (s *Service) User(ctx context.Context, id string) (*User, error) { return s.Users.User(ctx, id) }

// SetOwnName changes how others see whoever asks. Conflict for users of a
// provider, whose name comes from there.
func (s *Service) SetOwnName(ctx context.Context, name string) error {
	u, err := s.UserOf(ctx)
	if err != nil {
		return err
	}
	if !u.Local() {
		return fault.New(fault.Conflict, "user.not_local", "Your name can't be changed here").
			Because("it comes from %s", u.Provider).Do("Change it there and sign in again.")
	}
	_, err = s.ChangeUser(ctx, u.ID, UserChange{Name: &name})
	return err
}

// SetOwnPassword changes the password of the local user who asks. The current
// one is needed, unless there is none or the session came from a one-time link.
// All other sessions of the user end. Faults: Invalid for the fields current and
// password.
func (s *Service) SetOwnPassword(ctx context.Context, current, password string) error {
	u, err := s.UserOf(ctx)
	if err != nil {
		return err
	}
	if !u.Local() {
		return fault.New(fault.Conflict, "user.not_local", "You have no password here").Because("you sign in at %s", u.Provider)
	}
	d, err := s.Sessions.Session(ctx, From(ctx).Session)
	if err != nil || d.Kind != Browser {
		return fault.New(fault.Forbidden, "auth.needs_browser", "A password is changed in the browser").Do("Sign in there.")
	}
	if u.Password != "" && d.Method != linkMethod {
		if err := s.checkCurrent(ctx, u, current); err != nil {
			return err
		}
	}
	if fields := checkPassword("password", password, *u); len(fields) > 0 {
		return fault.New(fault.Invalid, "user.password", "The password can't be used").Do("Choose another one.").At(fields...)
	}
	hash, err := s.hashPassword(ctx, password)
	if err != nil {
		return err
	}
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		now, err := s.Users.User(ctx, u.ID)
		if err != nil {
			return err
		}
		now.Password = hash
		if err := s.Users.UpdateUser(ctx, *now); err != nil {
			return err
		}
		n, err := s.Sessions.DeleteSessionsOf(ctx, u.ID, d.ID)
		if err != nil {
			return err
		}
		role, _ := s.RoleOf(*now)
		return s.note(ctx, event.SessionChanged, "user.password", "user/"+u.ID, nil, map[string]int{"sessions_ended": n},
			Change{ID: u.ID, Name: u.label(), Role: role, Change: "password", Timestamp: s.now()})
	})
}

// Account is a user as administrators see them.
type Account struct {
	User
	EffectiveRole Role   `json:"effective_role"` // what they may do now; empty: nothing
	RoleFrom      string `json:"role_from"`      // "given", the rule that gives it, "disabled", or empty
	HasPassword   bool   `json:"has_password"`
	Invited       bool   `json:"invited"` // has not signed in at the provider yet
}

// AccountOf gives a user as administrators see them.
func (s *Service) AccountOf(u User) Account {
	a := Account{User: u, HasPassword: u.Password != "", Invited: u.Subject == ""}
	a.EffectiveRole, a.RoleFrom = s.RoleOf(u)
	return a
}

// ListUsers lists users, newest first.
func (s *Service) ListUsers(ctx context.Context, cursor string, limit int) ([]Account, string, error) {
	list, next, err := s.Users.Users(ctx, cursor, limit)
	out := make([]Account, len(list))
	for i, u := range list {
		out[i] = s.AccountOf(u)
	}
	return out, next, err
}

// RoleRules gives the rules of the configuration.
func (s *Service) RoleRules() []Rule { return s.Rules }
