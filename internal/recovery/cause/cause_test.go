package cause_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// crashed are the facts of an agent whose program printed the lines and ended
// with the code.
func crashed(code int, lines ...string) *cause.Facts {
	end := fleet.Instance{ID: "a-r2-0", State: fleet.InstanceFailed, ExitCode: &code, Restarts: 5, StartedAt: now.Add(-3 * time.Second), EndedAt: now.Add(-2 * time.Second)}
	return &cause.Facts{
		Now: now, AgentID: "a", State: agent.Errored, Health: agent.HealthUnhealthy, Revision: 2, DiskFree: -1, Lines: lines,
		Spec:    agent.Spec{Name: "a", Command: "server", Env: map[string]string{"SETTINGS": "{}", "LISTEN_PORT": "8080", "WORKERS": "seventeen"}},
		Failure: &agent.Failure{Code: "crash_loop", Reason: "Instance 0 does not stay up"},
		Ended:   &end, Instances: []fleet.Instance{end},
		Environment: map[string]bool{"PORT": true, "SETTINGS": true, "LISTEN_PORT": true, "WORKERS": true, "AGENT_ID": true},
	}
}

func TestMessagesOfRealPrograms(t *testing.T) {
	for _, c := range []struct {
		want  cause.Code
		code  int
		lines []string
	}{
		{cause.PortInUse, 1, []string{"listen tcp 127.0.0.1:8080: bind: address already in use"}},
		{cause.PortInUse, 1, []string{"OSError: [Errno 98] Address already in use"}},
		{cause.PortInUse, 1, []string{"Error: listen EADDRINUSE: address already in use :::8080", "    at Server.setupListenHandle [as _listen2] (node:net:1817:16)"}},
		{cause.PortInUse, 1, []string{"java.net.BindException: Address already in use (Bind failed)", "\tat java.base/sun.nio.ch.Net.bind0(Native Method)"}},
		{cause.PortInUse, 1, []string{`{"level":"fatal","msg":"could not bind","addr":"0.0.0.0:8080","error":"port is taken"}`}},
		{cause.PortInUse, 1, []string{"Web server failed to start. Port 8080 was already in use."}},
		{cause.MissingBinary, 127, []string{"/bin/sh: 1: ffmpeg: not found"}},
		{cause.MissingBinary, 1, []string{`exec: "ffmpeg": executable file not found in $PATH`}},
		{cause.MissingBinary, 1, []string{"Error: spawn ffmpeg ENOENT"}},
		{cause.MissingBinary, 1, []string{`java.io.IOException: Cannot run program "ffmpeg": error=2, No such file or directory`}},
		{cause.MissingBinary, 1, []string{"FileNotFoundError: [Errno 2] No such file or directory: 'ffmpeg'"}},
		{cause.MissingVariable, 1, []string{"KeyError: 'DATABASE_URL'"}},
		{cause.MissingVariable, 1, []string{"required environment variable DATABASE_URL is not set"}},
		{cause.MissingVariable, 1, []string{"Error: Missing required environment variable: MODEL_NAME", "    at Object.<anonymous> (/srv/app/env.js:7:9)"}},
		{cause.MissingVariable, 1, []string{"django.core.exceptions.ImproperlyConfigured: Set the MODEL_NAME environment variable"}},
		{cause.MissingVariable, 1, []string{"java.lang.IllegalArgumentException: Could not resolve placeholder 'API_BASE' in value \"${API_BASE}\""}},
		{cause.MissingVariable, 1, []string{"entrypoint.sh: line 3: S3_BUCKET: unbound variable"}},
		{cause.MissingVariable, 1, []string{`{"level":"error","message":"configuration incomplete","variable":"TENANT","error":"environment variable TENANT must be set"}`}},
		{cause.BadConfig, 1, []string{`2026/03/01 12:00:00 load config: mode: "quick" is not one of fast, safe: invalid`}},
		{cause.BadConfig, 1, []string{"Exception in thread \"main\" java.lang.IllegalArgumentException: Invalid configuration: workers must be at least 1"}},
		{cause.BadConfig, 1, []string{"yaml.scanner.ScannerError: mapping values are not allowed here", `  in "config.yaml", line 3, column 12`}},
		{cause.BadConfig, 1, []string{`strconv.Atoi: parsing "seventeen": invalid syntax`}},
		{cause.BadConfig, 78, []string{"bye"}},
		{cause.MissingDependency, 1, []string{"ModuleNotFoundError: No module named 'numpy'"}},
		{cause.MissingDependency, 1, []string{"Error: Cannot find module 'express'"}},
		{cause.MissingDependency, 127, []string{"./app: error while loading shared libraries: libssl.so.3: cannot open shared object file"}},
		{cause.OutOfMemory, 1, []string{"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"}},
		{cause.OutOfMemory, 1, []string{"java.lang.OutOfMemoryError: Java heap space"}},
		{cause.OutOfMemory, 1, []string{"MemoryError"}},
		{cause.DiskFull, 1, []string{"write /data/x: no space left on device"}},
		{cause.DiskFull, 1, []string{"OSError: [Errno 28] No space left on device"}},
		{cause.FDLeak, 1, []string{"accept tcp [::]:8080: accept4: too many open files"}},
		{cause.FDLeak, 1, []string{"Error: EMFILE: too many open files, open '/tmp/a'"}},
		{cause.ExpiredCredential, 1, []string{"jwt.exceptions.ExpiredSignatureError: Signature has expired"}},
		{cause.ExpiredCredential, 1, []string{"upstream answered 401: the access token expired 12 minutes ago"}},
		{cause.ExpiredCredential, 1, []string{"nats: Authorization Violation"}},
		{cause.ClockSkew, 1, []string{"RequestTimeTooSkewed: The difference between the request time and the server's time is too large."}},
		{cause.ClockSkew, 1, []string{"x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-01-01"}},
		{cause.ClockSkew, 1, []string{"token used before issued"}},
		{cause.NetworkRefused, 1, []string{"dial tcp 10.0.0.7:5432: connect: connection refused"}},
		{cause.NetworkRefused, 1, []string{"Error: connect ECONNREFUSED 10.0.0.7:6379"}},
		{cause.NetworkRefused, 1, []string{"java.net.ConnectException: Connection refused (Connection refused)"}},
		{cause.NetworkRefused, 1, []string{"Error: getaddrinfo ENOTFOUND db.internal"}},
		{cause.SlowDependency, 1, []string{"Get \"http://10.0.0.7:9000/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"}},
		{cause.SlowDependency, 1, []string{"requests.exceptions.ReadTimeout: HTTPConnectionPool(host='10.0.0.7', port=9000): Read timed out. (read timeout=1)"}},
		{cause.CrashLoop, 2, []string{"panic: runtime error: index out of range [3] with length 3"}},
		{cause.CrashLoop, 1, []string{"RuntimeError: boom"}},
		{cause.CrashLoop, 3, nil},
	} {
		name := string(c.want)
		if len(c.lines) > 0 {
			name += "/" + c.lines[0]
		}
		t.Run(name, func(t *testing.T) {
			found := cause.Find(crashed(c.code, c.lines...))
			if found == nil || found.Code != c.want {
				t.Fatalf("found %+v", found)
			}
			if found.Class != cause.ClassOf(c.want) || found.Title == "" || found.Summary == "" || len(found.Evidence) == 0 {
				t.Errorf("not complete: %+v", found)
			}
		})
	}
}

