package shim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Duration is a span of time in nanoseconds.
type Duration = time.Duration

// The operations that a shim knows.
const (
	OpStatus  = "status"
	OpStop    = "stop"
	OpRestart = "restart"
	OpFreeze  = "freeze"
	OpThaw    = "thaw"
	OpExec    = "exec"
	OpUsage   = "usage"
)

// Request is one line of JSON to a shim; each connection carries one.
type Request struct {
	Op      string
	Grace   Duration `json:",omitempty"`
	Reason  string   `json:",omitempty"`
	Argv    []string `json:",omitempty"`
	Timeout Duration `json:",omitempty"` // of exec; 0: as long as the connection
}

// Response is the line that answers.
type Response struct {
	Fault  *Fault       `json:",omitempty"`
	Record *Record      `json:",omitempty"`
	Code   int          `json:",omitempty"`
	Output string       `json:",omitempty"`
	Ended  bool         `json:",omitempty"` // exec: ended at its timeout
	Usage  *fleet.Usage `json:",omitempty"`
	// Locked answers a launch: another shim already runs the instance.
	Locked bool `json:",omitempty"`
}

// Fault is a fault.Error on the wire.
type Fault struct {
	Kind              fault.Kind
	Code              string
	What, Why, Remedy string
}

func toWire(err error) *Fault {
	if err == nil {
		return nil
	}
	if f := fault.As(err); f != nil {
		return &Fault{f.Kind, f.Code, f.What, f.Why, f.Remedy}
	}
	return &Fault{Kind: fault.Internal, Code: "shim.failed", What: "the supervisor failed", Why: err.Error()}
}

// Err gives the fault that the response carries, or nil.
func (r Response) Err() error {
	if r.Fault == nil {
		return nil
	}
	f := r.Fault
	return &fault.Error{Kind: f.Kind, Code: f.Code, What: f.What, Why: f.Why, Remedy: f.Remedy}
}

// maxMessage bounds what either side reads, in bytes.
const maxMessage = 4 << 20

// ErrNoShim says that nobody listens in an instance's directory.
var ErrNoShim = errors.New("no supervisor answers")

// Call sends the request to the shim that runs in dir and waits for the answer.
func Call(ctx context.Context, dir string, q Request) (Response, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return Response{}, fmt.Errorf("%w: %w", ErrNoShim, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var r Response
	err = json.NewEncoder(conn).Encode(q)
	if err == nil {
		err = receive(conn, &r)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return r, err
}

// dial connects by way of the opened directory, because the path of a unix
// socket must be shorter than many a data directory's.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(d.Fd()))+"/"+SocketFile)
}

func receive(r io.Reader, into any) error {
	line, err := bufio.NewReader(io.LimitReader(r, maxMessage)).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoShim, err)
	}
	return json.Unmarshal(line, into)
}
