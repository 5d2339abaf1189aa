package fleettest

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet/cargo"
)

// tickEvery is how often the ticks behaviour prints.
const tickEvery = 10 * time.Millisecond

// behaviours are what Program can do, by the first argument that names one.
var behaviours = map[string]string{
	"wait":     "runs until it is told to end",
	"ticks":    "prints \"tick 1\", \"tick 2\", … from a counter in memory",
	"exit":     "exit CODE: prints \"exiting with CODE\" to stderr and exits",
	"print":    "print N: prints \"line 0\" … \"line N-1\", then waits",
	"env":      "env NAME: prints NAME=value; as a command it ends then, else it waits",
	"graceful": "prints \"ready\", and on SIGTERM \"bye\", and exits 0",
	"stubborn": "prints \"ready\", then ignores SIGTERM",
	"family":   "starts children, among them daemons, prints \"ready\" and waits",
	"file":     "file PATH TEXT: appends to the file, prints its content and waits",
	"orphan":   "makes a process in a session of its own and exits: half of a daemon",
	"flood":    "flood BYTES: prints so much in lines of 100 bytes and exits",
	"text":     "text TEXT: prints it with Go escapes resolved and no line feed, and exits",
	"hog":      "hog BYTES: takes so much memory, then waits",
	"bomb":     "makes processes that make processes, as fast as they can",
	"spin":     "uses a processor as much as it may",
	"fill":     "fill PATH BYTES: writes a file of that size, then waits",
	"cargo":    "cargo hold, cargo pack DIR, cargo unpack DIR: as the portal's program does it",
	"serve":    "answers HTTP on PORT until it is asked for /hang; /ready says no after /busy",
}

// Program is the program that the suite lets a runtime run. A test binary calls
// it from TestMain, in a mode of its own; its first argument that names a
// behaviour says what to do, the following ones are that behaviour's. It gives
// the exit code.
func Program(args []string) int {
	i := slices.IndexFunc(args, func(a string) bool { return behaviours[a] != "" })
	if i < 0 {
		fmt.Fprintln(os.Stderr, "no behaviour is named")
		return 2
	}
	p := program{self: os.Args[:len(os.Args)-len(args)+i], args: append(args[i+1:], "", "")}
	return p.run(args[i])
}

type program struct {
	self []string // what runs Program again, up to the behaviour
	args []string
}

func (p program) number() int {
	n, _ := strconv.Atoi(p.args[0])
	return n
}

func (p program) run(behaviour string) int {
	switch behaviour {
	case "ticks":
		for n := range time.NewTicker(tickEvery).C {
			_ = n
			tick++
			fmt.Println("tick", tick)
		}
	case "exit":
		fmt.Fprintln(os.Stderr, "exiting with", p.number())
		return p.number()
	case "print":
		out := bufio.NewWriter(os.Stdout)
		for i := range p.number() {
			fmt.Fprintln(out, "line", i)
		}
		out.Flush()
	case "env":
		fmt.Println(p.args[0] + "=" + os.Getenv(p.args[0]))
		if os.Getenv("AGENT_EXEC") != "" || p.args[1] == "end" {
			return 0
		}
	case "graceful":
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGTERM)
		fmt.Println("ready")
		<-told
		fmt.Println("bye")
		return 0
	case "stubborn":
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		fmt.Println("ready")
	case "family":
		p.family()
	case "file":
		return p.file()
	case "cargo":
		return cargo.Main(slices.DeleteFunc(p.args, func(a string) bool { return a == "" }))
	default:
		return p.extreme(behaviour)
	}
	return wait()
}

var tick int

func (p program) extreme(behaviour string) int {
	switch behaviour {
	case "orphan":
		p.start(true, "stubborn")
		return 0
	case "flood":
		line := []byte(strings.Repeat("x", 99) + "\n")
		out := bufio.NewWriterSize(os.Stdout, 64<<10)
		for range p.number() / len(line) {
			_, _ = out.Write(line)
		}
		out.Flush()
		return 0
	case "text":
		text, err := strconv.Unquote(`"` + p.args[0] + `"`)
		if err != nil {
			return 2
		}
		fmt.Print(text)
		return 0
	case "hog":
		held := make([]byte, p.number())
		for i := range held {
			held[i] = byte(i)
		}
		fmt.Println("holding", len(held))
	case "bomb":
		for {
			p.start(false, "bomb")
		}
	case "spin":
		for {
			tick++
		}
	case "fill":
		n, _ := strconv.Atoi(p.args[1])
		if err := os.WriteFile(p.args[0], make([]byte, n), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		fmt.Println("filled")
	case "serve":
		fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+os.Getenv("PORT"), serve()))
		return 1
	}
	return wait()
}

// serve answers probes, until it is told not to.
func serve() http.Handler {
	var hangs, busy atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			hangs.Store(true)
		case "/busy":
			busy.Store(true)
		default:
			if hangs.Load() {
				<-r.Context().Done()
			}
			if busy.Load() && r.URL.Path == "/ready" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	})
}

// family has a plain child, one that ignores SIGTERM, and a daemon that left
// its session and whose parent ended.
func (p program) family() {
	p.start(false, "wait")
	p.start(false, "stubborn")
	if c := p.start(false, "orphan"); c != nil {
		_ = c.Wait()
	}
	fmt.Println("ready")
}

func (p program) start(session bool, behaviour string) *exec.Cmd {
	c := exec.Command(p.self[0], append(slices.Clone(p.self[1:]), behaviour)...)
	if exe, err := os.Executable(); err == nil {
		c.Path = exe
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if c.Start() != nil {
		return nil
	}
	return c
}

func (p program) file() int {
	path := p.args[0]
	_ = os.MkdirAll(filepath.Dir(path), 0o700)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = f.WriteString(p.args[1])
	f.Close()
	b, _ := os.ReadFile(path)
	fmt.Println(string(b))
	return wait()
}

// wait blocks until a signal ends the process.
func wait() int {
	never := make(chan os.Signal, 1)
	signal.Notify(never, syscall.SIGUSR2) // so that the Go runtime sees no deadlock
	for range never {
	}
	return 0
}
