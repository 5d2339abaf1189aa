package agentkit_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/waooaw/platform-portal/agentkit"
)

// An agent with one kind of task and one setting. The portal sets the
// environment; here it is given by Getenv.
func Example() {
	config := agentkit.NewConfig(agentkit.Field{Name: "greeting", Default: "Hello", Doc: "How to greet"})
	port, err := anyPort()
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, left := make(chan struct{}), make(chan error)
	agent := agentkit.Agent{
		Config: config,
		Tasks: map[string]agentkit.Handler{
			"greet": func(ctx context.Context, t agentkit.Task) (any, error) {
				var in struct{ Name string }
				if err := t.Decode(&in); err != nil {
					return nil, err
				}
				agentkit.Tokens("output", 2)
				return config.String("greeting") + ", " + in.Name, nil
			},
		},
		Start:  func(context.Context) error { close(ready); return nil },
		Getenv: func(name string) string { return map[string]string{"PORT": port}[name] },
		Output: io.Discard,
	}
	go func() { left <- agentkit.Run(ctx, agent) }()
	<-ready

	for {
		res, err := http.Post("http://127.0.0.1:"+port+"/v1/tasks", "application/json",
			strings.NewReader(`{"id":"1","type":"greet","payload":{"name":"Ada"}}`))
		if err != nil {
			fmt.Println(err)
			break
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode == http.StatusServiceUnavailable {
			continue // Start has just returned
		}
		fmt.Print(string(body))
		break
	}
	stop()
	fmt.Println(<-left)
	// Output:
	// {"id":"1","status":"done","result":"Hello, Ada"}
	// <nil>
}
