package agentkit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

func settings() *agentkit.Config {
	return agentkit.NewConfig(
		agentkit.Field{Name: "model", Default: "small", Doc: "Which one", Check: func(v any) error {
			if v == "" {
				return errors.New("it is empty")
			}
			return nil
		}},
		agentkit.Field{Name: "limit", Default: 10, Check: agentkit.Between(1, 100)},
		agentkit.Field{Name: "heat", Default: 0.5, Check: agentkit.Between(0.0, 1.0)},
		agentkit.Field{Name: "loud", Default: false},
		agentkit.Field{Name: "wait", Default: time.Minute},
	)
}

func TestConfigurationWhileRunning(t *testing.T) {
	dir, cfg := t.TempDir(), settings()
	r := start(t, agentkit.Agent{Config: cfg}, map[string]string{"AGENT_DATA_DIR": dir})
	r.want("GET", "/v1/config", "", 200, `"model":"small"`, `"wait":"1m0s"`, `"type":"duration"`, "Which one", `"persistent":true`)
	r.want("PATCH", "/v1/config", `{"model":"large","limit":20,"heat":1,"loud":true,"wait":"5s"}`, 200, `"model":"large"`)
	if cfg.String("model") != "large" || cfg.Int("limit") != 20 || cfg.Float("heat") != 1 || !cfg.Bool("loud") || cfg.Duration("wait") != 5*time.Second {
		t.Fatal("the agent does not see it")
	}
	for body, texts := range map[string][]string{
		`{"model":"tiny","limit":1000,"heat":"hot","loud":1,"wait":"long","more":1}`: {
			"nothing was changed", `"path":"limit"`, "from 1 to 100", `"path":"heat"`, "a number", `"path":"loud"`, "a boolean", `"path":"wait"`, "1m30s", `"path":"more"`, "no such"},
		`{"limit":1.5}`: {"whole number"}, `{"limit":1e300}`: {"whole number"}, `{"model":""}`: {"it is empty"}, `{"wait":5}`: {"time span"},
		`[]`: {"JSON"}, `{"limit":1}x`: {"more after"},
	} {
		r.want("PATCH", "/v1/config", body, 400, texts...)
	}
	if cfg.String("model") != "large" {
		t.Fatal("a part of what was refused is in force")
	}
	r.want("PATCH", "/v1/config", `{"limit":null}`, 200, `"limit":10`)
	r.want("PATCH", "/v1/config", strings.Repeat(" ", 2<<20), 413)
	if err := r.leave(); err != nil {
		t.Fatal(err)
	}

	again := settings()
	start(t, agentkit.Agent{Config: again}, map[string]string{"AGENT_DATA_DIR": dir})
	if again.String("model") != "large" || again.Int("limit") != 10 || again.Duration("wait") != 5*time.Second {
		t.Fatal("the configuration is lost with the restart")
	}
}

func TestConfigurationThatCannotBeKept(t *testing.T) {
	cfg := settings()
	r := start(t, agentkit.Agent{Config: cfg}, nil)
	r.want("PATCH", "/v1/config", `{"limit":3}`, 200, `"persistent":false`)

	dir := filepath.Join(t.TempDir(), "gone")
	r = start(t, agentkit.Agent{Config: cfg}, map[string]string{"AGENT_DATA_DIR": dir})
	r.want("PATCH", "/v1/config", `{"limit":4}`, 500, "keep the configuration")
	if cfg.Int("limit") != 3 {
		t.Fatal("it is in force until the next restart and nobody knows")
	}
}

func TestKeptConfigurationThatIsWrong(t *testing.T) {
	for content, want := range map[string]int{
		`{"limit":5,"model":7,"gone":true}`: 5,
		`{"limit":5000}`:                    10,
		`{"limit":5`:                        10,
		``:                                  10,
	} {
		dir, cfg := t.TempDir(), settings()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, agentkit.Agent{Config: cfg}, map[string]string{"AGENT_DATA_DIR": dir})
		if cfg.Int("limit") != want || cfg.String("model") != "small" {
			t.Fatalf("%s: %d, %s", content, cfg.Int("limit"), cfg.String("model"))
		}
		if !strings.Contains(r.log.String(), "kept configuration") {
			t.Fatalf("%s: nobody is told", content)
		}
	}
}

func TestMistakesInTheProgramPanic(t *testing.T) {
	for name, mistake := range map[string]func(){
		"no name": func() { agentkit.NewConfig(agentkit.Field{Default: 1}) },
		"twice": func() {
			agentkit.NewConfig(agentkit.Field{Name: "a", Default: 1}, agentkit.Field{Name: "a", Default: 1})
		},
		"type":          func() { agentkit.NewConfig(agentkit.Field{Name: "a", Default: []int{}}) },
		"default":       func() { agentkit.NewConfig(agentkit.Field{Name: "a", Default: 1, Check: agentkit.Between(2, 3)}) },
		"unknown":       func() { settings().Int("nothing") },
		"another type":  func() { settings().Int("model") },
		"check of type": func() { agentkit.NewConfig(agentkit.Field{Name: "a", Default: 1, Check: agentkit.Between("a", "b")}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("it goes unnoticed")
				}
			}()
			mistake()
		})
	}
}
