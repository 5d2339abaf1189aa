package portal

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A connection that a browser opened in advance does not hold the portal up when
// it stops; one that is in use is not cut.
func TestConnectionsThatSayNothing(t *testing.T) {
	var s silent
	entered, leave := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "whole")
	}))
	server.Config.ConnState = s.note
	server.Start()
	defer server.Close()
	early, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get(server.URL)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for noted := 0; noted != 1; <-tick.C { // the server learns of it a moment later
		s.mu.Lock()
		noted = len(s.conns)
		s.mu.Unlock()
	}
	s.close()
	if n, err := early.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the silent connection is still there: %d, %v", n, err)
	}
	close(leave)
	if got := <-answer; got != "whole" {
		t.Errorf("the one in use got %q", got)
	}
}
