package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/cli/client"
)

func alertsCommand(a *app) *cobra.Command {
	return a.remote(group("alerts", "What is wrong: list, take on, silence; rules and receivers",
		alertsListCommand(a), alertsAckCommand(a), alertsSilenceCommand(a), alertsRulesCommand(a), receiversCommand(a)))
}

// errNoReason is for what others will ask about.
var errNoReason = usageError{errors.New("say why, with --reason")}

func alertsListCommand(a *app) *cobra.Command {
	var p client.ListAlertsParams
	var states, severities, agents []string
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List alerts, the most urgent first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			p.State, p.Severity, p.Agent = params(states), params(severities), params(agents)
			raw, err := c.collect(cmd.Context(), limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
				p.Limit, p.Cursor = limit, cursor
				return c.api.ListAlerts(ctx, &p)
			})
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No alerts.", head: []string{"ID", "STATE", "SEVERITY", "NAME", "AGENT", "SINCE", "SUMMARY"}}
			for _, r := range raw {
				var one alert.Alert
				if err := json.Unmarshal(r, &one); err != nil {
					return err
				}
				v.names = append(v.names, one.ID)
				v.rows = append(v.rows, []string{one.ID, string(one.Status), one.Severity, one.Name, one.AgentID, a.since(one.ActiveAt), one.Summary()})
			}
			return a.show(v)
		},
	}
	c.Flags().StringSliceVar(&states, "state", []string{"firing", "acknowledged", "silenced", "pending"}, "only these states, also resolved")
	c.Flags().StringSliceVar(&severities, "severity", nil, "only these severities, e.g. critical")
	c.Flags().StringSliceVar(&agents, "agent", nil, "only of these agents")
	c.Flags().IntVar(&limit, "limit", 100, "at most this many; 0 means all")
	return c
}

func alertsAckCommand(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "ack ID…", Short: "Take on alerts, so that nobody is told again", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return errNoReason
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				body, err := jsonBody(map[string]string{"reason": reason})
				if err != nil {
					return err
				}
				raw, err := c.once(cmd.Context(), nil, func(ctx context.Context) (*http.Response, error) {
					return c.api.AcknowledgeAlertWithBody(ctx, id, nil, jsonType, body)
				})
				if err != nil {
					return err
				}
				if err := a.showResult(raw, id, func() { a.say("You have taken on %s", id) }, nil); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "what is being done about it (needed)")
	return c
}

func alertsSilenceCommand(a *app) *cobra.Command {
	var reason string
	var span time.Duration
	c := &cobra.Command{
		Use: "silence MATCHER…", Short: "Tell nobody of some alerts for a time", Args: cobra.MinimumNArgs(1),
		Example: "  portal alerts silence 'alertname=\"AgentMemory\"' 'agent=\"wow-memory\"' --for 2h --reason upgrade",
		RunE: func(cmd *cobra.Command, args []string) error {
			matchers, err := alert.ParseMatchers(strings.Join(args, ","))
			if err != nil {
				return usageError{err}
			}
			if reason == "" {
				return errNoReason
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			body, err := jsonBody(map[string]any{"matchers": matchers, "seconds": int(span.Seconds()), "reason": reason})
			if err != nil {
				return err
			}
			var made alert.Silence
			raw, err := c.once(cmd.Context(), &made, func(ctx context.Context) (*http.Response, error) {
				return c.api.CreateSilenceWithBody(ctx, nil, jsonType, body)
			})
			if err != nil {
				return err
			}
			return a.showResult(raw, made.ID, func() { a.say("Silence %s is in force until %s", made.ID, stamp(made.EndsAt)) }, nil)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why (needed)")
	c.Flags().DurationVar(&span, "for", 2*time.Hour, "for how long")
	return c
}

func alertsRulesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rules", Short: "List the rules, with how their evaluation went", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var p client.ListRulesParams
			raw, err := c.collect(cmd.Context(), 0, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
				p.Limit, p.Cursor = limit, cursor
				return c.api.ListRules(ctx, &p)
			})
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No rules.", head: []string{"ID", "NAME", "SEVERITY", "THRESHOLD", "FIRING", "FROM", "ERROR"}}
			for _, r := range raw {
				var one alert.RuleView
				if err := json.Unmarshal(r, &one); err != nil {
					return err
				}
				limit := ""
				if one.Threshold != nil {
					limit = fmt.Sprintf("%s %g", one.Operator, *one.Threshold)
				}
				v.names = append(v.names, one.ID)
				v.rows = append(v.rows, []string{one.ID, one.Name, one.Severity, limit, fmt.Sprint(one.Active), one.File, one.Status.Error})
			}
			return a.show(v)
		},
	}
}

func receiversCommand(a *app) *cobra.Command {
	list := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List who is told about alerts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var p client.ListReceiversParams
			raw, err := c.collect(cmd.Context(), 0, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
				p.Limit, p.Cursor = limit, cursor
				return c.api.ListReceivers(ctx, &p)
			})
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No receivers.", head: []string{"ID", "NAME", "KIND", "ADDRESS"}}
			for _, r := range raw {
				var one alert.Receiver
				if err := json.Unmarshal(r, &one); err != nil {
					return err
				}
				v.names = append(v.names, one.ID)
				v.rows = append(v.rows, []string{one.ID, one.Name, string(one.Kind), one.URL})
			}
			return a.show(v)
		},
	}
	test := &cobra.Command{
		Use: "test ID", Short: "Send a test, and say what came of it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var d alert.Delivery
			raw, err := c.once(cmd.Context(), &d, func(ctx context.Context) (*http.Response, error) { return c.api.TestReceiver(ctx, args[0], nil) })
			if err != nil {
				return err
			}
			return a.showResult(raw, d.ID, func() { a.say("%s", strings.TrimSpace("The test is "+d.State+". "+d.Error)) }, nil)
		},
	}
	return group("receivers", "Who is told about alerts", list, test)
}
