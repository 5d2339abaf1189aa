package storetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

var access = []promise{
	{"a token is found by hash and id as it was stored", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Tokens()
		want := token(1, "ci")
		want.ExpiresAt = after(time.Hour)
		must(t, k.CreateToken(ctx, want))
		got, err := k.TokenByHash(ctx, want.Hash)
		must(t, err)
		equal(t, "token", *got, want)
		must(t, k.TouchToken(ctx, want.ID, *after(time.Second)))
		must(t, k.RevokeToken(ctx, want.ID, *after(time.Minute)))
		must(t, k.RevokeToken(ctx, want.ID, *after(time.Hour))) // stays as it is
		want.LastUsedAt, want.RevokedAt = after(time.Second), after(time.Minute)
		got, err = k.Token(ctx, want.ID)
		must(t, err)
		equal(t, "token", *got, want)
	}},
	{"a name is taken until its token is revoked", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Tokens()
		must(t, k.CreateToken(ctx, token(1, "ci")))
		wantKind(t, k.CreateToken(ctx, token(2, "ci")), fault.Conflict)
		must(t, k.RevokeToken(ctx, token(1, "").ID, epoch))
		must(t, k.CreateToken(ctx, token(2, "ci")))
		wantKind(t, k.CreateToken(ctx, token(2, "other")), fault.Conflict) // its id
	}},
	{"unknown tokens are not found", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Tokens()
		_, err := k.Token(ctx, "none")
		wantKind(t, err, fault.NotFound)
		_, err = k.TokenByHash(ctx, "none")
		wantKind(t, err, fault.NotFound)
		wantKind(t, k.RevokeToken(ctx, "none", epoch), fault.NotFound)
		wantKind(t, k.TouchToken(ctx, "none", epoch), fault.NotFound)
	}},
	{"tokens are listed newest first, page by page", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Tokens()
		for i := range 5 {
			must(t, k.CreateToken(ctx, token(i, uuid(i))))
		}
		got, cursor := []string{}, ""
		for {
			list, next, err := k.Tokens(ctx, "", cursor, 2)
			must(t, err)
			for _, one := range list {
				got = append(got, one.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		equal(t, "tokens", got, []string{uuid(4), uuid(3), uuid(2), uuid(1), uuid(0)})
	}},
	{"an agent has one credential", func(t *testing.T, s *store.Store) {
		ctx, c := t.Context(), s.Credentials()
		a := create(t, s, draft("one"))
		_, err := c.CredentialOf(ctx, a.ID)
		wantKind(t, err, fault.NotFound)
		for _, hash := range []string{"first", "second"} {
			want := auth.Credential{AgentID: a.ID, Hash: hash, CreatedAt: epoch}
			must(t, c.PutCredential(ctx, want))
			got, err := c.CredentialOf(ctx, a.ID)
			must(t, err)
			equal(t, "credential", *got, want)
		}
		must(t, c.DeleteCredential(ctx, a.ID))
		must(t, c.DeleteCredential(ctx, a.ID))
		_, err = c.CredentialOf(ctx, a.ID)
		wantKind(t, err, fault.NotFound)
	}},
	{"a sign-in link works once, in its time", func(t *testing.T, s *store.Store) {
		ctx, l := t.Context(), s.Links()
		must(t, l.PutLink(ctx, "h", auth.Link{Role: auth.Admin, UserID: "u"}, *after(time.Minute)))
		wantKind(t, l.PutLink(ctx, "h", auth.Link{Role: auth.Viewer}, epoch), fault.Conflict)
		_, err := l.TakeLink(ctx, "h", *after(time.Minute)) // too late
		wantKind(t, err, fault.NotFound)
		var group sync.WaitGroup
		var won atomic.Int32
		for range 6 {
			group.Go(func() {
				if got, err := l.TakeLink(ctx, "h", epoch); err == nil && got == (auth.Link{Role: auth.Admin, UserID: "u"}) {
					won.Add(1)
				} else if !fault.Is(err, fault.NotFound) {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		group.Wait()
		equal(t, "times taken", won.Load(), int32(1))
	}},
	{"a request is answered again as before, for its principal alone", replay},
}

func token(n int, name string) auth.Token {
	return auth.Token{
		ID: uuid(n), Name: name, Role: auth.Operator, Hash: "hash-" + uuid(n), CreatedBy: "system",
		CreatedAt: *after(time.Duration(n) * time.Microsecond),
	}
}

func replay(t *testing.T, s *store.Store) {
	ctx, r := t.Context(), s.Idempotency()
	want := auth.Replay{
		Key: "k'1", Principal: "token:a", Method: "POST", Path: "/api/platform/agents?x=1", BodyHash: "b", Status: 201,
		Header: map[string]string{"Location": "/x", "ETag": `"1"`}, Body: []byte("{\"a\":\x00\xff}"), CreatedAt: epoch,
	}
	must(t, r.PutReplay(ctx, want))
	wantKind(t, r.PutReplay(ctx, want), fault.Conflict)
	got, err := r.Replay(ctx, want.Principal, want.Key)
	must(t, err)
	equal(t, "replay", *got, want)
	_, err = r.Replay(ctx, "token:b", want.Key)
	wantKind(t, err, fault.NotFound)

	other := auth.Replay{Key: want.Key, Principal: "token:b", Status: 204, CreatedAt: *after(time.Hour)}
	must(t, r.PutReplay(ctx, other))
	must(t, r.PruneReplays(ctx, *after(time.Minute)))
	_, err = r.Replay(ctx, want.Principal, want.Key)
	wantKind(t, err, fault.NotFound)
	got, err = r.Replay(ctx, other.Principal, other.Key)
	must(t, err)
	equal(t, "status and body", []int{got.Status, len(got.Body)}, []int{204, 0})
	must(t, r.PutReplay(ctx, want)) // its key is free again
}
