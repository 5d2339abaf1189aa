package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/logs"
)

// logQuery are the flags that select lines.
type logQuery struct {
	follow   bool
	tail     int
	since    moment
	instance string
	cursor   string
}

func logsCommand(a *app) *cobra.Command {
	var q logQuery
	var times bool
	c := &cobra.Command{
		Use: "logs ID", Short: "Show what an agent wrote, and with -f what it writes", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Long: "Shows the newest lines of all instances in the order of time. With -f goes on with new ones; a lost\n" +
			"connection is made again and nothing in between is missed. With -o json each line is an object.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.tail < 1 || q.tail > 1000 {
				return usagef("--tail must be from 1 to 1000")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if q.follow {
				return a.followLogs(cmd.Context(), c, args[0], q, times)
			}
			_, err = a.readLogs(cmd.Context(), c, args[0], &q, times)
			return err
		},
	}
	c.Flags().BoolVarP(&q.follow, "follow", "f", false, "go on with new lines until Ctrl-C")
	c.Flags().IntVar(&q.tail, "tail", 200, "the newest so many lines, at most 1000")
	c.Flags().Var(&q.since, "since", "all lines from then on: a time such as 2026-01-31T12:00:00Z, or an age such as 10m")
	c.Flags().StringVar(&q.instance, "instance", "", "only this instance")
	c.Flags().BoolVarP(&times, "timestamps", "t", false, "show when each line was written, by which instance")
	return c
}

// readLogs prints pages of lines until there is no more.
func (a *app) readLogs(ctx context.Context, c *conn, id string, q *logQuery, times bool) (bool, error) {
	for {
		lines, next, err := c.logs(ctx, id, *q)
		if err != nil {
			return false, err
		}
		for _, raw := range lines {
			var l fleet.LogLine
			if err := json.Unmarshal(raw, &l); err != nil {
				return false, err
			}
			a.printLine(raw, l, times)
		}
		if next == "" {
			return true, nil
		}
		q.cursor = next
	}
}

// printLine shows one line. What an agent writes must not reach the terminal
// as it is.
func (a *app) printLine(raw json.RawMessage, l fleet.LogLine, times bool) {
	if a.output == "json" || a.output == "yaml" || a.output == "name" {
		fmt.Fprintln(a.io.Out, escapeJSON(string(raw)))
		return
	}
	head := ""
	if times {
		head = clean(stamp(l.At)+" "+l.Instance) + " "
	}
	if l.Stream == "portal" {
		head += "[portal] "
	}
	fmt.Fprintln(a.io.Out, head+cleanLine(l.Text))
}

// followLogs reads the stream of lines and comes back after every loss, from
// the last line that was shown.
func (a *app) followLogs(ctx context.Context, c *conn, id string, q logQuery, times bool) error {
	return a.comeBack(ctx, func() bool { return q.cursor != "" }, func() (bool, error) { return a.streamLogs(ctx, c, id, &q, times) })
}

