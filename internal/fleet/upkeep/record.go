package upkeep

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

	// Where the engine starts instances again by itself: what it told of the restarts
	// that were counted.
	Current string    `json:"current,omitempty"` // the run, or the pod; "" while it is not known
	Counted int       `json:"counted,omitempty"` // restarts since the portal started it, or of the pod
	Ends    int       `json:"ends,omitempty"`    // of the pod, that were taken in
	Seen    time.Time `json:"seen,omitzero"`     // when the last end was
	Code    *int      `json:"code,omitempty"`    // of the end that was the last
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
	if !r.Over(p, why, failed, now) {
		wait := r.Wait(p)
		r.State, r.Reason, r.Due = fleet.InstanceBackoff, why+pauses+wait.String(), now.Add(wait)
	}
}

// Over decides whether the instance is done with after an end that has the reason;
// if not, one more restart is counted.
func (r *Record) Over(p agent.RestartPolicy, why string, failed bool, now time.Time) bool {
	switch {
	case !Again(p, failed):
		r.State, r.Reason = fleet.InstanceExited, why
		if failed {
			r.State = fleet.InstanceFailed
		}
	case !r.Count(p, now):
		r.State, r.Reason = fleet.InstanceFailed, r.Loop(p, why)
	default:
		return false
	}
	return true
}

// Missed tells how many runs have ended since the last one that was counted, where
// the engine says how often it started the instance again, and which run is the
// newest.
func (r *Record) Missed(restarts int, run string) int {
	n := restarts - r.Counted
	if n <= 0 && r.Current != "" && r.Current != run && r.State != fleet.InstanceBackoff { // it began to count anew
		n = 1
	}
	return max(0, n)
}

// Resumed notes that the run has begun for which an end was to be followed; false
// if that was known.
func (r *Record) Resumed(run string) bool {
	if r.State != fleet.InstanceBackoff || r.Run == run {
		return false
	}
	r.Resume()
	return true
}

// Resume notes that the instance was started again.
func (r *Record) Resume() {
	why, _, _ := strings.Cut(r.Reason, pauses)
	r.State, r.Reason, r.Due = "", "started again: "+why, time.Time{}
	r.Started++
}

// pauses is what a reason says between an end and the pause.
const pauses = "; starts again in "

// Passed notes an end after which the engine has started the instance again. Where
// nobody looked meanwhile the new run is left alone, whatever the limit says; else
// it is false if the policy allows no more.
func (r *Record) Passed(p agent.RestartPolicy, e End, unseen bool) bool {
	r.Lived(p, e.Lived)
	r.Seen = e.At
	if r.Follow(p, e.Why, e.Code != 0, e.At); r.State != fleet.InstanceBackoff {
		if !unseen {
			return false
		}
		r.Recent = append(r.Recent[min(1, len(r.Recent)):], e.At)
	}
	r.Reason = e.Why
	r.Resume()
	return true
}

// End is how a run ended.
type End struct {
	At    time.Time
	Why   string // in a few words
	Code  int    // exit code
	Lived time.Duration
}

// signals are the names of those that end programs.
var signals = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}

// Signal names the signal that ended a container; engines give 128 plus its number
// as exit code. "" if none did.
func Signal(exitCode int) string { return signals[exitCode-128] }
