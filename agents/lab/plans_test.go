package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

const childEnv = "LAB_TEST_CHILD"

// TestMain is also the agent, where a plan would harm the tests.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child is the agent as a process of its own.
type child struct {
	*testing.T
	cmd  *exec.Cmd
	url  string
	dir  string
	mu   sync.Mutex
	said strings.Builder
	done chan struct{}
}

// runs starts the agent, with a plan that it finds in its data.
func runs(t *testing.T, p *plan, env ...string) *child {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := &child{T: t, cmd: exec.Command(os.Args[0]), url: "http://127.0.0.1:" + strconv.Itoa(port), dir: t.TempDir(), done: make(chan struct{})}
	if p != nil {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.dir, "plan.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.cmd.Env = append(append(os.Environ(), childEnv+"=1", "AGENT_ID=victim", "PORT="+strconv.Itoa(port), "AGENT_DATA_DIR="+c.dir, "VOICE=plain", "SEED=1"), env...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = w, w
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			c.mu.Lock()
			c.said.WriteString(lines.Text() + "\n")
			c.mu.Unlock()
		}
	}()
	go func() { _ = c.cmd.Wait(); close(c.done) }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
		_ = r.Close()
	})
	return c
}

func (c *child) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String()
}

// until polls until ok.
func (c *child) until(what string, ok func() bool) {
	c.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			c.Fatalf("not seen: %s. It said:\n%s", what, c.output())
		}
	}
}

// ready asks once whether it is ready; 0 where it does not answer.
func (c *child) ready() int {
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(c.url + "/ready")
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestPlansDoInEarnestWhatTheySay(t *testing.T) {
	t.Parallel()
	t.Run("files are opened up to the limit", func(t *testing.T) {
		t.Parallel()
		c := runs(t, &plan{Kind: "files", Every: "1ms"}, "OPEN_FILES=64")
		c.until("too many open files", func() bool { return strings.Contains(strings.ToLower(c.output()), "too many open files") })
		found, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
		if err != nil || len(found) < 50 {
			t.Errorf("%d files are open, %v", len(found), err)
		}
	})
	t.Run("more work than it can do keeps it from being ready", func(t *testing.T) {
		t.Parallel()
		c := runs(t, &plan{Kind: "burn", Cores: 2, Every: "1s"})
		c.until("ready", func() bool { return c.ready() == 200 })
		c.until("not ready", func() bool { return c.ready() == 503 })
	})
	t.Run("a stopped process neither answers nor ends", func(t *testing.T) {
		t.Parallel()
		c := runs(t, &plan{Kind: "hang", Every: "1s"})
		c.until("ready", func() bool { return c.ready() == 200 })
		c.until("stopped", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
			return err == nil && strings.Contains(string(stat), ") T ")
		})
	})
	t.Run("a cache grows up to its bound and then says so", func(t *testing.T) {
		t.Parallel()
		c := runs(t, &plan{Kind: "fill", MiB: 3, Every: "1ms"})
		c.until("no space", func() bool { return strings.Contains(strings.ToLower(c.output()), "no space left") })
		if found, err := filepath.Glob(filepath.Join(c.dir, "cache", "part-*")); err != nil || len(found) != 3 {
			t.Errorf("%v, %v", found, err)
		}
	})
	t.Run("memory is taken", func(t *testing.T) {
		t.Parallel()
		c := runs(t, &plan{Kind: "leak", MiB: 96, Step: 16, Every: "1ms"})
		c.until("96 MiB", func() bool {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
			if err != nil {
				return false
			}
			_, rest, _ := strings.Cut(string(status), "VmRSS:")
			kb, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
			return kb > 96<<10
		})
	})
	t.Run("a program with a mistake ends soon after each start", func(t *testing.T) {
		t.Parallel()
		for _, voice := range []string{"go", "plain", "python"} {
			c := runs(t, nil, "FEATURES=fastpath", "WARM_UP_MS=50", "VOICE="+voice)
			<-c.done
			if c.cmd.ProcessState.Success() || c.output() == "" {
				t.Errorf("%s: %s, said %q", voice, c.cmd.ProcessState, c.output())
			}
		}
	})
}

// Plans that would take the machine down are refused, and lasting ones go on after
// a restart.
func TestPlansAreBoundedAndLast(t *testing.T) {
	s, _, _ := told(t, nil)
	begin := func(p plan) error {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.misbehave(t.Context(), agentkit.Task{ID: "1", Payload: text})
		return err
	}
	if begin(plan{Kind: "leak", MiB: maxMiB + 1}) == nil || begin(plan{Kind: "burn", Cores: 3}) == nil {
		t.Error("it takes whatever it is told to")
	}
	if err := begin(plan{Kind: "flaky", Chance: 1, Every: "10ms", Lasting: true}); err != nil {
		t.Fatal(err)
	}
	next := &subject{getenv: s.getenv, voice: s.voice, exit: s.exit, dir: s.dir}
	if err := next.resume(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); next.plans.ready() == nil; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the plan did not go on")
		}
	}
	if err := os.WriteFile(s.planFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if next.resume() == nil {
		t.Error("a plan that can't be read was taken")
	}
}
