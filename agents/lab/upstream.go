package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// upstream is a service that the agent needs.
type upstream struct {
	url    string
	proof  string // shows who asks, and changes with the agent's credential
	voice  *voice
	client *http.Client

	mu    sync.Mutex
	wrong error
}

// upstreamTime is how long the agent waits for its upstream.
const upstreamTime = 600 * time.Millisecond

func newUpstream(address, credential string, v *voice) *upstream {
	sum := sha256.Sum256([]byte("lab " + credential))
	return &upstream{url: address, proof: hex.EncodeToString(sum[:]), voice: v,
		client: &http.Client{Timeout: upstreamTime, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// first asks once and goes on asking. With needed, a failure is the end.
func (u *upstream) first(ctx context.Context, needed bool) error {
	err := u.ask(ctx)
	if err != nil && needed {
		return err
	}
	go func() {
		for {
			pause(400 * time.Millisecond)
			_ = u.ask(context.WithoutCancel(ctx))
		}
	}()
	return nil
}

// state is what came of asking last.
func (u *upstream) state() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.wrong
}

func (u *upstream) ask(ctx context.Context) error {
	e, err := u.try(ctx)
	if err != nil {
		u.voice.say(e, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wrong = err
	return err
}

func (u *upstream) try(ctx context.Context) (event, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return refused, complaint{"WHY": err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+u.proof)
	req.Header.Set("X-Sent-At", time.Now().UTC().Format(time.RFC3339Nano))
	host, port, _ := net.SplitHostPort(req.URL.Host)
	c := complaint{"URL": u.url, "HOST": host, "PORT": port}
	resp, err := u.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			c["WHY"] = ue.Err.Error()
		}
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return refused, c
		case ue != nil && ue.Timeout():
			c["N"] = fmt.Sprint(upstreamTime.Milliseconds())
			return slow, c
		}
		return refused, c
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	c["WHY"] = strings.TrimSpace(string(body))
	switch resp.StatusCode {
	case http.StatusOK:
		return "", nil
	case http.StatusUnauthorized:
		return expired, c
	case http.StatusForbidden:
		theirs, err := http.ParseTime(resp.Header.Get("Date"))
		if err == nil {
			c["N"] = fmt.Sprint(int(time.Until(theirs).Abs().Seconds()))
			c["AT"] = theirs.UTC().Format(time.RFC3339)
			c["NOW"] = time.Now().UTC().Format(time.RFC3339)
		}
		return skewed, c
	}
	c["WHY"] = resp.Status
	return slow, c
}
