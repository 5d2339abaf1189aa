package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/fault"
)

// hook is what the command line shows of one.
type hook struct {
	ID, Name, URL, State, Secret string
	Types                        []string
	Progress                     struct {
		Delivered int64
		Reason    string
	}
}

// delivery is what the command line shows of one request to a receiver.
type delivery struct {
	ID, Reason string
	Event      string `json:"event_type"`
	At         time.Time
	Try        int
	Status     int
	OK         bool
}

func webhooksCommand(a *app) *cobra.Command {
	rm := &cobra.Command{Use: "rm NAME…", Short: "Remove webhooks", Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return a.eachHook(cmd, args, func(ctx context.Context, c *conn, name string) error {
			_, err := c.once(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.DeleteWebhook(ctx, name, nil) })
			if err == nil {
				a.say("%s removed", name)
			}
			return err
		})
	}}
	test := &cobra.Command{Use: "test NAME", Short: "Send a test and say what came of it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return a.eachHook(cmd, args, func(ctx context.Context, c *conn, name string) error {
			var d delivery
			_, err := c.once(ctx, &d, func(ctx context.Context) (*http.Response, error) { return c.api.TestWebhook(ctx, name, nil) })
			if err == nil && !d.OK {
				err = fault.New(fault.Conflict, "webhook.not_taken", "The test was not taken").Because("%s", d.Reason).
					Do("Look at the receiver; portal webhooks deliveries %s shows its answers.", name)
			}
			if err == nil {
				a.say("%s took it with status %d", name, d.Status)
			}
			return err
		})
	}}
	return group("webhooks", "Tell other systems what happens", a.remote(webhookListCommand(a)), a.remote(webhookCreateCommand(a)), a.remote(rm), a.remote(test), a.remote(deliveriesCommand(a)))
}

func (a *app) eachHook(cmd *cobra.Command, names []string, do func(ctx context.Context, c *conn, name string) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := do(cmd.Context(), c, name); err != nil {
			return err
		}
	}
	return nil
}

func webhookListCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List webhooks", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		raw, err := c.collect(cmd.Context(), 0, func(ctx context.Context, _ *int64, _ *string) (*http.Response, error) {
			return c.api.ListWebhooks(ctx, nil)
		})
		if err != nil {
			return err
		}
		v := view{raw: raw, empty: "No webhooks.", head: []string{"NAME", "STATE", "EVENTS", "DELIVERED", "URL", "LAST PROBLEM"}}
		for _, r := range raw {
			var h hook
			if err := json.Unmarshal(r, &h); err != nil {
				return err
			}
			v.names = append(v.names, h.Name)
			v.rows = append(v.rows, []string{h.Name, h.State, strings.Join(h.Types, ","), fmt.Sprint(h.Progress.Delivered), h.URL, h.Progress.Reason})
		}
		return a.show(v)
	}}
}

func webhookCreateCommand(a *app) *cobra.Command {
	var types, agents []string
	var secret string
	var confidential bool
	c := &cobra.Command{Use: "create NAME URL", Short: "Tell another system what happens from now on", Args: cobra.ExactArgs(2),
		Long: "Sends events as CloudEvents to the URL, signed as Standard Webhooks says. Prints only the secret on standard\n" +
			"output, once; nothing if --secret-ref names one.",
		Example: "  portal webhooks create ops https://hooks.example.com/portal --type 'agent:*' --type alert:fired",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			request := map[string]any{"name": args[0], "url": args[1]}
			setAll(request, map[string]any{"types": types, "agents": agents, "secret_ref": secret})
			if confidential {
				request["confidential"] = true
			}
			body, err := jsonBody(request)
			if err != nil {
				return err
			}
			var h hook
			if _, err = c.once(cmd.Context(), &h, func(ctx context.Context) (*http.Response, error) {
				return c.api.CreateWebhookWithBody(ctx, nil, jsonType, body)
			}); err != nil {
				return err
			}
			if h.Secret != "" {
				fmt.Fprintln(a.io.Out, clean(h.Secret))
			}
			return nil
		}}
	c.Flags().StringSliceVar(&types, "type", nil, "only these types of events, e.g. agent:state_changed or 'agent:*'")
	c.Flags().StringSliceVar(&agents, "agent", nil, "only what concerns these agents")
	c.Flags().StringVar(&secret, "secret-ref", "", "file:NAME or env:PORTAL_SECRET_NAME of the secret to sign with")
	c.Flags().BoolVar(&confidential, "confidential", false, "also what only administrators may see, e.g. sign-ins")
	return c
}

func deliveriesCommand(a *app) *cobra.Command {
	var limit int
	c := &cobra.Command{Use: "deliveries NAME", Short: "List what was sent lately, newest first", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		raw, err := c.collect(cmd.Context(), limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
			return c.api.ListDeliveries(ctx, args[0], &client.ListDeliveriesParams{Limit: limit, Cursor: cursor})
		})
		if err != nil {
			return err
		}
		v := view{raw: raw, empty: "Nothing was sent yet.", head: []string{"ID", "AT", "EVENT", "TRY", "STATUS", "OUTCOME"}}
		for _, r := range raw {
			var d delivery
			if err := json.Unmarshal(r, &d); err != nil {
				return err
			}
			outcome := "taken"
			if !d.OK {
				outcome = d.Reason
			}
			v.names = append(v.names, d.ID)
			v.rows = append(v.rows, []string{d.ID, stamp(d.At), d.Event, fmt.Sprint(d.Try), fmt.Sprint(d.Status), outcome})
		}
		return a.show(v)
	}}
	c.Flags().IntVar(&limit, "limit", 50, "only the newest so many; 0 means all")
	return c
}
