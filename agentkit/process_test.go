package agentkit_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
	"github.com/waooaw/platform-portal/internal/bus"
)

// TestMain is an agent if it is asked to be one, so that the tests can have
// processes to send signals to.
func TestMain(m *testing.M) {
	if os.Getenv("KIT_TEST_AGENT") == "" {
		os.Exit(m.Run())
	}
	err := agentkit.Run(context.Background(), agentkit.Agent{Tasks: map[string]agentkit.Handler{
		"work": func(ctx context.Context, _ agentkit.Task) (any, error) {
			select {
			case <-time.After(300 * time.Millisecond):
				return "finished", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		"forever": func(context.Context, agentkit.Task) (any, error) { select {} },
	}})
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func process(t *testing.T, env map[string]string) (*exec.Cmd, *running) {
	t.Helper()
	r := &running{t: t, log: &logBuffer{}, env: map[string]string{"PORT": freePort(t), "AGENT_ID": "a", "KIT_TEST_AGENT": "1"}}
	for k, v := range env {
		r.env[k] = v
	}
	r.url = "http://127.0.0.1:" + r.env["PORT"]
	cmd := exec.Command(os.Args[0])
	for k, v := range r.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdout, cmd.Stderr = r.log, r.log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	poll(t, "readiness", func() bool { return r.status("/ready") == 200 })
	t.Logf("ready %v after the start of the process", time.Since(begin))
	return cmd, r
}

func TestSIGTERMFinishesAndLeaves(t *testing.T) {
	d := openDepot(t, bus.Config{})
	cmd, r := process(t, d.env())
	d.publish(`{"type":"work"}`)
	poll(t, "the task", func() bool {
		_, body := r.call("GET", "/health", "")
		return strings.Contains(body, `"tasks_running":1`)
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, r.log)
	}
	if !d.empty() || !strings.Contains(r.log.String(), "task done") {
		t.Fatalf("the task was cut off: %+v %s", d.stats(), r.log)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	cmd, r := process(t, nil)
	go r.call("POST", "/v1/tasks", `{"type":"forever"}`)
	poll(t, "the task", func() bool {
		_, body := r.call("GET", "/health", "")
		return strings.Contains(body, `"tasks_running":1`)
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	poll(t, "the agent to leave", func() bool { return r.status("/ready") == 503 })
	poll(t, "the second signal to work", func() bool {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			return true
		}
		return r.status("/health") == 0
	})
	if err := cmd.Wait(); err == nil {
		t.Fatal("it says that it has left in order")
	}
}

func TestProcessWithoutPortSaysSo(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"KIT_TEST_AGENT=1"}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "PORT is not set") {
		t.Fatalf("%v: %s", err, out)
	}
}
