package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/auth"
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
