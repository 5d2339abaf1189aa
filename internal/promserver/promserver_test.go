package promserver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/metrics/metricstest"
	"github.com/waooaw/platform-portal/internal/promserver"
)

// prometheus starts a real server, and gives its address.
func prometheus(t *testing.T, flags ...string) string {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("these tests need the program prometheus; on Debian: apt-get install prometheus")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(program, append([]string{
		"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address,
	}, flags...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	deadline := time.After(time.Minute)
	for {
		resp, err := http.Get("http://" + address + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + address
			}
		}
		select {
		case <-ended:
			t.Fatalf("prometheus ended:\n%s", out.String())
		case <-deadline:
			t.Fatal("prometheus does not become ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func client(t *testing.T, url string, log *slog.Logger) *promserver.Client {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c, err := promserver.New(promserver.Config{URL: url, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// sent waits until everything has been handed over.
func sent(t *testing.T, s metricstest.Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.(*promserver.Client).Waiting() > 0; <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("samples are not sent")
		}
	}
}

// A real Prometheus is a store like the embedded one.
func TestARealPrometheusIsAStore(t *testing.T) {
	metricstest.Run(t, func(t *testing.T) metricstest.Store {
		return client(t, prometheus(t, "--web.enable-remote-write-receiver"), nil)
	}, sent)
}

func TestOneThatOnlyReadsIsSaidToBe(t *testing.T) {
	var mu sync.Mutex
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(lock{&mu, &text}, nil))
	c := client(t, prometheus(t), log)
	sample := []metrics.Sample{{Labels: map[string]string{metrics.LabelName: "n"}, At: time.Now(), Value: 1}}
	if err := c.Append(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	sent(t, c)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(c.Note(t.Context()), "is only read"); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the note is %q", c.Note(t.Context()))
		}
	}
	for range 3 {
		if err := c.Append(t.Context(), sample); err != nil || c.Waiting() != 0 {
			t.Errorf("%d wait, %v", c.Waiting(), err)
		}
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(text.String(), "does not take samples"); n != 1 {
		t.Errorf("said %d times:\n%s", n, text.String())
	}
}

type lock struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l lock) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}

// Samples wait while a server is away, in their order.
func TestSamplesWaitForAServerThatIsAway(t *testing.T) {
	var mu sync.Mutex
	away, batches := true, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			away = false
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		batches++
	}))
	defer server.Close()
	c := client(t, server.URL, nil)
	if err := c.Append(t.Context(), []metrics.Sample{{Labels: map[string]string{metrics.LabelName: "n"}, At: time.Now(), Value: 1}}); err != nil {
		t.Fatal(err)
	}
	sent(t, c)
	mu.Lock()
	defer mu.Unlock()
	if away || batches != 1 || c.Note(t.Context()) != "" {
		t.Errorf("%d batches came, the note is %q", batches, c.Note(t.Context()))
	}
}

func TestStrangeServersAreRefused(t *testing.T) {
	for what, answer := range map[string]func(w http.ResponseWriter){
		"a page":  func(w http.ResponseWriter) { fmt.Fprint(w, "<!doctype html>") },
		"nothing": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"another type": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"cloud","result":[]}}`)
		},
		"no numbers": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"x"]}]}}`)
		},
		"an endless text": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[1]}}`)
		},
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(http.StatusFound)
		},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
		c := client(t, server.URL, nil)
		if _, err := c.Instant(t.Context(), "up", time.Now()); !fault.Is(err, fault.Unavailable) || fault.As(err).Why == "" {
			t.Errorf("%s: %v", what, err)
		}
		server.Close()
	}
	c := client(t, "http://user:secret@127.0.0.1:1/x/api/v1/", nil)
	_, err := c.Instant(t.Context(), "up", time.Now())
	if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody there: %v", err)
	}
	for _, url := range []string{"", "prometheus:9090", "ftp://x", "http://"} {
		if _, err := promserver.New(promserver.Config{URL: url}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestService(t *testing.T) {
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service {
		c, err := promserver.New(promserver.Config{URL: "http://127.0.0.1:1", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}

// FuzzAnswer: whatever a server answers, it can be shown or is refused as a fault.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1700000000.1,"1.5"]}]}`,
		`{"resultType":"matrix","result":[{"metric":{},"values":[[1,"NaN"],[2,"+Inf"]]}]}`,
		`{"resultType":"scalar","result":[1e300,"1"]}`, `{"resultType":"string","result":[1,"x"]}`, `{"resultType":"vector","result":null}`, `[]`, `{"resultType":"vector","result":[null]}`,
	} {
		f.Add(s)
	}
	limits := metrics.Limits{}.Complete()
	f.Fuzz(func(t *testing.T, text string) {
		r, err := promserver.ResultOf([]byte(text), limits)
		if err != nil {
			if fault.As(err) == nil {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, s := range r.Series {
			for _, p := range s.Points {
				if _, err := p.At.MarshalJSON(); err != nil {
					t.Errorf("%q: %v", text, err)
				}
			}
		}
	})
}
