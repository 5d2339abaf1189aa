package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/logdb"
	"github.com/waooaw/platform-portal/internal/logs"
)

const (
	talkers   = 100            // agents whose lines are prepared
	talkedFor = 24 * time.Hour // that they spread over
	// writers are agents that write really, all of them writerLines a second.
	writers, writerLines = 10, 2000
)

// measureLogs measures reading from a large store, and taking in what many
// agents write.
func measureLogs(ctx context.Context, b *bench) error {
	if b.lines > 0 {
		if err := b.tail(ctx); err != nil {
			return err
		}
	}
	return b.takeIn(ctx)
}

// tail asks for the newest lines of one agent among the lines of many.
func (b *bench) tail(ctx context.Context) error {
	p, err := b.portal("logs-tail")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	docs := make([]map[string]any, talkers)
	for i := range docs {
		docs[i] = sleeper(i)
	}
	if err := p.Call(ctx, http.MethodPost, "/agents/import", docs, nil); err != nil {
		return err
	}
	list, err := p.Agents(ctx, "")
	if err != nil {
		return err
	}
	if err := p.Stop(); err != nil {
		return err
	}
	ids := make([]string, len(list))
	for i, a := range list {
		ids[i] = a.ID
	}
	took, err := timed(func() error { return b.prepare(ctx, filepath.Join(p.Data, "logs"), ids) })
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("store %d lines, in this program", b.lines), "", "%s", round(took))
	if err := p.Start(ctx); err != nil {
		return err
	}
	for _, one := range []struct{ what, id string }{{"one agent", ids[talkers/2]}, {"one agent that was silent for 12 hours", ids[0]}} {
		times, err := b.newest(ctx, p, one.id)
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("newest 200 lines of %s among %d", one.what, b.lines), "< 50 ms", "%s", times)
	}
	return p.Stop()
}

// newest asks for the newest lines of an agent as its page does.
func (b *bench) newest(ctx context.Context, p *drive.Portal, id string) (spread, error) {
	var times spread
	path := "/logs?limit=200&since=" + url.QueryEscape(time.Now().Add(-2*talkedFor).UTC().Format(time.RFC3339)) + "&agent=" + url.QueryEscape(id)
	ask := func() (int, error) {
		var page struct{ Items []logs.Entry }
		err := p.Call(ctx, http.MethodGet, path, nil, &page)
		return len(page.Items), err
	}
	err := drive.Poll(ctx, 20*time.Millisecond, func() (bool, error) { // the store is opened beside the start
		n, err := ask()
		return n == 200, ignoreUnavailable(err)
	})
	for i := 0; i < 50 && err == nil; i++ {
		var took time.Duration
		took, err = timed(func() error {
			n, err := ask()
			if err == nil && n != 200 {
				err = fmt.Errorf("%d lines of %s", n, id)
			}
			return err
		})
		times = append(times, took)
	}
	return times, err
}

func ignoreUnavailable(err error) error {
	if drive.StatusOf(err) == http.StatusServiceUnavailable {
		return nil
	}
	return err
}