func TestThePortAndItsHolderAreNamed(t *testing.T) {
	f := crashed(1, "listen tcp 127.0.0.1:8080: bind: address already in use")
	f.HolderOf = func(port int) *cause.Holder {
		if port != 8080 {
			return nil
		}
		return &cause.Holder{PID: 4711, Command: "python3"}
	}
	f.FreePort = func(near int) int { return near + 1 }
	found := cause.Find(f)
	if found.Title != "Port 8080 is already in use by python3 (pid 4711)" || found.Certainty < 0.95 {
		t.Errorf("%+v", found)
	}
	first := found.Suggestions[0]
	if first.Fix != cause.ChangePort || first.Title != "Use port 8081" || first.Parameters["to"] != 8081 || !first.OneClick {
		t.Errorf("%+v", first)
	}
}

func TestWhatRanWellBeforeIsOffered(t *testing.T) {
	f := crashed(1, "KeyError: 'API_BASE'")
	f.Good = &cause.Good{Revision: 1, Spec: agent.Spec{Name: "a", Command: "server", Env: map[string]string{"API_BASE": "x"}}}
	found := cause.Find(f)
	if got := found.Suggestions[0]; got.Fix != cause.SetVariable || got.Parameters["from_revision"] != 1 || !got.OneClick {
		t.Errorf("%+v", found.Suggestions)
	}
	f.Good = nil
	for _, sg := range cause.Find(f).Suggestions {
		if sg.OneClick {
			t.Errorf("offered though the value is not known: %+v", sg)
		}
	}
}

