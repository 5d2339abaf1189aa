package upkeep

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Record is what a portal has to know of an instance of the portal before it;
// everything else is asked of the engine.
type Record struct {
	Restarts
	Launched string              `json:"container"`       // what the engine calls the launch that this is about
	Started  int                 `json:"restarts"`        // again since it was launched
	State    fleet.InstanceState `json:"state,omitempty"` // what was decided; "" while it just runs
	Reason   string              `json:"reason,omitempty"`
	Run      string              `json:"run,omitempty"` // the run that the decision is about
	Due      time.Time           `json:"due,omitzero"`  // when the back-off is over
}

// ReadRecord gives what the file holds about the launch, or a record of one that
// nothing is known of.
func ReadRecord(file, launched string) Record {
	var rec Record
	if b, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(b, &rec)
	}
	if rec.Launched != launched {
		rec = Record{Launched: launched}
	}
	return rec
}

// Write keeps the record.
func (r *Record) Write(file string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = os.WriteFile(file+".new", b, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
			err = os.WriteFile(file+".new", b, 0o600)
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Follow decides what follows an end that has the reason: the instance is done
// with, or is to be started again when Due has come.
func (r *Record) Follow(p agent.RestartPolicy, why string, failed bool, now time.Time) {
	switch {
	case !Again(p, failed):
		r.State, r.Reason = fleet.InstanceExited, why
		if failed {
			r.State = fleet.InstanceFailed
		}
	case !r.Count(p, now):
		r.State, r.Reason = fleet.InstanceFailed, r.Loop(p, why)
	default:
		wait := r.Wait(p)
		r.State, r.Reason, r.Due = fleet.InstanceBackoff, why+"; starts again in "+wait.String(), now.Add(wait)
	}
}

// signals are the names of those that end programs.
var signals = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}

// Signal names the signal that ended a container; engines give 128 plus its number
// as exit code. "" if none did.
func Signal(exitCode int) string { return signals[exitCode-128] }
