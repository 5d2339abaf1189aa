package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func portInUse(s *scene) error {
	port, err := freePort(context.Background())
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	s.env["LISTEN"] = address
	declared := s.rng.IntN(2) == 0
	if declared {
		s.spec["ports"] = []map[string]any{{"name": s.pick("side", "admin", "grpc"), "port": port}}
	}
	s.note("%s, port %d, declared: %t", s.voice, port, declared)
	s.inject = func(ctx context.Context) error {
		if _, err := s.p.act(ctx, s.name, "stop"); err != nil {
			return err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, func() { _ = l.Close() })
		_, err = s.p.act(ctx, s.name, "start")
		return err
	}
	return nil
}

func missingBinary(s *scene) error {
	change := map[string]any{"args": s.self[1:]}
	switch s.rng.IntN(3) {
	case 0:
		change["command"] = s.pick("/opt/app/bin/server", "/usr/local/bin/agent-worker", "/srv/app/run.sh")
	case 1:
		change["command"] = s.pick("agent-servr", "pyhton3", "my-worker")
	default: // a script whose interpreter is not there
		script := filepath.Join(s.dir, s.name+".sh")
		if err := os.WriteFile(script, []byte("#!"+s.pick("/opt/python3.9/bin/python", "/usr/bin/nodejs18")+"\nmain()\n"), 0o700); err != nil {
			return err
		}
		change["command"] = script
	}
	s.note("command %v", change["command"])
	s.inject = func(ctx context.Context) error { return s.redeploy(ctx, change) }
	return nil
}

func badConfig(s *scene) error {
	s.env["SETTINGS"] = `{"workers":4,"interval":"30s","mode":"safe"}`
	wrong := s.pick(`{"workers":4,"interval":"30s","mode":"quick"}`, `{"workers":0,"interval":"30s","mode":"safe"}`,
		`{"workers":4,"interval":"soon","mode":"safe"}`, `{"workers":4,"interval":"30s","mode":"safe"`, `{"workers":"four","interval":"30s","mode":"safe"}`,
		`{"workers":4,"interval":"30s","mode":"safe","retires":3}`, `workers: 4`)
	s.note("%s, SETTINGS %s", s.voice, wrong)
	s.inject = func(ctx context.Context) error {
		return s.redeploy(ctx, map[string]any{"env": map[string]any{"SETTINGS": wrong}})
	}
	return nil
}

func missingVariable(s *scene) error {
	name := s.pick("DATABASE_URL", "API_BASE", "REDIS_HOST", "MODEL_NAME", "S3_BUCKET", "TENANT")
	s.env["REQUIRED"], s.env[name] = name, s.pick("postgres://db/app", "https://api.example.com", "main")
	s.note("%s, without %s", s.voice, name)
	s.inject = func(ctx context.Context) error {
		return s.redeploy(ctx, map[string]any{"env": map[string]any{name: nil}})
	}
	return nil
}

func missingDependency(s *scene) error {
	port, err := freePort(context.Background())
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	needed := s.name + "-dep"
	helper := s.agentSpec(needed, map[string]any{"VOICE": "json", "LISTEN": address})
	helper["ports"] = []map[string]any{{"name": "service", "port": port}}
	s.helpers = append(s.helpers, helper)
	s.spec["dependencies"] = []string{needed}
	s.env["UPSTREAM"] = "http://" + address + "/"
	atStart := s.rng.IntN(2) == 0
	if atStart {
		s.env["UPSTREAM_NEEDED"] = "start"
	}
	s.note("%s, needed at start: %t", s.voice, atStart)
	s.inject = func(ctx context.Context) error {
		if _, err := s.p.act(ctx, needed, "stop"); err != nil {
			return err
		}
		if !atStart {
			return nil
		}
		_, err := s.p.act(ctx, s.name, "restart")
		return err
	}
	return nil
}

func crashLoop(s *scene) error {
	delay := s.between(50, 1200)
	s.note("%s, dies after %d ms", s.voice, delay)
	s.inject = func(ctx context.Context) error {
		return s.redeploy(ctx, map[string]any{"version": "1.1.0", "env": map[string]any{"FEATURES": "fastpath", "WARM_UP_MS": strconv.Itoa(delay)}})
	}
	return nil
}

func outOfMemory(s *scene) error {
	limit := s.between(6, 10) * 16
	s.spec["resources"] = map[string]any{"memory": fmt.Sprintf("%dMi", limit)}
	step, every := s.between(4, 12), time.Duration(s.between(40, 150))*time.Millisecond
	s.note("%s, limit %d MiB, %d MiB every %s", s.voice, limit, step, every)
	s.inject = func(ctx context.Context) error {
		return s.misbehave(ctx, "leak", map[string]any{"mib": limit, "step": step, "every": every.String(), "lasting": true})
	}
	return nil
}

func hang(s *scene) error {
	restarts := s.rng.IntN(2) == 0
	if !restarts { // nobody restarts it by itself then
		delete(s.spec["probes"].(map[string]any), "liveness")
	}
	s.note("with a liveness probe: %t", restarts)
	s.inject = func(ctx context.Context) error { return s.misbehave(ctx, "hang", nil) }
	return nil
}

func cpuStarved(s *scene) error {
	cores := float64(s.between(130, 150)) / 1000
	s.spec["resources"] = map[string]any{"cpu": 0.1}
	s.note("%s, limit 0.1, load %.3f", s.voice, cores)
	s.inject = func(ctx context.Context) error {
		return s.misbehave(ctx, "burn", map[string]any{"cores": cores, "lasting": true})
	}
	return nil
}

func diskFull(s *scene) error {
	limit, plan := s.between(8, 24), map[string]any{"every": "20ms"}
	size := fmt.Sprintf("%dMi", limit)
	plan["mib"] = limit + s.between(3, 8)
	volume := s.rng.IntN(2) == 0
	if volume {
		s.spec["volumes"] = []map[string]any{{"name": "spool", "size": size}}
		plan["path"] = "spool"
	} else {
		s.spec["resources"] = map[string]any{"disk": size}
	}
	s.note("%s, limit %s, of a volume: %t", s.voice, size, volume)
	s.inject = func(ctx context.Context) error { return s.misbehave(ctx, "fill", plan) }
	return nil
}

func fdLeak(s *scene) error {
	limit, every := s.between(64, 160), s.between(10, 40)
	s.env["OPEN_FILES"] = strconv.Itoa(limit)
	s.note("%s, limit %d, two every %d ms", s.voice, limit, every)
	s.inject = func(ctx context.Context) error {
		return s.misbehave(ctx, "files", map[string]any{"every": fmt.Sprintf("%dms", every)})
	}
	return nil
}

func flaky(s *scene) error {
	chance, every := float64(s.between(40, 60))/100, s.between(700, 1500)
	s.note("%s, %.0f %% every %d ms", s.voice, 100*chance, every)
	s.inject = func(ctx context.Context) error {
		return s.misbehave(ctx, "flaky", map[string]any{"chance": chance, "every": fmt.Sprintf("%dms", every)})
	}
	return nil
}
