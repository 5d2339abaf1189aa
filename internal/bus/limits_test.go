package bus_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestDiskLimitRefusesCommands(t *testing.T) {
	b := start(t, bus.Config{MaxBytes: 2 << 20})
	must(t, b.Provision(t.Context(), "a"))
	payload := bytes.Repeat([]byte("x"), 10_000)
	for i := range 100 {
		err := b.Publish(t.Context(), "a", fmt.Sprint(i), payload)
		if err == nil {
			continue
		}
		wantKind(t, err, fault.RateLimited)
		if !strings.Contains(err.Error(), "disk space") {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("a megabyte went into a thirty-second part of two")
}

// The agent contract names these figures.
func TestContractFigures(t *testing.T) {
	b := start(t, bus.Config{})
	ctx, js := t.Context(), bus.JetStream(b)
	must(t, b.Provision(ctx, "a"))
	c, err := js.Consumer(ctx, bus.StreamOf(b, "a"), "a")
	must(t, err)
	if cfg := c.CachedInfo().Config; cfg.AckWait != 30*time.Second || cfg.MaxDeliver != 5 {
		t.Errorf("%+v", cfg)
	}
	for name, want := range map[string]struct {
		age       time.Duration
		perAgent  int64
		duplicate time.Duration
	}{
		bus.StreamOf(b, "a"): {0, 10_000, 2 * time.Minute},
		"EVENTS":             {24 * time.Hour, -1, 2 * time.Minute},
		"DLQ":                {30 * 24 * time.Hour, 10_000, time.Hour},
	} {
		s, err := js.Stream(ctx, name)
		must(t, err)
		cfg := s.CachedInfo().Config
		if cfg.MaxAge != want.age || cfg.MaxMsgsPerSubject != want.perAgent || cfg.Duplicates != want.duplicate {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
	must(t, b.Publish(ctx, "a", "fits", make([]byte, 1<<20)))
	wantKind(t, b.Publish(ctx, "a", "over", make([]byte, 1<<20+1)), fault.TooLarge)
	for _, id := range []string{strings.Repeat("i", 257), "a\r\nb"} {
		wantKind(t, b.Publish(ctx, "a", id, nil), fault.Invalid)
	}
}

// The server's log is the portal's log, without the noise of a normal day.
func TestServerLogsThroughThePortal(t *testing.T) {
	var quiet, all bytes.Buffer
	for out, level := range map[*bytes.Buffer]slog.Level{&quiet: slog.LevelInfo, &all: slog.LevelDebug} {
		b := start(t, bus.Config{Log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))})
		must(t, b.Provision(t.Context(), "a"))
		nc, _ := connect(t, b, "a")
		nc.Close()
		if _, err := nats.Connect(b.URL(), nats.UserInfo("a", "sesame")); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatal(err)
		}
		must(t, b.Stop(t.Context()))
	}
	if text := quiet.String(); strings.Count(text, "\n") > 1 || strings.Contains(text, "sesame") {
		t.Fatal("a start, an agent that enters and one that is refused make noise:\n", text)
	}
	if !strings.Contains(all.String(), "nats: ") || strings.Contains(all.String(), "sesame") {
		t.Fatal("what the server says is lost, or it says a secret:\n", all.String())
	}
}

func TestChangedSettingsComeIntoForce(t *testing.T) {
	dir := t.TempDir()
	for _, limit := range []int{3, 3, 5} {
		b := start(t, bus.Config{Dir: dir, QueueLimit: limit})
		must(t, b.Remove(t.Context(), "a"))
		must(t, b.Provision(t.Context(), "a"))
		for i := range limit {
			must(t, b.Publish(t.Context(), "a", fmt.Sprint(i), nil))
		}
		wantKind(t, b.Publish(t.Context(), "a", "over", nil), fault.RateLimited)
		must(t, b.Stop(t.Context()))
	}
}
