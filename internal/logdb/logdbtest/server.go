// Package logdbtest runs a real VictoriaLogs server for a test.
package logdbtest

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server runs VictoriaLogs until the test ends, and gives its address and a way to
// end it earlier.
func Server(t testing.TB, dir, listen string) (url string, stop func()) {
	t.Helper()
	if listen == "" {
		listen = free(t)
	}
	cmd := exec.Command(program(t), "-storageDataPath="+dir, "-httpListenAddr="+listen, "-retentionPeriod=400d", "-memory.allowedBytes=64MB", "-loggerLevel=ERROR",
		"-storage.minFreeDiskSpaceBytes=1", "-inmemoryDataFlushInterval=1s")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	t.Cleanup(stop)
	url = "http://" + listen
	until := time.Now().Add(30 * time.Second)
	for {
		r, err := http.Get(url + "/health")
		if err == nil {
			_ = r.Body.Close()
			return url, stop
		}
		select {
		case <-ended:
			t.Fatalf("the log server ended: %s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(until) {
			t.Fatalf("the log server does not answer: %v", err)
		}
	}
}

func free(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// program gives the path of the server, built first where it is missing.
func program(t testing.TB) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "scripts", "victorialogs.sh"))
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the log server: %v", err)
	}
	return strings.TrimSpace(string(path))
}
