package web_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/logs/logstest"
)

func TestLogsOfAllAgentsAreSearchedWithoutScripts(t *testing.T) {
	h := lively(t)
	at := time.Now().UTC().Add(-10 * time.Minute)
	trace := logstest.Entry(at.Add(100*time.Second), "memory", "stderr", "java.lang.Error: deep\n\tat a.B(B.java:1)\n\tat <b>x</b>")
	trace.Level, trace.Lines = logs.Error, 3
	list := []logs.Entry{logstest.Entry(at, "memory", "stdout", `{"level":"info","msg":"<script>alert(1)</script> order","n":7}`), trace,
		logstest.Entry(at.Add(2*time.Minute), "store", "stdout", "\x1b[31mred\x1b[0m WARN order \u202eturned")}
	for i := range 250 {
		list = append(list, logstest.Entry(at.Add(time.Duration(i)*time.Second), "user", "stdout", fmt.Sprint("INFO filler ", i)))
	}
	must(t, h.entries.Add(h.Context(), list))
	page := h.page(auth.Viewer, "/logs")
	h.contains(page, "filler 249", "java.lang.Error: deep", "2 more lines", "at <b>x</b>", "253 lines", "Older lines")
	h.marks(page, `class="bar-error"`, `data-tail="/api/platform/logs/tail?`, `class="a-red">red<`)
	h.lacks(page, "<b>x", "\u202e", "\x1b", "filler 20<")
	follow := func(pattern, page string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no link like %s", pattern)
		}
		return h.page(auth.Viewer, strings.ReplaceAll(m[1], "&amp;", "&"))
	}
	h.contains(follow(`href="(/logs\?[^"]*cursor=[^"]*)"`, page), "filler 20", "<script>alert(1)</script> order")
	page = h.page(auth.Viewer, "/logs?q=order&agent=MEMORY")
	h.contains(page, "<script>alert(1)</script>", "n=7")
	h.marks(page, `<mark class="">order</mark>`)
	h.lacks(page, "<script>alert", "filler", "turned")
	h.contains(follow(`href="(/logs\?[^"]*since=[^"]*)" tabindex`, page), "Back to now", "1 line")
	h.marks(follow(`href="(/logs/around\?[^"]*)"`, page), `aria-current="true"`, "java.lang.Error: deep", "2 lines")
	h.contains(h.page(auth.Viewer, "/logs?filter=x"), "The filter can't be understood")
	h.contains(h.page(auth.Viewer, "/logs?q=nothing-like-this"), "No line matches")
	h.entries.Refuse = func() error {
		return fault.New(fault.Unavailable, "logs.disk_full", "The disk is nearly full").Do("Free disk space.")
	}
	h.contains(h.page(auth.Viewer, "/logs"), "The disk is nearly full", "Free disk space.")
}
