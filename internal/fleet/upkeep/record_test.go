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
