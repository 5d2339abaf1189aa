package bus_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/waooaw/platform-portal/internal/bus"
)

const publisherDir = "BUS_TEST_PUBLISHER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(publisherDir); dir != "" {
		fmt.Fprintln(os.Stderr, publishForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// publishForever is the child process: it prints the number of each command
// that the bus has taken.
func publishForever(dir string) error {
	b, err := bus.New(bus.Config{Dir: dir})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := b.Start(ctx); err != nil {
		return err
	}
	if err := b.Provision(ctx, "a"); err != nil {
		return err
	}
	for i := 1; ; i++ {
		if err := b.Publish(ctx, "a", strconv.Itoa(i), []byte(strconv.Itoa(i))); err != nil {
			return err
		}
		if _, err := fmt.Println(i); err != nil {
			return err
		}
	}
}

func TestTakenCommandsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), publisherDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer cmd.Wait()
	taken := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		taken, err = strconv.Atoi(lines.Text())
		must(t, err)
		if taken == 200 {
			must(t, cmd.Process.Kill())
		}
	}
	if taken < 200 {
		t.Fatalf("the child ended by itself after %d", taken)
	}
	b := start(t, bus.Config{Dir: dir})
	s, err := b.Stats(t.Context(), "a")
	must(t, err)
	if s.Pending < taken {
		t.Fatalf("%d commands were taken, %d are left", taken, s.Pending)
	}
	_, js := connect(t, b, "a")
	for i := 1; i <= taken; i++ {
		msg, ok := take(t, js, "a")
		if !ok || string(msg.Data()) != strconv.Itoa(i) {
			t.Fatalf("command %d is not there", i)
		}
		must(t, msg.Ack())
	}
	must(t, b.Publish(t.Context(), "a", strconv.Itoa(taken), []byte("again")))
	if s, err := b.Stats(t.Context(), "a"); err != nil || s.Pending > 1 {
		t.Fatalf("an id from before the crash was taken again: %+v, %v", s, err)
	}
}
