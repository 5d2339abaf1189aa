package crash

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// page is a page of what agents wrote.
type page struct {
	Items []struct {
		AgentID string `json:"agent_id"`
		Text    string `json:"text"`
		Lines   int    `json:"lines"`
	} `json:"items"`
	Next string `json:"next_cursor"`
}

// chatty numbers what it writes, with a stack trace now and then.
const chatty = `i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo "INFO number $i"; if [ $((i % 500)) -eq 0 ]; then
printf 'java.lang.Error: trace %s\n\tat a.B(B.java:1)\n\tat a.C(C.java:2)\n' $i >&2; fi; if [ $((i % 40)) -eq 0 ]; then sleep 0.05; fi; done; exec sleep 3600`

func TestWhatAgentsWriteIsNeitherLostNorDoubledByKills(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin, err := drive.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := drive.New(bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := drive.NewSiege(p, 0, 0).Clear(ctx); err != nil {
			t.Error(err)
		}
	})
	names := []string{"chatty-0", "chatty-1", "chatty-2"}
	for _, name := range names {
		if err := p.Call(ctx, "POST", "/agents", map[string]any{"name": name, "command": "/bin/sh", "args": []string{"-c", chatty}}, nil); err != nil {
			t.Fatal(err)
		}
		for _, action := range []string{"provision", "deploy", "start"} {
			if op, err := p.Act(ctx, name, action); err != nil {
				t.Fatalf("%s: %v %+v", action, err, op)
			}
		}
	}
	for round := range 4 {
		// Kill when more has been taken in than before.
		before := taken(ctx, t, p)
		if err := drive.Poll(ctx, 20*time.Millisecond, func() (bool, error) { return taken(ctx, t, p) > before+300 || complete(ctx, t, p, names), nil }); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, p.Tail())
		}
		if err := p.Kill9(); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := drive.Poll(ctx, 200*time.Millisecond, func() (bool, error) { return complete(ctx, t, p, names), nil }); err != nil {
		t.Errorf("not everything came: %v", err)
	}
	for _, name := range names {
		seen := map[string]int{}
		for _, text := range wrote(ctx, t, p, name) {
			seen[text]++
		}
		for i := 1; i <= 4000; i++ {
			if n := seen[fmt.Sprint("INFO number ", i)]; n != 1 {
				t.Errorf("%s: line %d is there %d times", name, i, n)
			}
		}
		for i := 500; i <= 4000; i += 500 {
			if n := seen[fmt.Sprintf("java.lang.Error: trace %d\n\tat a.B(B.java:1)\n\tat a.C(C.java:2)", i)]; n != 1 {
				t.Errorf("%s: trace %d is there %d times; of it there are %q", name, i, n, about(seen, fmt.Sprint("trace ", i), "a.B(B", "a.C(C"))
			}
		}
	}
	out, err := p.Run(ctx, "logs", "trace", "4000", "--agent", "chatty-1", "--level", "error")
	if err != nil || strings.Count(out, "java.lang.Error: trace 4000") != 1 || !strings.Contains(out, "at a.C(C.java:2)") {
		t.Errorf("portal logs: %v\n%s", err, out)
	}
}

// about gives the texts in which any of the words stands, other than whole traces.
func about(seen map[string]int, words ...string) (texts []string) {
	for text := range seen {
		if strings.Count(text, "\n") != 2 && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) }) {
			texts = append(texts, text)
		}
	}
	return texts
}

// taken is how many entries were taken in since the portal was started.
func taken(ctx context.Context, t *testing.T, p *drive.Portal) (n int64) {
	t.Helper()
	var st struct {
		Taken int64 `json:"taken_in"`
	}
	if err := p.Call(ctx, "GET", "/logs/status", nil, &st); err != nil {
		t.Fatal(err)
	}
	return st.Taken
}

// complete tells whether what every agent wrote last on each stream is found.
func complete(ctx context.Context, t *testing.T, p *drive.Portal, names []string) bool {
	t.Helper()
	for _, name := range names {
		for _, words := range []string{"number 4000", "trace 4000"} {
			var last page
			if err := p.Call(ctx, "GET", "/logs?limit=1&agent="+name+"&q="+url.QueryEscape(`"`+words+`"`), nil, &last); err != nil && drive.StatusOf(err) != 503 {
				t.Fatal(err)
			}
			if len(last.Items) == 0 {
				return false
			}
		}
	}
	return true
}

// wrote gives the texts of all entries of an agent.
func wrote(ctx context.Context, t *testing.T, p *drive.Portal, name string) (texts []string) {
	t.Helper()
	for cursor := ""; ; {
		var part page
		if err := p.Call(ctx, "GET", "/logs?limit=1000&agent="+name+"&cursor="+cursor, nil, &part); err != nil {
			t.Fatal(err)
		}
		for _, e := range part.Items {
			texts = append(texts, e.Text)
		}
		if cursor = part.Next; cursor == "" {
			return texts
		}
	}
}