// comeBack reads a stream again after every loss, until ctx ends or it is refused.
// read tells whether anything came; begun whether there is a place to go on from.
func (a *app) comeBack(ctx context.Context, begun func() bool, read func() (got bool, err error)) error {
	wait, lost := backoffFirst, false
	for {
		got, err := read()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if kind := fault.KindOf(err); err != nil && kind != fault.Unavailable && kind != fault.RateLimited {
			return err
		}
		if err != nil && !got && !lost && !begun() {
			return err // it never worked
		}
		if got {
			wait, lost = backoffFirst, false
		}
		if !lost {
			fmt.Fprintln(a.io.Err, "Connection lost; trying again until Ctrl-C.")
			lost = true
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		wait = min(wait*2, backoffMost)
	}
}

func (a *app) streamLogs(ctx context.Context, c *conn, id string, q *logQuery, times bool) (got bool, err error) {
	r, err := c.followLogs(ctx, id, *q)
	if err != nil {
		return false, c.unreachable(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		_, err := c.read(r, nil)
		return false, err
	}
	sc := bufio.NewScanner(r.Body)
	sc.Buffer(make([]byte, 64<<10), maxMessage)
	for sc.Scan() {
		var l fleet.LogLine
		if json.Unmarshal(sc.Bytes(), &l) != nil {
			continue
		}
		got = true
		q.cursor = l.Cursor
		a.printLine(json.RawMessage(sc.Bytes()), l, times)
	}
	if err := sc.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return got, fault.New(fault.Unavailable, "cli.stream", "The stream broke off").Because("%v", err).Wrap(err)
	}
	return got, nil
}

// logSearch are the flags that select what all agents wrote.
type logSearch struct {
	text, level, stream, filter string
	agents                      []string
	since, until                moment
	limit                       int
	cursor                      string
}

func searchLogsCommand(a *app) *cobra.Command {
	var q logSearch
	var follow bool
	c := &cobra.Command{
		Use: "logs [QUERY]", Short: "Search what all agents wrote, and with -f what they write", Args: cobra.ArbitraryArgs,
		Long: "Shows the newest matching entries of all agents in the order of time. The words of the query must all be\n" +
			"there, in any case and as the beginning of words; \"a phrase\" as it stands; field:value, status:>=500 and\n" +
			"-without narrow it. With -f goes on with new ones; a lost connection is made again. With -o json each entry\n" +
			"is one line. The raw output of one agent is shown by portal agents logs.",
		Example: "  portal logs timeout --level error --since 24h\n  portal logs -f --agent wow-memory 'status:>=500'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.limit < 1 || q.limit > 10_000 {
				return usagef("--limit must be from 1 to 10000")
			}
			q.text = strings.Join(args, " ")
			c, err := a.connect()
			if err != nil {
				return err
			}
			if !follow {
				return a.searchLogs(cmd.Context(), c, q)
			}
			return a.comeBack(cmd.Context(), func() bool { return q.cursor != "" }, func() (bool, error) { return a.tailLogs(cmd.Context(), c, &q) })
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new entries until Ctrl-C")
	c.Flags().StringSliceVar(&q.agents, "agent", nil, "only these agents")
	c.Flags().StringVar(&q.level, "level", "", "at least this grave: debug, info, warn or error")
	c.Flags().StringVar(&q.stream, "stream", "", "only stdout, stderr or portal")
	c.Flags().StringVar(&q.filter, "filter", "", "a filter in LogsQL")
	c.Flags().Var(&q.since, "since", "from then on: a time such as 2026-01-31T12:00:00Z, or an age such as 10m (default 1h)")
	c.Flags().Var(&q.until, "until", "before then")
	c.Flags().IntVar(&q.limit, "limit", 200, "the newest so many, at most 10000")
	return a.remote(c)
}

// searchLogs prints the newest entries that were asked for, the oldest first.
func (a *app) searchLogs(ctx context.Context, c *conn, q logSearch) error {
	raw, err := c.collect(ctx, q.limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		return c.api.ListLogs(ctx, &client.ListLogsParams{Agent: params(q.agents), Q: param(q.text), Level: param(client.ListLogsParamsLevel(q.level)), Stream: param(client.ListLogsParamsStream(q.stream)),
			Filter: param(q.filter), Since: moments(q.since.at), Until: moments(q.until.at), Limit: limit, Cursor: cursor})
	})
	if err != nil {
		return err
	}
	if len(raw) == 0 && a.output == "" {
		fmt.Fprintln(a.io.Err, "No entries.")
	}
	for _, r := range slices.Backward(raw) {
		if err := a.printEntry(r); err != nil {
			return err
		}
	}
	return nil
}

// printEntry shows one entry. What an agent writes must not reach the terminal as
// it is.
func (a *app) printEntry(raw json.RawMessage) error {
	if a.output == "json" || a.output == "yaml" || a.output == "name" {
		fmt.Fprintln(a.io.Out, escapeJSON(string(raw)))
		return nil
	}
	var e logs.Entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	for line := range strings.SplitSeq(logs.Plain(e), "\n") {
		fmt.Fprintln(a.io.Out, cleanLine(line))
	}
	return nil
}

// tailLogs reads one connection of the live tail until it ends.
func (a *app) tailLogs(ctx context.Context, c *conn, q *logSearch) (got bool, err error) {
	r, err := c.api.LogsTail(ctx, &client.LogsTailParams{Agent: params(q.agents), Q: param(q.text), Level: param(client.LogsTailParamsLevel(q.level)), Stream: param(client.LogsTailParamsStream(q.stream)),
		Filter: param(q.filter), Cursor: param(q.cursor)})
	if err != nil {
		return false, c.unreachable(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		_, err := c.read(r, nil)
		return false, err
	}
	err = readStream(r.Body, func() {}, func(id, data string) {
		got = true
		if id == "" {
			a.warn("some entries came too fast and were left out")
			return
		}
		q.cursor = id
		_ = a.printEntry(json.RawMessage(data)) // one that can't be read can't be shown
	})
	return got, err
}
