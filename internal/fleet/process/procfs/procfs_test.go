package procfs_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
)

// run starts a shell that is ended with the test.
func run(t *testing.T, env, script string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/bin/sh", "-c", script)
	c.Env = append(os.Environ(), env)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil { // it said that it is ready
		t.Fatal(err)
	}
	return c
}

func TestATreeIsSeen(t *testing.T) {
	mark := fmt.Sprintf("PROCFS_TEST=%d-here", os.Getpid()) // the same test may run elsewhere on this machine
	c := run(t, mark, "sleep 1000 & sh -c 'sleep 1001 & echo ready; wait' & wait")
	var tree []procfs.Stat
	var found []procfs.ID
	// A process that is just becoming another program shows no environment.
	for deadline := time.Now().Add(time.Minute); (len(tree) != 3 || len(found) != 4) && time.Now().Before(deadline); {
		tree, found = procfs.Descendants(c.Process.Pid), procfs.WithEnviron(mark)
	}
	if len(tree) != 3 {
		t.Fatalf("descendants %+v", tree)
	}
	own, _ := procfs.Read(os.Getpid()) // a session that began outside this pid namespace is 0
	for _, s := range tree {
		if s.Group != c.Process.Pid || s.Start == 0 || s.Session != own.Session || !s.Alive() {
			t.Errorf("stat %+v", s)
		}
	}
	if len(found) != 4 || !slices.Contains(found, procfs.Of(c.Process.Pid)) {
		t.Errorf("by environment %+v", found)
	}
	if procfs.HasEnviron(c.Process.Pid, strings.TrimSuffix(mark, "re")) || procfs.HasEnviron(c.Process.Pid, mark, "NO=NO") {
		t.Error("a part of an entry is taken for the entry")
	}
}

func TestOnlyTheVeryProcessIsSignalled(t *testing.T) {
	c := run(t, "A=B", "echo ready; sleep 1000")
	id := procfs.Of(c.Process.Pid)
	other := procfs.ID{PID: id.PID, Start: id.Start + 1}
	if other.Alive() || other.Signal(syscall.SIGKILL) || !other.Wait(t.Context()) {
		t.Error("another process is taken for it")
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if id.Wait(short) {
		t.Error("it did not end")
	}
	if !id.Signal(syscall.SIGKILL) || !id.Wait(t.Context()) {
		t.Error("it was not ended")
	}
	if id.Alive() { // it is a zombie until it is waited for
		t.Error("a zombie is taken for alive")
	}
	_ = c.Wait()
	if id.Signal(syscall.SIGKILL) || (procfs.ID{}).Alive() || (procfs.ID{PID: 1}).Signal(0) {
		t.Error("what is gone was signalled")
	}
	if procfs.BootID() == "" {
		t.Error("no boot id")
	}
}

func TestTheListenerOfAPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	who, listens := procfs.ListenerOf(port)
	if !listens || who.PID != os.Getpid() || who.Command == "" {
		t.Errorf("%+v %t", who, listens)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if who, listens = procfs.ListenerOf(port); listens || who.PID != 0 {
		t.Errorf("closed: %+v %t", who, listens)
	}
}
