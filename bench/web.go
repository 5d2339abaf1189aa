package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
	"github.com/waooaw/platform-portal/e2e/drive"
)

// crowd is how many agents the page of agents shows in the group web.
const crowd = 500

// site is a portal with a crowd of agents, a browser, and the session of an
// operator.
type site struct {
	*drive.Portal
	browser *browser.Browser
	session *http.Cookie
}

// measureWeb measures the pages in a real browser.
func measureWeb(ctx context.Context, b *bench) error {
	s, err := b.site(ctx, "web")
	if err != nil {
		return err
	}
	defer s.browser.Close()
	if err := s.measureLoad(b); err != nil {
		return err
	}
	if err := s.measureServer(ctx, b); err != nil {
		return err
	}
	return errors.Join(s.measureDelivery(ctx, b), s.measureClicks(b), s.Stop())
}

// site starts a portal with a crowd of agents that nobody runs, and a browser.
func (b *bench) site(ctx context.Context, name string) (*site, error) {
	p, err := b.portal(name)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	docs := make([]map[string]any, crowd)
	for i := range docs {
		docs[i] = sleeper(i)
	}
	if err := p.Call(ctx, http.MethodPost, "/agents/import", docs, nil); err != nil {
		return nil, err
	}
	s := &site{Portal: p}
	if s.session, err = signIn(p); err != nil {
		return nil, err
	}
	s.browser, err = browser.Start(b.dir + "/" + name + "-profile")
	return s, err
}

func sleeper(i int) map[string]any {
	return map[string]any{"name": fmt.Sprintf("sleeper-%03d", i), "display_name": fmt.Sprintf("Sleeper %d", i), "tier": i%6 + 1,
		"command": "/bin/sleep", "args": []string{"86400"}, "labels": map[string]string{"team": fmt.Sprint("team-", i%20)}}
}

// signIn uses the link that the portal printed, and gives the session's cookie.
func signIn(p *drive.Portal) (*http.Cookie, error) {
	link, err := p.SignInLink()
	if err != nil {
		return nil, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(link, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		if c.HttpOnly {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the sign-in link was answered with %s and no session", resp.Status)
}

// visit opens a tab of a new visitor, with an empty cache, who is signed in.
func (s *site) visit() (*browser.Tab, error) {
	t, err := s.browser.Visitor()
	if err != nil {
		return nil, err
	}
	return t, errors.Join(t.SetCookie(s.URL, s.session.Name, s.session.Value), t.Resize(browser.Laptop))
}

// usable is a condition, and the time of the page's clock at which it was first
// seen to hold: every agent stands there, the scripts have run, and the live
// connection is open.
const usable = `document.querySelectorAll('[data-row^="agent:"]').length >= 500 && document.readyState === 'complete' &&
	document.querySelector('[data-live-state]')?.dataset.liveState === 'live'`

// stopwatch runs in the page from its beginning.
const stopwatch = `(() => {
	const look = () => { if (%s) window.usableAt = performance.now(); else setTimeout(look, 4) };
	window.longest = 0;
	new PerformanceObserver(l => l.getEntries().forEach(e => { window.blockedUntil = e.startTime + e.duration; window.longest = Math.max(window.longest, e.duration) }))
		.observe({type: 'longtask', buffered: true});
	look() })()`

// load is what one visit cost.
type load struct {
	Paint   float64 `json:"paint"`  // first contentful paint, ms
	Usable  float64 `json:"usable"` // ms
	Longest float64 `json:"longest"`
}

// readLoad counts a page as usable when it has also been painted, and its
// scripts no longer keep it from answering.
const readLoad = `(() => { const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
	return {paint, usable: Math.max(window.usableAt, paint, window.blockedUntil ?? 0), longest: window.longest} })()`

// measureLoad measures first visits, on this machine and on a slow one.
func (s *site) measureLoad(b *bench) error {
	var paint, ready, longest spread
	var requests []browser.Request
	for i := range 11 {
		l, r, err := s.firstVisit(1, 0)
		if err != nil {
			return err
		}
		if i == 0 {
			continue // the browser itself has just started
		}
		paint, ready, longest, requests = append(paint, ms(l.Paint)), append(ready, ms(l.Usable)), append(longest, ms(l.Longest)), r
	}
	b.row("Agents, 500 agents, first visit: first contentful paint", "< 300 ms", "%s", paint)
	b.row("Agents, 500 agents, first visit: usable and live", "< 600 ms", "%s", ready)
	b.row("Agents, 500 agents, first visit: longest task of the page", "", "%s", longest)
	bytes := int64(0)
	for _, r := range requests {
		bytes += r.Bytes
	}
	b.row("Agents, 500 agents, first visit: requests", "≤ 10", "%d", len(requests))
	b.row("Agents, 500 agents, first visit: transferred", "≤ 150 KB", "%.1f KB", float64(bytes)/1000)
	var slow spread
	for range 5 {
		l, _, err := s.firstVisit(4, 10)
		if err != nil {
			return err
		}
		slow = append(slow, ms(l.Usable))
	}
	b.row("Agents, 500 agents, first visit, CPU ÷ 4 and 10 Mbit/s: usable and live", "< 2 s", "%s", slow)
	return nil
}

func ms(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

// firstVisit opens the page as somebody who was never there.
func (s *site) firstVisit(slower, mbit float64) (l load, r []browser.Request, err error) {
	t, err := s.visit()
	if err != nil {
		return l, nil, err
	}
	defer t.Close()
	if err := errors.Join(t.Slow(slower, mbit), t.EachPage(fmt.Sprintf(stopwatch, usable))); err != nil {
		return l, nil, err
	}
	if err := t.Open(s.URL + "/agents?size=500"); err != nil {
		return l, nil, err
	}
	if err := t.Wait("the page to be usable", "window.usableAt > 0 && performance.getEntriesByName('first-contentful-paint').length"); err != nil {
		return l, nil, err
	}
	l, err = browser.Eval[load](t, readLoad)
	return l, t.Requests(), err
}

// measureServer measures the page without a browser, as it is sent to one.
func (s *site) measureServer(ctx context.Context, b *bench) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	at, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	jar.SetCookies(at, []*http.Cookie{s.session})
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableCompression: true}}
	for _, path := range []string{"/agents?size=500", "/"} {
		var times spread
		size := 0
		for range 500 {
			d, err := timed(func() error {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
				if err != nil {
					return err
				}
				req.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
				req.Header.Set("Accept", "text/html")
				resp, err := client.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				size = len(body)
				if err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s: %s", path, resp.Status)
				}
				return err
			})
			if err != nil {
				return err
			}
			times = append(times, d)
		}
		b.row(fmt.Sprintf("server time of %s, %.0f KB", path, float64(size)/1000), "p99 < 30 ms", "%s", times)
	}
	return nil
}
