package memory_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
	"github.com/waooaw/platform-portal/agents/memory"
)

const writerFile = "MEMORY_TEST_FILE"

// TestMain is a process that stores without end if it is asked to be one.
func TestMain(m *testing.M) {
	if path := os.Getenv(writerFile); path != "" {
		fmt.Fprintln(os.Stderr, storeForever(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func storeForever(path string) error {
	s, err := memory.Open(context.Background(), path, defaults, nil)
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		if _, err := s.Store(context.Background(), memory.StoreRequest{Text: "number n" + strconv.Itoa(i)}); err != nil {
			return err
		}
		if i%20 == 0 {
			if _, err := s.Compact(context.Background()); err != nil {
				return err
			}
		}
		if _, err := fmt.Println(i); err != nil {
			return err
		}
	}
}

func TestStoredSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	stored := 0
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerFile+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			stored = max(stored, n)
			if n == 57*(round+1) {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		s := open(t, path, defaults(), &clock{t: time.Now()})
		for i := 1; i <= stored; i++ {
			want(t, recall(t, s, memory.RecallRequest{Query: "n" + strconv.Itoa(i)}), "number n"+strconv.Itoa(i))
		}
		if st, err := s.Stats(t.Context()); err != nil || st.Items < stored || st.Items > stored+1 {
			t.Fatalf("%d were stored: %+v, %v", stored, st, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// begin runs the agent as the portal would.
func begin(t *testing.T, dir string) (url string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	agent := memory.Agent(dir)
	agent.Output = io.Discard
	agent.Getenv = func(name string) string {
		return map[string]string{"PORT": port, "AGENT_ID": "m", "AGENT_DATA_DIR": dir}[name]
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agentkit.Run(ctx, agent) }()
	url = "http://127.0.0.1:" + port
	for deadline := time.Now().Add(time.Minute); ; {
		if code, _ := call(t, "GET", url+"/ready", ""); code == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not get ready")
		}
		<-time.After(5 * time.Millisecond)
	}
	ended := false
	end = func() {
		if cancel(); !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(end)
	return url, end
}

func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(bytes.TrimSpace(data))
}

func TestOverHTTP(t *testing.T) {
	dir := t.TempDir()
	url, end := begin(t, dir)
	expect := func(method, path, body string, code int, texts ...string) string {
		t.Helper()
		got, answer := call(t, method, url+path, body)
		if got != code {
			t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, got, code, answer)
		}
		for _, text := range texts {
			if !strings.Contains(answer, text) {
				t.Fatalf("%s %s %s: no %s in %s", method, path, body, text, answer)
			}
		}
		return answer
	}
	expect("POST", "/v1/memory", `{"text":"the red fox","tags":["animal"]}`, 200, `"id":1`, `"kind":"long"`)
	expect("POST", "/v1/memory", `{"text":"the red rose","kind":"short","namespace":"n"}`, 200, `"expires_at"`)
	expect("GET", "/v1/memory?q=fox&k=3&kind=long&tag=animal", "", 200, "the red fox", `"score"`)
	expect("GET", "/v1/memory?q=fox&namespace=n", "", 200, `{"items":[]}`)
	expect("GET", "/v1/memory/1", "", 200, "the red fox")
	expect("GET", "/v1/memory/x", "", 404, "no such memory")
	expect("GET", "/v1/memory/99", "", 404)
	expect("GET", "/v1/memory?k=many", "", 400, "k: ")
	expect("GET", "/v1/memory?k=0", "", 400, "k: ")
	expect("POST", "/v1/memory", `{"text":"x","color":1}`, 400, "color")
	expect("POST", "/v1/memory", `{"text":"x"} x`, 400, "more after")
	expect("POST", "/v1/memory", `{"text":"`+strings.Repeat("x", 500_000)+`"}`, 400, "text: ", "bytes")
	expect("POST", "/v1/memory", `{"text":"`+strings.Repeat("x", memory.MaxText+1)+`"}`, 400, "65536 at most")
	expect("POST", "/v1/memory/forget", `{}`, 400, "exactly one")
	expect("POST", "/v1/memory/forget", `[]`, 400, "JSON")
	expect("GET", "/v1/memory/stats", "", 200, `"items":2`, `"short":1`)
	expect("POST", "/v1/memory/compact", "", 200, `"items":2`)
	expect("PATCH", "/v1/config", `{"max_items":2,"default_k":1}`, 200)
	expect("POST", "/v1/memory", `{"text":"no room"}`, 507, "raise max_items")
	expect("GET", "/v1/memory?q=red", "", 200, "the red fox")
	end()

	url, _ = begin(t, dir) // the memories and the configuration are still there
	expect("GET", "/v1/memory?q=foxes", "", 200, "the red fox")
	expect("POST", "/v1/memory", `{"text":"no room"}`, 507)
	expect("DELETE", "/v1/memory/1", "", 200, `"forgotten":1`)
	expect("DELETE", "/v1/memory/1", "", 404)
	expect("DELETE", "/v1/memory/x", "", 404)
	expect("POST", "/v1/memory/forget", `{"namespace":"n","all":true}`, 200, `"forgotten":1`)
}

func TestAsTasks(t *testing.T) {
	url, _ := begin(t, t.TempDir())
	for _, c := range []struct {
		kind, payload string
		code          int
		text          string
	}{
		{"memory.store", `{"text":"the red fox"}`, 200, `"id":1`},
		{"memory.store", `{"text":""}`, 422, "text: there is nothing in it"},
		{"memory.store", `{"txt":""}`, 422, "unknown field"},
		{"memory.recall", `{"query":"fox\" OR *"}`, 200, "the red fox"},
		{"memory.recall", `{"k":1000}`, 422, "k: from 1 to 100"},
		{"memory.forget", `{"ids":[1]}`, 200, `{"forgotten":1}`},
		{"memory.compact", ``, 200, `"items":0`},
		{"memory.stats", `{}`, 200, `"items":0`},
		{"memory.dream", `{}`, 422, "memory.compact, memory.forget"},
	} {
		body := map[string]any{"type": c.kind}
		if c.payload != "" {
			body["payload"] = json.RawMessage(c.payload)
		}
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if code, answer := call(t, "POST", url+"/v1/tasks", string(data)); code != c.code || !strings.Contains(answer, c.text) {
			t.Fatalf("%s %s: %d %s", c.kind, c.payload, code, answer)
		}
	}
}

func TestFileThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged.db")
	if err := os.WriteFile(damaged, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{damaged, filepath.Join(damaged, "sub", "memory.db"), dir} {
		if s, err := memory.Open(t.Context(), path, defaults, nil); err == nil {
			s.Close()
			t.Fatalf("%s was opened", path)
		} else if !strings.Contains(err.Error(), "open the memory") {
			t.Fatal(err)
		}
	}
	t.Setenv("AGENT_DATA_DIR", "")
	if err := memory.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "AGENT_DATA_DIR") {
		t.Fatal(err)
	}
	t.Setenv("AGENT_DATA_DIR", dir)
	t.Setenv("PORT", "")
	if err := memory.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "PORT") {
		t.Fatal(err)
	}
}
