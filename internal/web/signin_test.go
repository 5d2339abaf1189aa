package web

import (
	"net/url"
	"strings"
	"testing"
)

func TestWhereToGoAfterTheSignIn(t *testing.T) {
	for next, want := range map[string]string{
		"/": "/", "/agents": "/agents", "/agents?q=//x&y=%2F%2Fz#top": "/agents?q=//x&y=%2F%2Fz#top", "/a%20b": "/a%20b", "/auth/cli?state=x": "/auth/cli?state=x",
		"": "/", "agents": "/", "?x": "/", "#x": "/", "//evil.example": "/", "///evil.example": "/", "/\\evil.example": "/", "\\/evil.example": "/",
		"https://evil.example": "/", "https:evil.example": "/", "javascript:alert(1)": "/", "//u@evil.example/": "/", "/\t/evil.example": "/", "/\n/evil": "/",
		"/%5cevil.example": "/", "/%2fevil.example": "/", "/%09/evil.example": "/", "/%zz": "/", "/ä": "/", "/a\x00b": "/", "/a b": "/",
		"/auth/login?next=/": "/", "/auth/link/x": "/", "/auth/sign-out": "/", "/" + strings.Repeat("a", maxNext): "/",
	} {
		if got := afterSignIn(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

// Whatever is asked for, browsers stay where they are.
func FuzzWhereToGoAfterTheSignIn(f *testing.F) {
	for _, seed := range []string{"/agents", "//evil.example", "/\\evil.example", "https://evil.example", "/%2f%2fevil.example", "/.//evil.example"} {
		f.Add(seed)
	}
	base, err := url.Parse("https://portal.example.com/auth/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := afterSignIn(next)
		to, err := base.Parse(got)
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || strings.HasPrefix(strings.ReplaceAll(got, "\\", "/"), "//") {
			t.Errorf("%q leads to %q", next, got)
		}
	})
}
