package oidc

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bounds of one exchange with the provider.
const (
	answerTime   = 10 * time.Second
	maxAnswer    = 1 << 20 // bytes
	maxRedirects = 3
)

var (
	errScheme   = errors.New("the address is not https")
	errRedirect = errors.New("the provider redirects too often, or where it must not")
	errTooLarge = errors.New("the answer is too large")
)

// newClient makes the client for everything that is asked of the provider.
func newClient(issuer *url.URL) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerTime
	transport.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{
		Timeout:   answerTime,
		Transport: &guarded{issuer: issuer, next: transport},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			// A code and the client's secret go where they were meant to and nowhere else.
			if len(via) > maxRedirects || via[0].Method != http.MethodGet {
				return errRedirect
			}
			return nil
		},
	}
}

// allowed tells whether a request to the address may be made: by https, or not
// encrypted on this machine where the issuer itself is reached so.
func allowed(issuer, u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	return u.Scheme == "http" && issuer.Scheme == "http" && loopback(issuer.Hostname()) && loopback(u.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// guarded refuses requests to where none may go, also after a redirect, and
// answers that are too large.
type guarded struct {
	issuer *url.URL
	next   http.RoundTripper
}

func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !allowed(g.issuer, r.URL) {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errScheme
	}
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

// bounded fails instead of ending early, so that half an answer is never taken
// for a whole one.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		if n, err := b.ReadCloser.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