// prepare puts lines of all agents, the first of which has fallen silent, into
// the store of a portal that does not run.
func (b *bench) prepare(ctx context.Context, dir string, ids []string) error {
	db, err := logdb.New(logdb.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := db.Start(ctx); err != nil {
		return err
	}
	err = drive.Poll(ctx, 10*time.Millisecond, func() (bool, error) { return db.Status(ctx).Problem == "" && db.Add(ctx, nil) == nil, nil })
	begin := time.Now().Add(-talkedFor)
	step := talkedFor / time.Duration(b.lines)
	const atOnce = 5000
	batch := make([]logs.Entry, 0, atOnce)
	for i := 0; i < b.lines && err == nil; i++ {
		who := i % len(ids)
		if who == 0 && i > b.lines/2 {
			who = 1
		}
		batch = append(batch, logs.Entry{
			At: begin.Add(time.Duration(i) * step), AgentID: ids[who], Instance: ids[who] + "-r1-0", Stream: "stdout", Level: logs.Info,
			Text: "order " + strconv.Itoa(i) + " was taken, checked and handed on to the next in " + strconv.Itoa(i%97) + " ms",
		})
		if len(batch) == atOnce || i == b.lines-1 {
			err = db.Add(ctx, batch)
			batch = batch[:0]
		}
	}
	if err == nil {
		err = db.Sync(ctx)
	}
	if stopped := db.Stop(ctx); err == nil {
		err = stopped
	}
	return err
}

// takeIn lets real agents write more than one would read, and looks whether all
// of it can be found.
func (b *bench) takeIn(ctx context.Context) error {
	p, err := b.portal("logs-in")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	docs := make([]map[string]any, writers)
	for i := range docs {
		docs[i] = map[string]any{"name": fmt.Sprintf("writer-%d", i), "command": self, "args": []string{writeLines, strconv.Itoa(writerLines), b.writtenFor.String()}}
	}
	if err := p.Call(ctx, http.MethodPost, "/agents/import", docs, nil); err != nil {
		return err
	}
	if bulk, err := p.RunBulk(ctx, deployAll); err != nil || bulk.State != "SUCCEEDED" {
		return fmt.Errorf("the writers are %s: %w", bulk.State, err)
	}
	start := time.Now()
	cpu, err := cpuTime(p.PID())
	if err != nil {
		return err
	}
	var held []float64
	wanted := writers * writerLines * int(b.writtenFor/time.Second)
	for found := 0; found < wanted; {
		if err := pause(ctx, 5*time.Second); err != nil {
			return err
		}
		mb, err := ownMemory(p.PID())
		if err != nil {
			return err
		}
		held = append(held, mb)
		before := found
		if found = b.written(ctx, p); found == before && time.Since(start) > b.writtenFor+20*time.Second {
			break // no more comes
		}
	}
	return b.tookIn(ctx, p, wanted, time.Since(start), cpu, held)
}

// tookIn says how it went.
func (b *bench) tookIn(ctx context.Context, p *drive.Portal, wanted int, took, cpu time.Duration, held []float64) error {
	after, err := cpuTime(p.PID())
	if err != nil {
		return err
	}
	found := b.written(ctx, p)
	what := fmt.Sprintf("%d agents write %d lines/s for %s", writers, writers*writerLines, b.writtenFor)
	b.row(what+": lost", "0", "%d of %d (all were found %s after the start)", wanted-found, wanted, round(took))
	var parts []string
	for i := range min(4, len(held)) {
		part := slices.Sorted(slices.Values(held[i*len(held)/4 : max(i+1, (i+1)*len(held)/4)]))
		parts = append(parts, fmt.Sprintf("%.0f", part[len(part)/2]))
	}
	b.row(what+": memory of the portal", "not growing", "medians of the quarters of the time %s MB, at most %.0f MB; mapped files left out",
		strings.Join(parts, ", "), slices.Max(held))
	b.row(what+": processor of the portal", "", "%.0f %% of a core", float64(after-cpu)/float64(took)*100)
	return b.retire(ctx, p)
}

// written is how many lines of the writers the portal finds.
func (b *bench) written(ctx context.Context, p *drive.Portal) int {
	var out struct{ Total int }
	if p.Call(ctx, http.MethodGet, "/logs/histogram?stream=stdout&q=written", nil, &out) != nil {
		return 0
	}
	return out.Total
}

// writeLines is the argument that makes this program an agent that writes.
const writeLines = "write-lines"

// write writes so many lines a second for a time, and then waits for its end.
func write(perSecond, duration string) error {
	n, err := strconv.Atoi(perSecond)
	if err != nil {
		return err
	}
	whole, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	all := n * int(whole/time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start, done := time.Now(), 0
	var out []byte
	for done < all {
		due := min(all, int(time.Since(start).Seconds()*float64(n)))
		for out = out[:0]; done < due; done++ {
			out = fmt.Appendf(out, `{"level":"info","msg":"line %d was written","order":%d,"took_ms":%d}`+"\n", done, done*7, done%97)
		}
		if _, err := os.Stdout.Write(out); err != nil {
			return err
		}
		<-tick.C
	}
	select {}
}
