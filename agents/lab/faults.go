package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

// plan is something that goes wrong while the agent runs.
type plan struct {
	Kind string `json:"kind"`
	// Lasting plans go on after a restart, because what causes them is outside
	// of the program: its data, its load.
	Lasting bool    `json:"lasting,omitempty"`
	MiB     int     `json:"mib,omitempty"`
	Step    int     `json:"step,omitempty"`
	Every   string  `json:"every,omitempty"`
	Cores   float64 `json:"cores,omitempty"`
	Chance  float64 `json:"chance,omitempty"`
	Path    string  `json:"path,omitempty"`
}

func (p plan) every() time.Duration {
	d, err := time.ParseDuration(p.Every)
	if err != nil || d < time.Millisecond {
		return 100 * time.Millisecond
	}
	return d
}

// maxMiB bounds what a plan may take of memory or disk, whatever it is told.
const maxMiB = 512

// misbehave begins a plan.
func (s *subject) misbehave(_ context.Context, t agentkit.Task) (any, error) {
	var p plan
	if err := t.Decode(&p); err != nil {
		return nil, err
	}
	if p.MiB > maxMiB || p.Cores > 2 {
		return nil, agentkit.Permanent(fmt.Errorf("at most %d MiB and 2 cores", maxMiB))
	}
	if p.Lasting {
		text, err := json.Marshal(p)
		if err == nil {
			err = os.WriteFile(s.planFile(), text, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	// Begun once the task is answered for, so that it does not come again.
	time.AfterFunc(200*time.Millisecond, func() { s.begin(p) })
	return p.Kind, nil
}

func (s *subject) planFile() string { return filepath.Join(s.dir, "plan.json") }

// resume goes on with a lasting plan.
func (s *subject) resume() error {
	text, err := os.ReadFile(s.planFile())
	if errors.Is(err, os.ErrNotExist) || s.dir == "" {
		return nil
	}
	if err != nil {
		return err
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	time.AfterFunc(p.every(), func() { s.begin(p) })
	return nil
}

func (s *subject) begin(p plan) {
	switch p.Kind {
	case "leak":
		s.leak(p)
	case "hang":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "files":
		s.openFiles(p)
	case "fill":
		s.fill(p)
	case "burn":
		s.burn(p)
	case "flaky":
		s.waver(p)
	case "mutter":
		for range 20 {
			s.voice.say(muttered, nil)
			pause(time.Second)
		}
	}
}

// plans is how plans show in readiness.
type plans struct {
	mu    sync.Mutex
	wrong error
}

func (p *plans) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = err
}

func (p *plans) ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

// leak takes memory and keeps it.
func (s *subject) leak(p plan) {
	var kept [][]byte
	for taken := 0; taken < p.MiB; taken += max(p.Step, 1) {
		b := make([]byte, max(p.Step, 1)<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = byte(i) // a page that is not touched takes nothing
		}
		kept = append(kept, b)
		s.voice.say(heap, complaint{"N": strconv.Itoa(taken + p.Step)})
		pause(p.every())
	}
	for { // what is kept is used, or the collector would take it
		pause(time.Second)
		runtime.KeepAlive(kept)
	}
}

// openFiles opens files and does not close them, until it can't any more, and
// says so from then on.
func (s *subject) openFiles(p plan) {
	var kept []*os.File
	for {
		r, w, err := os.Pipe()
		if err == nil {
			kept = append(kept, r, w)
			pause(p.every())
			continue
		}
		s.voice.say(files, complaint{"WHY": err.Error()})
		s.plans.set(err)
		pause(500 * time.Millisecond)
		runtime.KeepAlive(kept)
	}
}

// fill writes a cache that grows without end, up to p.MiB.
func (s *subject) fill(p plan) {
	dir := filepath.Join(s.dir, "cache")
	if p.Path != "" {
		dir = filepath.Join(p.Path, "cache") // a volume, in the working directory
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.voice.say(disk, complaint{"WHY": err.Error()})
		return
	}
	block := make([]byte, 1<<20)
	for i := range p.MiB {
		if err := os.WriteFile(filepath.Join(dir, "part-"+strconv.Itoa(i)+".tmp"), block, 0o600); err != nil {
			s.voice.say(disk, complaint{"WHY": err.Error()})
			return
		}
		pause(p.every())
	}
	for range 60 { // what comes after that has no room
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			return
		}
		_, err = f.Write(block[:1])
		_ = f.Close()
		s.voice.say(disk, complaint{"WHY": fmt.Sprint(err)})
		pause(time.Second)
	}
}

// burn has p.Cores of work to do all the time. What it can't do in time piles
// up, and with too much of it nothing is answered in time.
func (s *subject) burn(p plan) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	var done time.Duration
	for {
		due := time.Duration(float64(time.Since(start)) * p.Cores)
		if done < due {
			done += spin(min(due-done, 20*time.Millisecond))
		} else {
			pause(20 * time.Millisecond)
		}
		lag := time.Duration(float64(due-done) / p.Cores).Round(100 * time.Millisecond)
		if lag < 700*time.Millisecond {
			s.plans.set(nil)
			continue
		}
		if s.plans.ready() == nil || time.Now().UnixMilli()%1000 < 100 {
			s.voice.say(busy, complaint{"N": strconv.Itoa(int(lag.Milliseconds()))})
		}
		s.plans.set(fmt.Errorf("requests wait for %s", lag))
	}
}

// spin works until the thread has used the CPU time, and gives how much it was.
func spin(d time.Duration) time.Duration {
	begin := threadTime()
	for x := uint64(1); ; {
		for range 20_000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
		if used := threadTime() - begin; used >= d || x == 0 {
			return used
		}
	}
}

// waver is well and unwell in turns.
func (s *subject) waver(p plan) {
	for {
		if rand.Float64() < p.Chance {
			err := errors.New("temporary failure")
			s.voice.say(flaky, nil)
			s.plans.set(err)
		} else {
			s.plans.set(nil)
		}
		pause(p.every())
	}
}

// crashLater ends the program some time after its start if a feature is on that
// has a mistake in it.
func (s *subject) crashLater() {
	if !s.has("fastpath") {
		return
	}
	time.AfterFunc(time.Duration(s.number("WARM_UP_MS", 500))*time.Millisecond, func() {
		switch s.voice.name {
		case "go":
			var table map[string]int
			table["orders"]++ //nolint:staticcheck // this is the mistake that ends it
		case "plain":
			s.voice.say(crash, nil)
			_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		default:
			s.voice.say(crash, nil)
			s.exit(1)
		}
	})
}

// listen serves on an address of its own, if it has one.
func (s *subject) listen(ctx context.Context) error {
	address := s.getenv("LISTEN")
	if address == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		host, port, _ := net.SplitHostPort(address)
		return complaint{"HOST": host, "PORT": port, "WHY": err.Error()}
	}
	s.side = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		agentkit.Respond(w, http.StatusOK, map[string]string{"status": "ok"})
	})}
	go func() { _ = s.side.Serve(l) }()
	return nil
}
