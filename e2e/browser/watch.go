package browser

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
)

// Request is one request that a page made.
type Request struct {
	Method, URL string
	Kind        string // document, stylesheet, script, …
	Status      int64  // 0 while nothing was answered
	Bytes       int64  // transferred, headers and compressed body; 0 from a cache
	Began       time.Time
	Failed      string // why, else empty
}

// watch keeps what a tab did and what went wrong in it.
type watch struct {
	mu       sync.Mutex
	problems []string
	requests []network.RequestID
	byID     map[network.RequestID]*Request
	status   int
}

func newWatch() *watch { return &watch{byID: map[network.RequestID]*Request{}} }

// see is called by the loop that reads the browser's messages.
func (w *watch) see(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.note("console.%s: %s", e.Type, arguments(e.Args))
		}
	case *runtime.EventExceptionThrown:
		w.note("uncaught: %s", exception(e.ExceptionDetails))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			w.note("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		if e.Issue.Code == audits.InspectorIssueCodePerformanceIssue {
			return // advice; speed is measured elsewhere
		}
		details, _ := json.Marshal(e.Issue.Details)
		w.note("issue: %s %s", e.Issue.Code, short(string(details)))
	default:
		w.seeNetwork(ev)
	}
}

func (w *watch) seeNetwork(ev any) {
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		if strings.HasPrefix(e.Request.URL, "data:") {
			return
		}
		if w.byID[e.RequestID] == nil {
			w.requests = append(w.requests, e.RequestID)
		}
		w.byID[e.RequestID] = &Request{Method: e.Request.Method, URL: e.Request.URL, Kind: strings.ToLower(string(e.Type)), Began: time.Now()}
	case *network.EventResponseReceived:
		if r := w.byID[e.RequestID]; r != nil {
			r.Status = e.Response.Status
		}
		if e.Type == network.ResourceTypeDocument {
			w.status = int(e.Response.Status)
		}
	case *network.EventLoadingFinished:
		if r := w.byID[e.RequestID]; r != nil {
			r.Bytes = int64(e.EncodedDataLength)
		}
	case *network.EventLoadingFailed:
		if r := w.byID[e.RequestID]; r != nil {
			r.Failed = e.ErrorText
			if !e.Canceled {
				w.note("request failed: %s %s: %s", r.Method, r.URL, e.ErrorText)
			}
		}
	}
}

// note keeps a problem. Some the browser tells twice.
func (w *watch) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.problems, text) {
		w.problems = append(w.problems, text)
	}
}

func arguments(args []*runtime.RemoteObject) string {
	parts := make([]string, len(args))
	for i, a := range args {
		if parts[i] = a.Description; parts[i] == "" {
			parts[i] = string(a.Value)
		}
	}
	return strings.Join(parts, " ")
}

func exception(d *runtime.ExceptionDetails) string {
	text := d.Text
	if d.Exception != nil {
		text += " " + d.Exception.Description
	}
	return fmt.Sprintf("%s (%s:%d)", text, d.URL, d.LineNumber+1)
}

func (w *watch) document() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Problems gives what went wrong in the tab since the last Forget: messages of
// the console that warn or worse, uncaught exceptions, violations of the
// content security policy and of Trusted Types, issues that the browser itself
// reports, and requests that failed. Those that hold one of the expected texts
// are left out.
func (t *Tab) Problems(expected ...string) []string {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.watch.problems), func(p string) bool {
		return slices.ContainsFunc(expected, func(e string) bool { return strings.Contains(p, e) })
	})
}

// Requests gives the requests since the last Forget, in their order.
func (t *Tab) Requests() []Request {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	out := make([]Request, len(t.watch.requests))
	for i, id := range t.watch.requests {
		out[i] = *t.watch.byID[id]
	}
	return out
}

// Forget begins anew with problems and requests.
func (t *Tab) Forget() {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	t.watch.problems, t.watch.requests = nil, nil
	clear(t.watch.byID)
}
