package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
)

func auditCommand(a *app) *cobra.Command {
	return group("audit", "The record of who did what",
		a.remote(auditListCommand(a)), a.remote(auditExportCommand(a)), auditVerifyCommand(a))
}

// auditFilter are the flags that select entries.
type auditFilter struct {
	actor, action, target, outcome, search string
	agents                                 []string
	since, until                           moment
}

func (f *auditFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.actor, "actor", "", "only what this principal did")
	c.Flags().StringVar(&f.action, "action", "", "only this action, e.g. agent.start or agent.*")
	c.Flags().StringVar(&f.target, "target", "", "only on this target, e.g. agent/wow-memory or token/*")
	c.Flags().StringSliceVar(&f.agents, "agent", nil, "only on these agents")
	c.Flags().StringVar(&f.outcome, "outcome", "", "only done, refused or failed")
	c.Flags().StringVarP(&f.search, "search", "q", "", "only with this text")
	c.Flags().Var(&f.since, "since", "only from then on: a time such as 2026-01-31T12:00:00Z, or an age such as 24h")
	c.Flags().Var(&f.until, "until", "only until then")
}

// moment is a flag that takes a time, or an age.
type moment struct{ at time.Time }

func (m *moment) Type() string { return "time" }

func (m *moment) String() string {
	if m.at.IsZero() {
		return ""
	}
	return m.at.Format(time.RFC3339)
}

// Set reads an age, a date or a time.
func (m *moment) Set(s string) error {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		m.at = time.Now().Add(-d)
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			m.at = t
			return nil
		}
	}
	return fmt.Errorf("%q is neither a time such as 2026-01-31T12:00:00Z nor an age such as 24h", s)
}

func auditListCommand(a *app) *cobra.Command {
	var f auditFilter
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "Search the audit log, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.auditEntries(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No entries.", head: []string{"NO", "AT", "BY", "ROLE", "ACTION", "TARGET", "OUTCOME", "REASON", "FROM"}}
			for _, r := range raw {
				var e audit.Entry
				if err := json.Unmarshal(r, &e); err != nil {
					return err
				}
				seq := strconv.FormatInt(e.Seq, 10)
				v.names = append(v.names, seq)
				v.rows = append(v.rows, []string{seq, stamp(e.At), e.Actor, e.Role, e.Action, e.Target, string(e.Outcome), e.Reason, e.From})
			}
			return a.show(v)
		},
	}
	f.flags(c)
	c.Flags().IntVar(&limit, "limit", 100, "at most this many; 0 means all")
	return c
}

func auditExportCommand(a *app) *cobra.Command {
	var f auditFilter
	var format, file string
	c := &cobra.Command{
		Use: "export", Short: "Write the audit log to a file or to standard output", Args: cobra.NoArgs,
		Example: "  portal audit export --since 720h --format csv --file audit.csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.export(cmd.Context(), c, f, format, file)
		},
	}
	f.flags(c)
	c.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	c.Flags().StringVar(&file, "file", "", "file to write (default standard output)")
	return c
}

// export copies the answer. A file appears under its name only once it is
// whole.
func (a *app) export(ctx context.Context, c *conn, f auditFilter, format, file string) error {
	r, err := c.exportAudit(ctx, f, format)
	if err != nil {
		return c.unreachable(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		_, err := c.read(r, nil)
		return err
	}
	out, done := a.io.Out, func() error { return nil }
	if file != "" {
		part, err := os.OpenFile(file+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fault.New(fault.Invalid, "cli.file", "%s can't be written", file).Because("%v", err)
		}
		defer func() { _ = os.Remove(part.Name()) }() // gone already if all went well
		defer part.Close()
		out, done = part, func() error {
			if err := part.Close(); err != nil {
				return err
			}
			return os.Rename(part.Name(), file)
		}
	}
	if _, err := io.Copy(out, r.Body); err != nil {
		return fault.New(fault.Unavailable, "cli.export", "The export broke off and is not whole").Because("%v", err).Wrap(err)
	}
	return done()
}

func auditVerifyCommand(a *app) *cobra.Command {
	var anchor string
	var options func() ServeOptions
	c := &cobra.Command{
		Use: "verify", Short: "Check that nothing in the audit log was changed, removed or moved", Args: cobra.NoArgs,
		Long: "Checks the chain of hashes. With --data or --config in the data of this machine; else the server at\n" +
			"PORTAL_URL does it. Note the number and hash it prints somewhere else, and give them with --anchor the\n" +
			"next time: that also finds a log that was rewritten as a whole. Exit code 1 if the chain is broken.",
		Example: "  portal audit verify --data ./data\n  portal audit verify --anchor 1234:9f86d08…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			anchors, err := parseAnchor(anchor)
			if err != nil {
				return err
			}
			var report audit.Report
			var raw any
			if o := options(); len(o.Flags) > 0 {
				if err := a.checkOutput(); err != nil {
					return err
				}
				if a.deps.AuditVerify == nil {
					return missing("audit verify")
				}
				if report, err = a.deps.AuditVerify(cmd.Context(), o, anchors...); err != nil {
					return err
				}
				raw = report
			} else {
				c, err := a.connect()
				if err != nil {
					return err
				}
				if raw, err = c.verifyAudit(cmd.Context(), anchors, &report); err != nil {
					return err
				}
			}
			return a.showReport(raw, report)
		},
	}
	c.Flags().StringVar(&anchor, "anchor", "", "NUMBER:HASH as noted earlier")
	a.remote(c)
	options = a.settingFlags(c)
	return c
}

func parseAnchor(s string) ([]audit.Anchor, error) {
	if s == "" {
		return nil, nil
	}
	number, hash, _ := strings.Cut(s, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil || seq < 1 || len(hash) != 64 {
		return nil, usagef("--anchor %q is not NUMBER:HASH", s)
	}
	return []audit.Anchor{{Seq: seq, Hash: hash}}, nil
}

func (a *app) showReport(raw any, r audit.Report) error {
	text := fmt.Sprintf("The audit log is intact: %d entries.\nNote elsewhere: %d:%s\n", r.Entries, r.Seq, clean(r.Hash))
	if !r.OK {
		text = fmt.Sprintf("The audit log is BROKEN at entry %d: %s\n%d entries before it are intact.\n", r.FirstBad, clean(r.Problem), r.Entries)
	}
	if err := a.show(view{raw: raw, names: []string{strconv.FormatInt(r.Seq, 10)}, text: text}); err != nil {
		return err
	}
	if !r.OK {
		return codeError(exitFailed)
	}
	return nil
}
