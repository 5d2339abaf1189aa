// Package agentkit makes a Go program an agent that the Platform Portal can
// run: it reads the environment that the portal gives, serves the HTTP
// interface that the portal asks, takes tasks from the agent's queue, counts
// its work for Prometheus, logs JSON lines, can be configured while it runs,
// and leaves in order on SIGTERM.
//
// The whole of an agent can be:
//
//	func main() {
//		err := agentkit.Run(context.Background(), agentkit.Agent{
//			Tasks: map[string]agentkit.Handler{
//				"greet": func(ctx context.Context, t agentkit.Task) (any, error) {
//					return "hello", nil
//				},
//			},
//		})
//		if err != nil {
//			fmt.Fprintln(os.Stderr, err)
//			os.Exit(1)
//		}
//	}
//
// Start it by hand with PORT=8080, or let the portal start it. Only PORT is
// needed; without QUEUE_URL the agent works over HTTP alone.
//
// A task may be delivered more than once: an agent can die between the work
// and the acknowledgement. The kit remembers the ids of the last tasks that
// were done and doesn't do them again, as long as the process lives. Handlers
// whose effects must not happen twice use the task's id themselves.
package agentkit