func TestEvidenceCountsWithoutWords(t *testing.T) {
	killed := crashed(0)
	killed.Ended.ExitCode, killed.Ended.Signal, killed.Ended.OOMKilled = nil, "SIGKILL", true
	killed.Spec.Resources.Memory = 64 << 20
	if found := cause.Find(killed); found.Code != cause.OutOfMemory || found.Suggestions[0].Parameters["memory"] != "128Mi" {
		t.Errorf("%+v", found)
	}
	down := crashed(1, "cannot reach store")
	down.Dependencies = []cause.Peer{{ID: "store", Name: "store", Exists: true, State: agent.Stopped}}
	if found := cause.Find(down); found.Code != cause.MissingDependency || found.Suggestions[0].Fix != cause.StartDependency {
		t.Errorf("%+v", found)
	}
	step := &cause.Facts{Now: now, AgentID: "a", State: agent.Errored, DiskFree: -1, Spec: agent.Spec{Command: "pyhton3"},
		Problem: &operation.Problem{Code: "command.not_found", What: `the command "pyhton3" cannot run`},
		Find:    func(string) (bool, []string) { return false, []string{"python3"} }}
	if found := cause.Find(step); found.Code != cause.MissingBinary || found.Suggestions[0].Parameters["command"] != "python3" {
		t.Errorf("%+v", found)
	}
}

// What has the port can be stopped: an agent by the portal, though never by itself,
// any other program by people.
func TestWhatHasThePortCanBeStopped(t *testing.T) {
	f := crashed(1, "listen tcp 127.0.0.1:8080: bind: address already in use")
	f.Spec.Ports = []agent.Port{{Name: "http", Port: 8080}}
	holder := &cause.Holder{PID: 4711, Command: "python3"}
	f.HolderOf = func(int) *cause.Holder { return holder }
	find := func(fix cause.Fix) *cause.Suggestion {
		for _, sg := range cause.Find(f).Suggestions {
			if sg.Fix == fix {
				return &sg
			}
		}
		return nil
	}
	if sg := find(cause.NoFix); sg == nil || !strings.Contains(sg.Title, "Stop python3 (pid 4711)") || sg.OneClick || find(cause.StopHolder) != nil {
		t.Errorf("%+v", sg)
	}
	holder.AgentID = "rival"
	if sg := find(cause.StopHolder); sg == nil || sg.Title != "Stop the agent rival" || sg.Parameters["agent"] != "rival" || !sg.OneClick || find(cause.NoFix) != nil {
		t.Errorf("%+v", sg)
	}
	if cause.StopHolder.ByItself() || cause.NoFix.ByItself() || !cause.ChangePort.ByItself() {
		t.Error("another agent may be stopped by itself")
	}
	holder.AgentID = f.AgentID
	if find(cause.StopHolder) != nil || find(cause.NoFix) != nil {
		t.Error("it is to be stopped because of itself")
	}
}

// A script is there, and still it can't run: a restart is no remedy for that.
func TestAMissingInterpreterIsNamed(t *testing.T) {
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Errored, DiskFree: -1, Spec: agent.Spec{Command: "/srv/run.sh"},
		Problem: &operation.Problem{Code: "command.not_found", What: `the command "/srv/run.sh" cannot run`, Why: "its interpreter /opt/py3/python does not exist"},
		Find:    func(string) (bool, []string) { return false, nil }}
	found := cause.Find(f)
	if found.Code != cause.MissingBinary || !strings.Contains(found.Title, "/opt/py3/python") || !strings.Contains(found.Summary, "/srv/run.sh") {
		t.Errorf("%+v", found)
	}
	for _, sg := range found.Suggestions {
		if sg.OneClick {
			t.Errorf("one click can't do this: %+v", sg)
		}
	}
	f.Good = &cause.Good{Revision: 3, Spec: agent.Spec{Command: "server"}}
	if found := cause.Find(f); found.Suggestions[0].Fix != cause.RollBack || !found.Suggestions[0].OneClick {
		t.Errorf("%+v", found.Suggestions)
	}
}

