package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest/postgres"
)

const (
	crashDir   = "ENGINE_TEST_CRASH_DIR"
	crashURL   = "ENGINE_TEST_CRASH_URL"
	crashOps   = 150
	crashSteps = 4
)

// failing gives the step at which an operation fails, by its number; most
// don't fail.
func failing(n int) int {
	if n%4 == 3 {
		return n / 4 % crashSteps
	}
	return -1
}

func stepName(k int) string { return string(rune('a' + k)) }

// expected is what operation n does to the world, in order.
func expected(n int) []string {
	var list []string
	for k := range crashSteps {
		list = append(list, "do "+stepName(k))
		if k == failing(n) {
			for ; k >= 0; k-- {
				list = append(list, "undo "+stepName(k))
			}
			break
		}
	}
	return list
}

// crashService is the portal of the crash test. Each effect of a step is a line
// in a file that is there even if the process is killed right after.
func crashService(s *store.Store, effects *os.File) *operation.Service {
	svc := &operation.Service{
		Store: s.Operations(), Tx: s, Events: s.Events(), Audit: &audit.Recorder{Store: s.Audit(), Now: time.Now},
		Now: time.Now, NewID: func() string { return "unused" }, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	note := func(run operation.Run, what string) error {
		_, err := fmt.Fprintf(effects, "%s %s\n", run.Operation().ID, what)
		return err
	}
	svc.Register(operation.Definition{
		Kind: "crash",
		Steps: func(op *operation.Operation) []operation.StepDef {
			var n int
			_, _ = fmt.Sscanf(op.ID, "op-%d", &n)
			var defs []operation.StepDef
			for k := range crashSteps {
				defs = append(defs, operation.StepDef{
					Name: stepName(k),
					Do: func(_ context.Context, run operation.Run) error {
						if err := note(run, "do "+stepName(k)); err != nil {
							return err
						}
						if k == failing(n) {
							return fault.New(fault.Conflict, "test.broken", "It broke")
						}
						return nil
					},
					Undo: func(_ context.Context, run operation.Run) error { return note(run, "undo "+stepName(k)) },
				})
			}
			return defs
		},
		Finish: func(ctx context.Context, op *operation.Operation) error {
			return svc.Audit.Record(ctx, "crash.finish", op.ID, audit.Done, string(op.State), nil, nil)
		},
	})
	return svc
}

// crashChild creates the operations that are not there yet and runs all to
// their end, unless it is killed before.
func crashChild(dir, url string) int {
	err := func() error {
		ctx := context.Background()
		effects, err := os.OpenFile(filepath.Join(dir, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		s, err := store.Open(ctx, store.Config{Path: filepath.Join(dir, "portal.db"), URL: url})
		if err != nil {
			return err
		}
		svc := crashService(s, effects)
		e := engine.New(engine.Config{Path: filepath.Join(dir, "engine.db"), URL: url, Executor: svc, Log: svc.Log})
		svc.Engine = e
		if err := e.Start(ctx); err != nil {
			return err
		}
		if err := svc.Recover(ctx); err != nil {
			return err
		}
		for n := range crashOps {
			op := &operation.Operation{ID: fmt.Sprintf("op-%d", n), Kind: "crash"}
			if err := svc.Create(ctx, op); err != nil && !fault.Is(err, fault.Conflict) {
				return err
			}
		}
		for n := range crashOps {
			if _, err := svc.Wait(ctx, fmt.Sprintf("op-%d", n)); err != nil {
				return err
			}
		}
		return errors.Join(e.Stop(ctx), s.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A portal that is killed again and again at random moments loses no
// operation, repeats no step but the one in flight, and ends each once.
func TestCrashSQLite(t *testing.T)     { testCrash(t, "", 30) }
func TestCrashPostgreSQL(t *testing.T) { testCrash(t, postgres.New(t), 8) }

func testCrash(t *testing.T, url string, rounds int) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for round := 0; ; round++ {
		var stderr strings.Builder
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), crashDir+"="+dir, crashURL+"="+url)
		child.Stderr = &stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- child.Wait() }()
		after := time.Duration(20+random.IntN(100)) * time.Millisecond
		if round >= rounds {
			after = time.Minute
		}
		select {
		case <-time.After(after):
			_ = child.Process.Kill()
			<-ended
			killed++
			if round >= rounds {
				t.Fatalf("the operations did not end; %s", stderr.String())
			}
		case err := <-ended:
			if err != nil {
				t.Fatalf("round %d: %v; %s", round, err, stderr.String())
			}
			t.Logf("killed %d times before everything had ended", killed)
			checkCrash(t, dir, url)
			return
		}
		if url == "" && round%10 == 9 { // and now and then the engine's memory is lost as well
			for _, f := range []string{"engine.db", "engine.db-wal", "engine.db-shm"} {
				_ = os.Remove(filepath.Join(dir, f))
			}
		}
	}
}

func checkCrash(t *testing.T, dir, url string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "portal.db"), URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	effects := map[string][]string{}
	f, err := os.Open(filepath.Join(dir, "effects"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	repeated := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		id, what, _ := strings.Cut(lines.Text(), " ")
		if list := effects[id]; len(list) > 0 && list[len(list)-1] == what {
			repeated++ // the step in flight
			continue
		}
		effects[id] = append(effects[id], what)
	}
	t.Logf("%d steps were in flight at a kill and ran again", repeated)
	for n := range crashOps {
		id := fmt.Sprintf("op-%d", n)
		op, err := s.Operations().Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want := operation.Succeeded
		if failing(n) >= 0 {
			want = operation.Failed
		}
		if op.State != want {
			t.Errorf("%s is %s, want %s", id, op.State, want)
		}
		if got := effects[id]; !slices.Equal(got, expected(n)) {
			t.Errorf("%s did %q, want %q", id, got, expected(n))
		}
		ends, _, err := s.Audit().Find(t.Context(), audit.Query{Action: "crash.finish", Target: id})
		if err != nil || len(ends) != 1 || ends[0].Reason != string(want) {
			t.Errorf("%s ended %d times: %+v, %v", id, len(ends), ends, err)
		}
	}
	if _, err := audit.Verify(t.Context(), s.Audit()); err != nil {
		t.Errorf("the record is broken: %v", err)
	}
}
