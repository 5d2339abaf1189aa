package happenings_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/happenings"
)

func all(happenings.Happening) bool { return true }

func TestTheNewestIsFoundByName(t *testing.T) {
	var b happenings.Book
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, h := range []happenings.Happening{
		{Name: "web-abc-1", Reason: "FailedMount", Message: "one"}, {Name: "web-abc-1", Reason: "FailedMount", Message: "one again"},
		{Name: "webs-1", Reason: "Other"}, {Name: "web", Reason: "FailedCreate"},
	} {
		h.At = at.Add(time.Duration(i) * time.Second)
		b.Note(h)
	}
	if h, ok := b.Newest("web", at, all); !ok || h.Reason != "FailedCreate" {
		t.Errorf("found %+v", h)
	}
	if h, ok := b.Newest("web-abc-1", at, all); !ok || h.Message != "one again" {
		t.Errorf("found %+v", h)
	}
	if h, ok := b.Newest("web", at.Add(time.Minute), all); ok {
		t.Errorf("found %+v, which is older", h)
	}
	if h, ok := b.Newest("web", at, func(h happenings.Happening) bool { return h.Reason == "Other" }); ok {
		t.Errorf("found %+v of another object", h)
	}
}

func TestTheBookIsBounded(t *testing.T) {
	var b happenings.Book
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5000 {
		b.Note(happenings.Happening{Name: fmt.Sprintf("pod%d", i), Reason: "x", At: at})
	}
	for i := range 100 {
		b.Note(happenings.Happening{Name: "pod4999", Reason: fmt.Sprint("reason", i), Message: strings.Repeat("m", i), At: at.Add(time.Duration(i))})
	}
	if _, ok := b.Newest("pod0", at, all); ok {
		t.Error("the oldest is still there")
	}
	kept := 0
	b.Newest("pod4999", at, func(happenings.Happening) bool { kept++; return true })
	if kept != 4 {
		t.Errorf("%d are kept of one object", kept)
	}
}
