package upkeep_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

func TestRecordsAreOfOneLaunch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "a.json")
	rec := upkeep.ReadRecord(file, "first")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	policy := agent.RestartPolicy{MaxRestarts: 1}
	rec.Follow(policy, "exit code 1", true, now)
	if rec.State != fleet.InstanceBackoff || !rec.Due.Equal(now.Add(100*time.Millisecond)) || rec.Reason != "exit code 1; starts again in 100ms" {
		t.Errorf("%+v", rec)
	}
	if err := rec.Write(file); err != nil {
		t.Fatal(err)
	}
	again := upkeep.ReadRecord(file, "first")
	if again.State != fleet.InstanceBackoff || !again.Due.Equal(rec.Due) {
		t.Errorf("read %+v", again)
	}
	again.Follow(policy, "exit code 2", true, now)
	if again.State != fleet.InstanceFailed || again.Reason != "crash loop: 2 starts within 5m, last exit code 2" {
		t.Errorf("%+v", again)
	}
	if other := upkeep.ReadRecord(file, "second"); other.State != "" || len(other.Recent) > 0 {
		t.Errorf("another launch begins with %+v", other)
	}
}

func TestRestartsThatNobodySaw(t *testing.T) {
	policy := agent.RestartPolicy{MaxRestarts: 2}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rec := upkeep.Record{Current: "first", Counted: 1}
	for _, c := range []struct {
		restarts int
		run      string
		want     int
	}{{1, "first", 0}, {4, "other", 3}, {0, "other", 1}, {0, "first", 0}} {
		if got := rec.Missed(c.restarts, c.run); got != c.want {
			t.Errorf("%d restarts and the run %s: missed %d", c.restarts, c.run, got)
		}
	}
	end := upkeep.End{At: at, Why: "exit code 3", Code: 3}
	for i := range 3 { // one more than is allowed
		if !rec.Passed(policy, end, true) || rec.State != "" || rec.Started != i+1 || rec.Reason != "started again: exit code 3" {
			t.Errorf("after %d ends: %+v", i+1, rec)
		}
	}
	if rec.Passed(policy, end, false) || rec.State != fleet.InstanceFailed || rec.Started != 3 {
		t.Errorf("the limit is over, and it is seen: %+v", rec)
	}
}

func TestWhatIsWaitedForBeginsOnce(t *testing.T) {
	rec := upkeep.Record{Run: "first"}
	rec.Follow(agent.RestartPolicy{}, "exit code 1", true, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if rec.Resumed("first") || !rec.Resumed("second") || rec.Resumed("second") || rec.Started != 1 || rec.Reason != "started again: exit code 1" {
		t.Errorf("%+v", rec)
	}
}

func TestAddressesAsSeenFromOutside(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:8080": "http://host:8080", "nats://localhost:4222": "nats://host:4222", "http://[::1]": "http://host",
		"https://portal.example": "https://portal.example", "no address": "no address",
	} {
		if got := upkeep.Outside(in, "host"); got != want {
			t.Errorf("%s becomes %s", in, got)
		}
	}
}
