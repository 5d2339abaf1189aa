package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (s *server) registerTokens() {
	door.Handle(s.Door, "list-tokens", "List your API tokens; all of them for administrators", s.listTokens)
	door.Handle(s.Door, "create-token", "Make an API token; its secret is shown this once", s.createToken, door.Status(http.StatusCreated), func(op *huma.Operation) {
		op.Description += " An answer that is given again for an Idempotency-Key does not hold the secret."
	})
	door.Handle(s.Door, "revoke-token", "End an API token for good", s.revokeToken, door.Status(http.StatusNoContent))
}

func (s *server) listTokens(ctx context.Context, in *door.Paging) (*door.ListAnswer[auth.Token], error) {
	items, next, err := s.cfg.Auth.ListTokens(ctx, in.Cursor, in.Limit)
	return &door.ListAnswer[auth.Token]{Body: door.ListOf(items, next)}, err
}

type createTokenInput struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"100" doc:"What it is for"`
		Role string `json:"role" enum:"viewer,operator,admin"`
		TTL  string `json:"ttl,omitempty" doc:"How long it is valid, e.g. 720h; default 2160h (90 days), at most 8784h (366 days)"`
		Own  *bool  `json:"own,omitempty" doc:"It is yours and never allows more than you may; false: it belongs to nobody. Only administrators may say false, which is their default"`
	}
}

// NewToken is an API token with its secret.
type NewToken struct {
	Token  auth.Token `json:"token"`
	Secret string     `json:"secret,omitempty" doc:"Send it as Authorization: Bearer SECRET; it is not shown again"`
}

type createTokenAnswer struct {
	Location string `header:"Location"`
	Body     NewToken
}

func (s *server) createToken(ctx context.Context, in *createTokenInput) (*createTokenAnswer, error) {
	var ttl time.Duration
	if in.Body.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(in.Body.TTL); err != nil || ttl <= 0 {
			return nil, door.Invalid("ttl", "must be a positive duration such as 720h")
		}
	}
	create, own := s.cfg.Auth.CreateToken, !auth.From(ctx).Role.Includes(auth.Admin)
	if in.Body.Own != nil {
		own = *in.Body.Own
	}
	if own {
		create = s.cfg.Auth.CreateOwnToken
	}
	secret, t, err := create(ctx, in.Body.Name, auth.Role(in.Body.Role), ttl)
	if err != nil {
		return nil, err
	}
	door.Keep(ctx, NewToken{Token: t}) // a secret is never stored
	return &createTokenAnswer{Location: base + "/tokens/" + t.ID, Body: NewToken{Token: t, Secret: secret}}, nil
}

func (s *server) revokeToken(ctx context.Context, in *door.ByID) (*struct{}, error) {
	return nil, s.cfg.Auth.RevokeToken(ctx, in.ID)
}

// registerAccounts registers users, what gives them roles, and sessions.
func (s *server) registerAccounts() {
	door.Handle(s.Door, "list-users", "List users, newest first", s.listUsers)
	door.Handle(s.Door, "create-user", "Make a user, who can sign in from then on", s.createUser, door.Status(http.StatusCreated))
	door.Handle(s.Door, "patch-user", "Change a user; it takes effect at once", s.patchUser)
	door.Handle(s.Door, "delete-user", "Remove a user with everything that gives them access", s.deleteUser, door.Status(http.StatusNoContent))
	door.Handle(s.Door, "link-user", "Make a one-time link that signs in as a local user", s.linkUser, door.Status(http.StatusCreated), func(op *huma.Operation) {
		op.Description += " An answer that is given again for an Idempotency-Key does not hold the link."
	})
	door.Handle(s.Door, "role-rules", "List the rules that give roles to users of identity providers", s.roleRules)
	door.Handle(s.Door, "list-sessions", "List your sessions", s.listSessions)
	door.Handle(s.Door, "end-session", "Sign out one of your sessions", s.endSession, door.Status(http.StatusNoContent))
}

func (s *server) listUsers(ctx context.Context, in *door.Paging) (*door.ListAnswer[auth.Account], error) {
	items, next, err := s.cfg.Auth.ListUsers(ctx, in.Cursor, in.Limit)
	return &door.ListAnswer[auth.Account]{Body: door.ListOf(items, next)}, err
}

type createUserInput struct {
	Body struct {
		Email    string `json:"email" minLength:"1" maxLength:"254"`
		Name     string `json:"name,omitempty" maxLength:"100"`
		Role     string `json:"role" enum:"viewer,operator,admin"`
		Provider string `json:"provider,omitempty" maxLength:"64" doc:"Where they sign in; local where empty"`
		Password string `json:"password,omitempty" maxLength:"1024" doc:"For local users; without one they need a link first"`
	}
}

type userAnswer struct {
	Location string `header:"Location"`
	Body     auth.Account
}

func (s *server) createUser(ctx context.Context, in *createUserInput) (*userAnswer, error) {
	b := in.Body
	u, err := s.cfg.Auth.CreateUser(ctx, auth.NewUser{Email: b.Email, Name: b.Name, Role: auth.Role(b.Role), Provider: b.Provider, Password: b.Password})
	if err != nil {
		return nil, err
	}
	return &userAnswer{Location: base + "/users/" + u.ID, Body: s.cfg.Auth.AccountOf(*u)}, nil
}

type patchUserInput struct {
	door.ByID
	Body struct {
		Name     *string `json:"name,omitempty" maxLength:"100"`
		Role     *string `json:"role,omitempty" enum:",viewer,operator,admin" doc:"Empty leaves a provider's user to the rules"`
		Disabled *bool   `json:"disabled,omitempty"`
	}
}

func (s *server) patchUser(ctx context.Context, in *patchUserInput) (*userAnswer, error) {
	c := auth.UserChange{Name: in.Body.Name, Disabled: in.Body.Disabled}
	if in.Body.Role != nil {
		role := auth.Role(*in.Body.Role)
		c.Role = &role
	}
	u, err := s.cfg.Auth.ChangeUser(ctx, in.ID, c)
	if err != nil {
		return nil, err
	}
	return &userAnswer{Body: s.cfg.Auth.AccountOf(*u)}, nil
}

func (s *server) deleteUser(ctx context.Context, in *door.ByID) (*struct{}, error) {
	return nil, s.cfg.Auth.DeleteUser(ctx, in.ID)
}

// NewLink is a one-time sign-in link.
type NewLink struct {
	Path string `json:"path,omitempty" doc:"To be opened in a browser on the portal's address, once"`
}

type linkAnswer struct{ Body NewLink }

func (s *server) linkUser(ctx context.Context, in *door.ByID) (*linkAnswer, error) {
	code, err := s.cfg.Auth.NewUserLink(ctx, in.ID, 0)
	if err != nil {
		return nil, err
	}
	door.Keep(ctx, NewLink{}) // a secret is never stored
	return &linkAnswer{Body: NewLink{Path: "/auth/link/" + code}}, nil
}

func (s *server) roleRules(context.Context, *struct{}) (*door.ListAnswer[auth.Rule], error) {
	return &door.ListAnswer[auth.Rule]{Body: door.ListOf(s.cfg.Auth.RoleRules(), "")}, nil
}

func (s *server) listSessions(ctx context.Context, _ *struct{}) (*door.ListAnswer[auth.OwnSession], error) {
	items, err := s.cfg.Auth.OwnSessions(ctx)
	return &door.ListAnswer[auth.OwnSession]{Body: door.ListOf(items, "")}, err
}

func (s *server) endSession(ctx context.Context, in *door.ByID) (*struct{}, error) {
	return nil, s.cfg.Auth.EndOwnSession(ctx, in.ID)
}
