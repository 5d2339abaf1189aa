package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/cli/login"
	"github.com/waooaw/platform-portal/internal/fault"
)

func tokenCommand(a *app) *cobra.Command {
	list := a.remote(tokenListCommand(a))
	revoke := a.remote(tokenRevokeCommand(a))
	return group("token", "API tokens", tokenCreateCommand(a), list, revoke)
}

func tokenCreateCommand(a *app) *cobra.Command {
	var o TokenOptions
	var remote bool
	var options func() ServeOptions
	c := &cobra.Command{
		Use: "create --name NAME --role ROLE", Short: "Make an API token", Args: cobra.NoArgs,
		Long: "Makes a token directly in the data directory of this machine, also beside a running server, and prints\n" +
			"only the token on standard output. It is shown this once. With --remote the server at PORTAL_URL makes\n" +
			"it; that needs an admin's token.",
		Example: "  export PORTAL_TOKEN=$(portal token create --data ./data --name me --role admin)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Name == "" || !auth.Role(o.Role).Valid() {
				return usagef("give --name, and --role viewer, operator or admin")
			}
			if o.TTL < 0 {
				return usagef("--ttl must not be negative")
			}
			if remote {
				c, err := a.connect()
				if err != nil {
					return err
				}
				secret, err := c.createToken(cmd.Context(), o)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.io.Out, clean(secret))
				return nil
			}
			if a.deps.TokenCreate == nil {
				return missing("token create")
			}
			o.ServeOptions = options()
			secret, err := a.deps.TokenCreate(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.io.Out, secret)
			return nil
		},
	}
	c.Flags().StringVar(&o.Name, "name", "", "what the token is for, unique")
	c.Flags().StringVar(&o.Role, "role", "", "viewer, operator or admin")
	c.Flags().DurationVar(&o.TTL, "ttl", 0, "time until it expires, e.g. 720h, at most 366 days (default 90 days)")
	c.Flags().BoolVar(&remote, "remote", false, "let the server at PORTAL_URL make it")
	c.Flags().StringVar(&a.server, "server", "", "with --remote: address of the portal (default PORTAL_URL)")
	c.Flags().StringVar(&a.tokenFile, "token-file", "", "with --remote: file with the token to sign in with")
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"viewer", "operator", "admin"}, cobra.ShellCompDirectiveNoFileComp))
	options = a.settingFlags(c)
	return c
}

func tokenListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List API tokens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.tokens(cmd.Context())
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No tokens.", head: []string{"ID", "NAME", "ROLE", "STATE", "MADE BY", "MADE", "EXPIRES", "LAST USED"}}
			for _, r := range raw {
				var t auth.Token
				if err := json.Unmarshal(r, &t); err != nil {
					return err
				}
				v.names = append(v.names, t.ID)
				v.rows = append(v.rows, []string{t.ID, t.Name, string(t.Role), tokenState(t, a.io.Now()), t.CreatedBy, stamp(t.CreatedAt), optional(t.ExpiresAt), optional(t.LastUsedAt)})
			}
			return a.show(v)
		},
	}
}

func tokenState(t auth.Token, now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return "expired"
	}
	return "valid"
}

func optional(t *time.Time) string {
	if t == nil {
		return ""
	}
	return stamp(*t)
}

func tokenRevokeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID…", Short: "Make API tokens worthless at once", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := c.revokeToken(cmd.Context(), id); err != nil {
					return err
				}
				a.say("%s revoked", id)
			}
			return nil
		},
	}
}

func loginCommand(a *app) *cobra.Command {
	var noBrowser bool
	var wait time.Duration
	c := &cobra.Command{
		Use: "login [URL]", Short: "Sign in with the browser", Args: cobra.MaximumNArgs(1),
		Long: "Opens the portal in a browser, where you sign in as always and allow this command line to act for you.\n" +
			"The sign-in is kept for you alone in your directory of configuration and renews itself; all commands use it\n" +
			"until portal logout. A token in PORTAL_TOKEN, PORTAL_TOKEN_FILE or --token-file still wins.",
		Example: "  portal login https://portal.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait <= 0 {
				return usagef("--wait must be positive")
			}
			if len(args) > 0 {
				a.server = args[0]
			}
			server, err := a.address()
			if err != nil {
				return err
			}
			how := login.Invitation{Open: a.io.Open, Out: a.io.Err}
			if noBrowser {
				how.Open = nil
			}
			if a.io.InTTY {
				how.Paste = a.io.In
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			if err := a.signIns().SignIn(ctx, server, how); err != nil {
				return err
			}
			a.say("Signed in to %s.", server)
			return nil
		},
	}
	c.Flags().BoolVar(&noBrowser, "no-browser", false, "only print the address")
	c.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for you")
	return c
}

func logoutCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "logout [URL]", Short: "End a sign-in made by portal login", Args: cobra.MaximumNArgs(1),
		Long: "Ends the session at the portal and forgets it here. Without an address it is the portal that was signed in to last.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				a.server = args[0]
			}
			server, err := a.address()
			if err != nil {
				return err
			}
			signedIn, err := a.signIns().Has(server)
			if err != nil {
				return err
			}
			if !signedIn {
				a.say("You were not signed in to %s.", server)
				return nil
			}
			told := a.endSession(cmd.Context(), server)
			if err := a.signIns().Forget(cmd.Context(), server); err != nil {
				return err
			}
			a.say("Signed out of %s.", server)
			if told != nil && !fault.Is(told, fault.Unauthenticated) {
				fmt.Fprintln(a.io.Err, "Warning: the portal could not be told, so the session stays until it ends by itself. End it there under Settings, Sessions.")
			}
			return nil
		},
	}
}

// endSession tells the portal that the session is not needed any more.
func (a *app) endSession(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	token, err := a.signIns().Access(ctx, server)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/auth/logout", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	c := &conn{http: &http.Client{}, server: server}
	_, err = c.read(c.http.Do(r))
	return err
}

// signIns are those made by portal login.
func (a *app) signIns() *login.Keeper {
	return &login.Keeper{Path: login.PathIn(a.io.Getenv), Now: a.io.Now, Ask: a.askTokens}
}

// askTokens asks the portal for tokens of a sign-in.
func (a *app) askTokens(ctx context.Context, server string, form map[string]string) (t login.Tokens, err error) {
	body, err := json.Marshal(form)
	if err != nil {
		return t, fmt.Errorf("write the request: %w", err)
	}
	ctx, cancel := plain(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/auth/token", bytes.NewReader(body))
	if err != nil {
		return t, fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "portal/"+a.deps.Version.Version)
	// A refresh token goes to the portal and nowhere else.
	c := &conn{http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, server: server}
	answer, err := c.read(c.http.Do(r))
	if err != nil {
		return t, err
	}
	if err := c.decode(answer, &t); err != nil {
		return t, err
	}
	if t.Access == "" || t.Refresh == "" || t.ExpiresIn <= 0 {
		return t, c.notAPortal(errors.New("what it gives is not complete"))
	}
	return t, nil
}
