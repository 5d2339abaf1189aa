package procfs

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestNamesCannotForgeAStat(t *testing.T) {
	line := "42 (a) R 1 2) (x)) S 7 42 41 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0 98765 1000 250 0 0"
	s, err := parse([]byte(line))
	want := Stat{ID: ID{42, 98765}, State: 'S', PPID: 7, Group: 42, Session: 41, Ticks: 37, RSS: 250, Threads: 1}
	if err != nil || s != want {
		t.Errorf("got %+v, %v", s, err)
	}
	s.State = 'Z'
	if s.Threads = 1; !s.Dead() {
		t.Error("a zombie is not dead")
	}
	if s.Threads = 2; s.Dead() {
		t.Error("dead though a thread lives")
	}
	for _, bad := range []string{"", "42", "42 (x", ") (", "x (a) S 1", strings.Repeat("(", 9), "42 (a) S 1 2 3"} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// Without the kernel's lists of children the tree is the same.
func TestBothWaysToTheTreeAgree(t *testing.T) {
	c := exec.Command("/bin/sh", "-c", "sleep 1000 & echo ready; wait")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	}()
	if _, err := out.Read(make([]byte, 16)); err != nil { // its child is there
		t.Fatal(err)
	}
	if a, b := scan(c.Process.Pid), below(c.Process.Pid); len(a) != 1 || len(b) != 1 || a[0].ID != b[0].ID {
		t.Errorf("%+v and %+v", a, b)
	}
}