func TestAHealthyAgentHasNoCause(t *testing.T) {
	busy := &cause.Facts{Now: now, AgentID: "a", State: agent.Running, Health: agent.HealthHealthy, DiskFree: -1,
		Spec:      agent.Spec{Name: "a", Resources: agent.Resources{CPU: 0.5, Memory: 64 << 20}},
		Instances: []fleet.Instance{{ID: "a-r1-0", State: fleet.InstanceRunning, StartedAt: now.Add(-time.Hour)}},
	}
	for i := range 10 {
		at := now.Add(time.Duration(i-10) * time.Second)
		busy.Samples = append(busy.Samples, cause.Sample{At: at, InstanceID: "a-r1-0", Run: "1/0",
			Usage: fleet.Usage{CPUSeconds: float64(i) * 0.5, Memory: 60 << 20, OpenFiles: 900, FileLimit: 1000, ThrottledSeconds: float64(i)}})
		busy.Backlog = append(busy.Backlog, cause.Queue{At: at, Stats: queue.Stats{Pending: 100 - 20*i/2, Oldest: at.Add(-time.Minute)}})
	}
	busy.Samples[5].OpenFiles = 500 // what goes up and down is no leak
	busy.Samples[9].OpenFiles = 700
	if found := cause.Find(busy); found != nil {
		t.Errorf("%+v", found)
	}
}

func TestFiguresTellOfWhatIsUsedUp(t *testing.T) {
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Running, Health: agent.HealthHealthy, DiskFree: -1, Spec: agent.Spec{Name: "a"}}
	for i := range 5 {
		f.Samples = append(f.Samples, cause.Sample{At: now.Add(time.Duration(i-5) * time.Second), InstanceID: "x", Run: "1/0",
			Usage: fleet.Usage{OpenFiles: 60 + 20*i, FileLimit: 150}})
	}
	if found := cause.Find(f); found == nil || found.Code != cause.FDLeak {
		t.Errorf("%+v", found)
	}
	f.Samples = nil
	for i := range 4 {
		f.Backlog = append(f.Backlog, cause.Queue{At: now.Add(time.Duration(i-4) * time.Second), Stats: queue.Stats{Pending: 100 + i, Oldest: now.Add(-time.Minute)}})
	}
	if found := cause.Find(f); found == nil || found.Code != cause.QueueBacklog || found.Suggestions[0].Fix != cause.ScaleOut {
		t.Errorf("%+v", found)
	}
}

func TestAnEngineThatIsAwayIsNoFaultOfTheAgent(t *testing.T) {
	says := "Cannot connect to the Docker daemon: dial tcp 192.0.2.7:2376: connect: connection refused"
	f := crashed(1, says)
	f.Problem = &operation.Problem{Code: "docker.unreachable", What: "The Docker engine tcp://192.0.2.7:2376 can't be reached", Why: says, Remedy: "Start the engine."}
	found := cause.Find(f)
	if found == nil || found.Code != cause.EngineAway || found.Class != cause.Dependency || found.Title != f.Problem.What || found.Suggestions[0].Fix != cause.NoFix || found.Suggestions[0].Why != "Start the engine." {
		t.Errorf("%+v", found)
	}
	f.Problem, f.Failure = nil, &agent.Failure{Code: "kubernetes.unreachable", Reason: "The cluster https://192.0.2.7 can't be reached: timeout", Remedy: "See the API server."}
	if found = cause.Find(f); found == nil || found.Code != cause.EngineAway || found.Title != "The cluster https://192.0.2.7 can't be reached" {
		t.Errorf("%+v", found)
	}
	f.Failure.Code = "crash_loop"
	if found = cause.Find(f); found != nil && found.Code == cause.EngineAway {
		t.Errorf("%+v", found)
	}
}

func TestAnImageThatCannotBeHadIsNoFaultOfTheNetworkOfTheAgent(t *testing.T) {
	says := "The image shop:2 can't be pulled: dial tcp: lookup registry.example on 192.0.2.53:53: connect: connection refused"
	f := crashed(1, says)
	f.Ended, f.Instances = nil, nil
	f.Problem = &operation.Problem{Code: "image.pull", What: "The image shop:2 can't be pulled", Why: "lookup registry.example: connection refused", Remedy: "See whether the nodes reach the registry."}
	found := cause.Find(f)
	if found == nil || found.Code != cause.ImageUnavailable || found.Title != f.Problem.What || found.Suggestions[0].Fix != cause.NoFix || found.Suggestions[0].Why != f.Problem.Remedy {
		t.Errorf("%+v", found)
	}
}

