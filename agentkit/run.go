package agentkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const shutdownWait = 2 * time.Second

// Run is the life of the agent: it returns nil when ctx ended or the process
// got SIGTERM or SIGINT and the agent has left in order, and an error if it
// could not start or serve. On the signal, readiness ends, no more tasks are
// taken, tasks that run get the grace to finish, and those that did not go
// back to the queue. A second signal ends the process at once.
func Run(ctx context.Context, agent Agent) error {
	agent = agent.withDefaults()
	env, err := ReadEnv(agent.Getenv)
	if err != nil {
		return fmt.Errorf("the environment of the agent is not valid: %w", err)
	}
	log := env.logger(agent.Output)
	ctx, unhook := signal.NotifyContext(withLogger(ctx, log), syscall.SIGTERM, syscall.SIGINT)
	defer unhook()
	if err := agent.Config.load(env.DataDir); err != nil {
		log.Warn("kept configuration is used in part", "error", err)
	}
	stop, stopTasks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTasks()
	s := &server{agent: agent, env: env, worker: newWorker(agent, log, stop)}
	if env.queueURL != "" {
		if s.queue, err = connect(env, log, s.worker); err != nil {
			return err
		}
		defer s.queue.close()
	}
	listener, err := s.listen()
	if err != nil {
		return err
	}
	s.http.BaseContext = func(net.Listener) context.Context { return withLogger(context.Background(), log) }
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(listener) }()

	failed := s.live(ctx, served)
	unhook()
	return errors.Join(failed, s.end(stopTasks))
}

// live makes the agent ready and lets it work until ctx ends or it fails.
func (s *server) live(ctx context.Context, served <-chan error) error {
	log := Logger(ctx)
	if s.agent.Start != nil {
		if err := s.agent.Start(ctx); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	s.started = true
	var pulling sync.WaitGroup
	defer pulling.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.queue != nil {
		pulling.Go(func() { s.queue.run(ctx) })
	}
	s.phase.Store(ready)
	log.Info("agent ready", "port", s.env.Port, "version", s.env.Version)
	select {
	case <-ctx.Done():
		s.phase.Store(leaving)
		log.Info("agent stopping")
		return nil
	case err := <-served:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve HTTP: %w", err)
	}
}

// end lets running tasks finish and closes everything.
func (s *server) end(stopTasks context.CancelFunc) error {
	log := s.worker.log
	s.phase.Store(leaving)
	grace, cancel := context.WithTimeout(context.Background(), s.agent.Grace)
	defer cancel()
	if s.worker.leave(grace) != nil {
		log.Warn("tasks were still running when the grace was over", "tasks_running", len(s.worker.slots))
	}
	stopTasks()
	last, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	if s.worker.leave(last) != nil {
		log.Error("tasks do not end", "tasks_running", len(s.worker.slots))
	}
	err := s.shutdown(last)
	if s.started && s.agent.Stop != nil {
		err = errors.Join(err, s.agent.Stop(last))
	}
	log.Info("agent stopped")
	return err
}
