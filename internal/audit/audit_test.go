package audit_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// tampered is a store that somebody has been at.
type tampered struct {
	audit.Store
	entries []audit.Entry
	head    audit.Entry
}

func (s *tampered) Walk(_ context.Context, from int64, fn func(audit.Entry) error) error {
	for _, e := range s.entries {
		if e.Seq < from {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *tampered) Head(context.Context) (int64, string, error) { return s.head.Seq, s.head.Hash, nil }

// chain gives n entries as a real store keeps them.
func chain(t *testing.T, n int) []audit.Entry {
	t.Helper()
	st := storetest.New(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("east", 7200))
	rec := &audit.Recorder{Store: st.Audit(), Now: func() time.Time { now = now.Add(time.Second); return now }}
	ctx := audit.WithActor(t.Context(), audit.Actor{ID: "token:1", Role: "admin", From: "127.0.0.1", Request: "r1"})
	for i := range n {
		if err := rec.Record(ctx, "agent.update", fmt.Sprint("agent/", i), audit.Done, "why", map[string]any{"n": i}, map[string]any{"n": i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	var out []audit.Entry
	if err := st.Audit().Walk(t.Context(), 1, func(e audit.Entry) error { out = append(out, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// rehash makes the chain from entry i on whole again, as a careful forger would.
func rehash(list []audit.Entry, from int) {
	for i := from; i < len(list); i++ {
		list[i].Prev = audit.Origin
		if i > 0 {
			list[i].Prev = list[i-1].Hash
		}
		list[i].Seq = int64(i + 1)
		list[i].Hash = audit.HashOf(list[i])
	}
}

func TestVerify(t *testing.T) {
	whole := chain(t, 6)
	for name, c := range map[string]struct {
		change func(list []audit.Entry) []audit.Entry
		bad    int64
		says   string
	}{
		"nothing": {func(l []audit.Entry) []audit.Entry { return l }, 0, ""},
		"a word changed": {func(l []audit.Entry) []audit.Entry {
			l[2].Reason = "other"
			return l
		}, 3, "changed"},
		"changed and hashed anew": {func(l []audit.Entry) []audit.Entry {
			l[2].Reason = "other"
			l[2].Hash = audit.HashOf(l[2])
			return l
		}, 4, "does not follow"},
		"changed and all hashed anew": {func(l []audit.Entry) []audit.Entry {
			l[2].Reason = "other"
			rehash(l, 2)
			return l
		}, 6, "written anew"},
		"one removed":        {func(l []audit.Entry) []audit.Entry { return slices.Delete(l, 3, 4) }, 4, "entry 4 is missing"},
		"two removed":        {func(l []audit.Entry) []audit.Entry { return slices.Delete(l, 1, 3) }, 2, "entries 2 to 3 are missing"},
		"the first removed":  {func(l []audit.Entry) []audit.Entry { return l[1:] }, 1, "missing"},
		"the last removed":   {func(l []audit.Entry) []audit.Entry { return l[:5] }, 6, "missing at the end"},
		"everything removed": {func([]audit.Entry) []audit.Entry { return nil }, 1, "missing at the end"},
		"two swapped":        {func(l []audit.Entry) []audit.Entry { l[1], l[2] = l[2], l[1]; return l }, 2, "missing"},
		"two swapped and renumbered": {func(l []audit.Entry) []audit.Entry {
			l[1], l[2] = l[2], l[1]
			l[1].Seq, l[2].Seq = 2, 3
			return l
		}, 2, "changed"},
		"one twice": {func(l []audit.Entry) []audit.Entry { return slices.Insert(l, 3, l[2]) }, 4, "second time"},
		"one added": {func(l []audit.Entry) []audit.Entry {
			e := l[5]
			e.Seq, e.Prev = 7, l[5].Hash
			e.Hash = audit.HashOf(e)
			return append(l, e)
		}, 7, "added behind the end"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &tampered{entries: c.change(slices.Clone(whole)), head: whole[5]}
			r, err := audit.Verify(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK != (c.bad == 0) || r.FirstBad != c.bad || !strings.Contains(r.Problem, c.says) {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestVerifyAgainstANoteFromOutside(t *testing.T) {
	whole := chain(t, 4)
	note := audit.Anchor{Seq: 4, Hash: whole[3].Hash}
	forged := slices.Clone(whole)
	forged[0].Actor = "somebody else"
	rehash(forged, 0)
	s := &tampered{entries: forged, head: forged[3]}
	if r, _ := audit.Verify(t.Context(), s); !r.OK {
		t.Fatalf("the forger was not careful: %+v", r)
	}
	if r, _ := audit.Verify(t.Context(), s, note); r.OK || r.FirstBad != 4 {
		t.Errorf("report %+v", r)
	}
	if r, _ := audit.Verify(t.Context(), s, audit.Anchor{Seq: 9, Hash: note.Hash}); r.OK {
		t.Errorf("an entry that was noted is gone: %+v", r)
	}
}

func TestVerifyWhileEntriesAreWritten(t *testing.T) {
	st := storetest.New(t)
	rec := &audit.Recorder{Store: st.Audit(), Now: time.Now}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := rec.Record(context.Background(), "a", "b", audit.Done, "", nil, nil); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 20 {
		if r, err := audit.Verify(t.Context(), st.Audit()); err != nil || !r.OK {
			t.Fatalf("%+v %v", r, err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestHashCountsEveryField(t *testing.T) {
	e := chain(t, 1)[0]
	before := audit.HashOf(e)
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "Hash" {
			continue
		}
		changed := e
		f := reflect.ValueOf(&changed).Elem().Field(i)
		switch x := f.Addr().Interface().(type) {
		case *int64:
			*x++
		case *string:
			*x += "x"
		case *audit.Outcome:
			*x += "x"
		case *json.RawMessage:
			*x = append(slices.Clone(*x), ' ')
		case *time.Time:
			*x = x.Add(time.Microsecond)
		default:
			t.Fatalf("a field of a new type: %s", name)
		}
		if audit.HashOf(changed) == before {
			t.Errorf("%s can be changed without a trace", name)
		}
	}
	shifted := e
	shifted.Actor, shifted.Role = e.Actor+e.Role, ""
	if audit.HashOf(shifted) == before {
		t.Error("text can be moved from one field to the next")
	}
	sameInstant := e
	sameInstant.At = e.At.In(time.FixedZone("west", -3600)).Add(300 * time.Nanosecond)
	if audit.HashOf(sameInstant) != before {
		t.Error("the same microsecond in another zone has another hash")
	}
}

func TestRecorderMakesEntriesSafe(t *testing.T) {
	st := storetest.New(t)
	rec := &audit.Recorder{Store: st.Audit(), Now: time.Now}
	ctx, trace := audit.WithTrace(t.Context())
	if err := rec.Record(ctx, "a", "t\x00\xff"+strings.Repeat("x", 10_000), audit.Done, "", (*int)(nil), nil); err != nil {
		t.Fatal(err)
	}
	list, _, err := st.Audit().Find(ctx, audit.Query{})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if e := list[0]; !utf8.ValidString(e.Target) || strings.Contains(e.Target, "\x00") || len(e.Target) > 4096 || e.Actor != "system" || e.Before != nil {
		t.Errorf("entry %+v", e)
	}
	if trace.Refused() {
		t.Error("what was done counts as refused")
	}
	if err := rec.Record(ctx, "a", "t", audit.Refused, "no", nil, nil); err != nil || !trace.Refused() {
		t.Error("a refusal was not noticed", err)
	}
	if audit.Forget(ctx); trace.Refused() {
		t.Error("it was not forgotten")
	}
	if err := rec.Record(ctx, "a", "t", audit.Done, "", make(chan int), nil); err == nil {
		t.Error("a channel was recorded")
	}
	if err := rec.Record(ctx, "a", "t", audit.Done, "", nil, make(chan int)); err == nil {
		t.Error("a channel was recorded")
	}
	if r, err := audit.Verify(ctx, st.Audit()); err != nil || !r.OK || r.Entries != 2 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestExport(t *testing.T) {
	st := storetest.New(t)
	rec := &audit.Recorder{Store: st.Audit(), Now: time.Now}
	for i := range 1200 { // more than a page
		if err := rec.Record(t.Context(), "agent.start", fmt.Sprint("=HYPERLINK(", i, ")"), audit.Done, "@SUM(A1)\n\"quoted\"", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := audit.Export(t.Context(), st.Audit(), audit.Query{}, audit.CSV, &b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 1201 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
				t.Fatalf("a spreadsheet would calculate %q", cell)
			}
		}
	}
	b.Reset()
	if err := audit.Export(t.Context(), st.Audit(), audit.Query{Limit: 3}, audit.JSONLines, &b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	var newest audit.Entry
	if err := json.Unmarshal([]byte(lines[0]), &newest); err != nil || len(lines) != 1200 || newest.Seq != 1200 || audit.HashOf(newest) != newest.Hash {
		t.Errorf("%d lines, first %+v, %v", len(lines), newest, err)
	}
	if err := audit.Export(t.Context(), st.Audit(), audit.Query{}, "xlsx", &b); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown format: %v", err)
	}
	if err := audit.Export(t.Context(), st.Audit(), audit.Query{}, audit.CSV, full{}); !errors.Is(err, errFull) {
		t.Errorf("full disk: %v", err)
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// silent is a store that does not answer.
type silent struct{ audit.Store }

func (silent) Head(context.Context) (int64, string, error) { return 0, "", errFull }
func (silent) Find(context.Context, audit.Query) ([]audit.Entry, string, error) {
	return nil, "", errFull
}
func (silent) Append(context.Context, ...audit.Entry) error { return errFull }

func TestAStoreThatDoesNotAnswerIsNotABrokenChain(t *testing.T) {
	if _, err := audit.Verify(t.Context(), silent{}); !errors.Is(err, errFull) {
		t.Errorf("verify: %v", err)
	}
	if err := audit.Export(t.Context(), silent{}, audit.Query{}, audit.JSONLines, &bytes.Buffer{}); !errors.Is(err, errFull) {
		t.Errorf("export: %v", err)
	}
	if err := (&audit.Recorder{Store: silent{}, Now: time.Now}).Record(t.Context(), "a", "b", audit.Done, "", nil, nil); !errors.Is(err, errFull) {
		t.Errorf("record: %v", err)
	}
}