// Somebody removes pods, or a node is drained: nothing of it speaks against the
// revision, and nobody is told to go back to another one.
func TestWhatIsEndedFromOutsideIsNoCrash(t *testing.T) {
	code := 2
	gone := fleet.Instance{ID: "a-r2-0", State: fleet.InstanceBackoff, ExitCode: &code, Restarts: 1, Displaced: true, StartedAt: now.Add(-4 * time.Second), EndedAt: now, Reason: "its pod is being removed"}
	back := fleet.Instance{ID: "a-r2-1", State: fleet.InstanceRunning, Restarts: 1, Displaced: true, StartedAt: now.Add(-2 * time.Second)}
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Running, Health: agent.HealthUnhealthy, Revision: 2, DiskFree: -1, Lines: []string{"agent stopped"},
		Spec: agent.Spec{Name: "a"}, Good: &cause.Good{Revision: 1}, Ended: &gone, Instances: []fleet.Instance{gone, back}}
	found := cause.Find(f)
	if found == nil || found.Code != cause.Displaced || found.Class != cause.Transient || found.Suggestions[0].Fix != cause.Wait {
		t.Fatalf("%+v", found)
	}
	if slices.ContainsFunc(found.Suggestions, func(s cause.Suggestion) bool { return s.Fix == cause.RollBack }) {
		t.Errorf("another revision is offered: %+v", found.Suggestions)
	}
	if gone := cause.Gone(f, "a-r2-0"); gone.Code != cause.Displaced || gone.Class != cause.Transient || gone.Suggestions[0].Fix != cause.Wait || !strings.Contains(gone.Summary, "a-r2-0") {
		t.Errorf("%+v", gone)
	}
	crash := fleet.Instance{ID: "a-r2-2", State: fleet.InstanceBackoff, ExitCode: &code, Restarts: 4, StartedAt: now.Add(-2 * time.Second), EndedAt: now}
	f.Instances, f.Ended = append(f.Instances, crash), &crash
	if found = cause.Find(f); found == nil || found.Code != cause.CrashLoop {
		t.Errorf("a crash beside it: %+v", found)
	}
}

// Probes change their answers whenever an operator stops and starts an agent.
func TestWhatIsStartedAndStoppedIsNotFlaky(t *testing.T) {
	in := fleet.Instance{ID: "a-r2-0", State: fleet.InstanceRunning, StartedAt: now.Add(-20 * time.Second)}
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Running, Health: agent.HealthHealthy, Revision: 2, DiskFree: -1, Spec: agent.Spec{Name: "a"}, Instances: []fleet.Instance{in}}
	for i := range 8 { // of runs before this one
		f.Probes = append(f.Probes, health.Result{InstanceID: in.ID, Kind: health.Readiness, OK: i%2 == 0, At: in.StartedAt.Add(-time.Duration(i+1) * time.Second)})
	}
	for _, kind := range []health.Kind{health.Readiness, health.Liveness} {
		f.Probes = append(f.Probes, health.Result{InstanceID: in.ID, Kind: kind, OK: true, At: now.Add(-10 * time.Second)})
	}
	if found := cause.Find(f); found != nil {
		t.Errorf("%+v", found)
	}
	for i := range 6 {
		f.Probes = append(f.Probes, health.Result{InstanceID: in.ID, Kind: health.Readiness, OK: i%2 == 0, At: now.Add(-time.Duration(i+1) * time.Second)})
	}
	if found := cause.Find(f); found == nil || found.Code != cause.Flaky {
		t.Errorf("one that is flaky: %+v", found)
	}
}

func TestEveryCauseHasAClass(t *testing.T) {
	classes := []cause.Class{cause.Transient, cause.Permanent, cause.Configuration, cause.Dependency}
	for _, c := range cause.Codes() {
		if !slices.Contains(classes, cause.ClassOf(c)) {
			t.Errorf("%s has the class %q", c, cause.ClassOf(c))
		}
	}
}

func FuzzFindSurvivesAnyOutput(f *testing.F) {
	f.Add("listen tcp :8080: bind: address already in use")
	f.Add(`{"msg":"x","error":{"type":"E","message":"y"}}`)
	f.Add("\x1b[31mKeyError: 'A_B'\x1b[0m")
	f.Fuzz(func(t *testing.T, line string) {
		for _, found := range cause.Findings(crashed(1, line)) {
			if found.Certainty < 0 || found.Certainty > 1 {
				t.Errorf("certainty %v", found.Certainty)
			}
		}
		_ = cause.Normal(line)
	})
}
