package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
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
	wait, lost := backoffFirst, false
	for {
		got, err := a.streamLogs(ctx, c, id, &q, times)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if kind := fault.KindOf(err); err != nil && kind != fault.Unavailable && kind != fault.RateLimited {
			return err
		}
		if err != nil && !got && !lost && q.cursor == "" {
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
