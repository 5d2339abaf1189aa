package preference_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

func service(t *testing.T) *preference.Service {
	s := storetest.New(t)
	return &preference.Service{Store: s.Preferences(), Tx: s, Now: time.Now}
}

func TestWhatIsRememberedComesBack(t *testing.T) {
	s, ctx := service(t), t.Context()
	if err := s.Put(ctx, "user:1", "agents/views/a", map[string]string{"q": "<b>"}); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := s.Get(ctx, "user:1", "agents/views/a", &got); err != nil || got["q"] != "<b>" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := s.Get(ctx, "user:2", "agents/views/a", &got); !fault.Is(err, fault.NotFound) {
		t.Errorf("another person's preference: %v", err)
	}
	list, err := s.List(ctx, "user:1", "agents/views/")
	if err != nil || len(list) != 1 || list[0].Decode(&got) != nil {
		t.Errorf("list %v, %v", list, err)
	}
	var wrong int
	if err := list[0].Decode(&wrong); err == nil || fault.As(err) != nil {
		t.Errorf("a value of another kind: %v", err)
	}
	if err := s.Delete(ctx, "user:1", "agents/views/a"); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	s, ctx := service(t), t.Context()
	for key, kind := range map[string]fault.Kind{
		"": fault.Invalid, "A": fault.Invalid, "a//b": fault.Invalid, "a/": fault.Invalid, "../x": fault.Invalid, strings.Repeat("k", 101): fault.Invalid,
		strings.Repeat("k", 100): "",
	} {
		if err := s.Put(ctx, "me", key, 1); fault.KindOf(err) != kind {
			t.Errorf("key %q gives %v", key, err)
		}
	}
	if err := s.Put(ctx, "", "a", 1); !fault.Is(err, fault.Forbidden) {
		t.Errorf("of nobody: %v", err)
	}
	if err := s.Put(ctx, "me", "a", strings.Repeat("x", preference.MaxBytes)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("a long value: %v", err)
	}
	for i := range preference.MaxKeys - 1 {
		if err := s.Put(ctx, "me", fmt.Sprint("k", i), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(ctx, "me", "more", 1); !fault.Is(err, fault.TooLarge) {
		t.Errorf("one too many: %v", err)
	}
	if err := s.Put(ctx, "me", "k7", 8); err != nil {
		t.Errorf("one in the place of another: %v", err)
	}
	if err := s.Put(ctx, "you", "more", 1); err != nil {
		t.Errorf("another person's: %v", err)
	}
}
