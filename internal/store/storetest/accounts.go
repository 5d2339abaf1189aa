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

var accounts = []promise{
	{"a user is found by id and subject as they were stored", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Users()
		want := user(1, "ann@example.com")
		want.Claims, want.Password, want.LastSeenAt, want.DisabledAt = map[string][]string{"groups": {"a'b", "ü"}}, "$argon2id$x", after(time.Microsecond), after(time.Millisecond)
		must(t, k.CreateUser(ctx, want))
		got, err := k.User(ctx, want.ID)
		must(t, err)
		equal(t, "user", *got, want)
		got, err = k.UserBySubject(ctx, want.Provider, want.Subject)
		must(t, err)
		equal(t, "user", *got, want)

		seen := after(time.Hour)
		must(t, k.TouchUser(ctx, want.ID, *seen))
		want.Email, want.Name, want.Role, want.Claims, want.Password, want.DisabledAt = "new@example.com", "New", "", nil, "", nil
		must(t, k.UpdateUser(ctx, want)) // does not set the last use back
		want.LastSeenAt = seen
		got, err = k.User(ctx, want.ID)
		must(t, err)
		equal(t, "user", *got, want)
	}},
	{"a person has one account with a provider", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Users()
		first, second := user(1, "ann@example.com"), user(2, "bob@example.com")
		must(t, k.CreateUser(ctx, first))
		second.Subject = first.Subject
		wantKind(t, k.CreateUser(ctx, second), fault.Conflict)
		second.Provider = "other"
		must(t, k.CreateUser(ctx, second))
		second.Provider = first.Provider
		wantKind(t, k.UpdateUser(ctx, second), fault.Conflict)

		// Several may have one e-mail, but only one of them is invited by it.
		invited, twice := user(3, first.Email), user(4, first.Email)
		invited.Subject, twice.Subject = "", ""
		must(t, k.CreateUser(ctx, invited))
		wantKind(t, k.CreateUser(ctx, twice), fault.Conflict)
		got, err := k.InvitedUser(ctx, invited.Provider, invited.Email)
		must(t, err)
		equal(t, "invited", got.ID, invited.ID)
		_, err = k.UserBySubject(ctx, invited.Provider, "")
		wantKind(t, err, fault.NotFound)
	}},
	{"unknown users are not found", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Users()
		_, err := k.User(ctx, "none")
		wantKind(t, err, fault.NotFound)
		_, err = k.UserBySubject(ctx, "p", "none\x00")
		wantKind(t, err, fault.NotFound)
		_, err = k.InvitedUser(ctx, "p", "none")
		wantKind(t, err, fault.NotFound)
		wantKind(t, k.UpdateUser(ctx, user(1, "a@b.c")), fault.NotFound)
		wantKind(t, k.TouchUser(ctx, "none", epoch), fault.NotFound)
		wantKind(t, k.DeleteUser(ctx, "none"), fault.NotFound)
	}},
	{"users are listed newest first, page by page", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Users()
		for i := range 5 {
			must(t, k.CreateUser(ctx, user(i, "a@example.com")))
		}
		got, cursor := []string{}, ""
		for {
			list, next, err := k.Users(ctx, cursor, 2)
			must(t, err)
			for _, u := range list {
				got = append(got, u.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		equal(t, "users", got, []string{uuid(4), uuid(3), uuid(2), uuid(1), uuid(0)})
	}},
	{"with a user goes what gives them access, and nothing else", deleteUser},
	{"tokens are listed by whose they are, and named by each as they like", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Tokens()
		of := func(n int, userID string) auth.Token {
			one := token(n, "ci")
			one.UserID = userID
			must(t, k.CreateToken(ctx, one))
			return one
		}
		of(1, "")
		mine := of(2, "me")
		of(3, "you")
		list, _, err := k.Tokens(ctx, "me", "", 10)
		must(t, err)
		equal(t, "mine", list, []auth.Token{mine})
		list, _, err = k.Tokens(ctx, "", "", 10)
		must(t, err)
		equal(t, "all", len(list), 3)
	}},
	{"a session is found by its secret and the one before", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Sessions()
		want := session(1, "u")
		must(t, k.CreateSession(ctx, want))
		must(t, k.CreateSession(ctx, session(2, "u"))) // has no secret before either
		want.Hash, want.Previous, want.PreviousUntil, want.Role, want.RotatedAt = "new", want.Hash, after(time.Minute), auth.Viewer, *after(time.Second)
		must(t, k.UpdateSession(ctx, want))
		seen, end := *after(time.Hour), *after(2 * time.Hour)
		must(t, k.TouchSession(ctx, want.ID, seen, end))
		want.SeenAt, want.ExpiresAt = seen, end
		for _, hash := range []string{want.Hash, want.Previous} {
			got, err := k.SessionByHash(ctx, hash)
			must(t, err)
			equal(t, "session", *got, want)
		}
		got, err := k.Session(ctx, want.ID)
		must(t, err)
		equal(t, "session", *got, want)
		for _, hash := range []string{"", "none"} {
			_, err = k.SessionByHash(ctx, hash)
			wantKind(t, err, fault.NotFound)
		}
	}},
	{"sessions end one by one or all but one", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Sessions()
		for i := range 4 {
			must(t, k.CreateSession(ctx, session(i, "u")))
		}
		must(t, k.CreateSession(ctx, session(9, "v")))
		must(t, k.DeleteSession(ctx, uuid(0)))
		must(t, k.DeleteSession(ctx, uuid(0)))
		_, err := k.Session(ctx, uuid(0))
		wantKind(t, err, fault.NotFound)
		wantKind(t, k.UpdateSession(ctx, session(0, "u")), fault.NotFound)
		wantKind(t, k.TouchSession(ctx, uuid(0), epoch, epoch), fault.NotFound)
		must(t, k.TouchSession(ctx, uuid(1), *after(time.Hour), *after(2 * time.Hour)))
		equal(t, "sessions", sessionIDs(t, s, "u"), []string{uuid(1), uuid(3), uuid(2)})
		n, err := k.DeleteSessionsOf(ctx, "u", uuid(2))
		must(t, err)
		equal(t, "ended", n, 2)
		equal(t, "sessions", sessionIDs(t, s, "u"), []string{uuid(2)})
		equal(t, "of another", sessionIDs(t, s, "v"), []string{uuid(9)})
	}},
	{"a passkey is kept as it was made, with its last use", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Passkeys()
		must(t, s.Users().CreateUser(ctx, user(1, "ann@example.com")))
		want := passkey("k1", uuid(1))
		must(t, k.CreatePasskey(ctx, want))
		wantKind(t, k.CreatePasskey(ctx, want), fault.Conflict)
		wantKind(t, k.CreatePasskey(ctx, passkey("k2", "nobody")), fault.NotFound)
		must(t, k.UsePasskey(ctx, want.ID, 1<<32-1, true, *after(time.Hour)))
		want.SignCount, want.BackedUp, want.LastUsedAt = 1<<32-1, true, after(time.Hour)
		got, err := k.Passkey(ctx, want.ID)
		must(t, err)
		equal(t, "passkey", *got, want)
		list, err := k.PasskeysOf(ctx, uuid(1))
		must(t, err)
		equal(t, "passkeys", list, []auth.Passkey{want})
		must(t, k.DeletePasskey(ctx, want.ID))
		wantKind(t, k.DeletePasskey(ctx, want.ID), fault.NotFound)
		wantKind(t, k.UsePasskey(ctx, want.ID, 1, true, epoch), fault.NotFound)
		_, err = k.Passkey(ctx, want.ID)
		wantKind(t, err, fault.NotFound)
	}},
	{"a flow is continued once, by its kind, in its time", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Flows()
		must(t, k.PutFlow(ctx, "code", "h", []byte{0, 0xff, '\''}, *after(time.Minute)))
		_, err := k.TakeFlow(ctx, "passkey", "h", epoch)
		wantKind(t, err, fault.NotFound)
		_, err = k.TakeFlow(ctx, "code", "h", *after(time.Minute))
		wantKind(t, err, fault.NotFound)
		var group sync.WaitGroup
		var won atomic.Int32
		for range 6 {
			group.Go(func() {
				if data, err := k.TakeFlow(ctx, "code", "h", epoch); err == nil && string(data) == "\x00\xff'" {
					won.Add(1)
				} else if !fault.Is(err, fault.NotFound) {
					t.Errorf("got %q, %v", data, err)
				}
			})
		}
		group.Wait()
		equal(t, "times taken", won.Load(), int32(1))
	}},
	{"failed sign-ins are counted until they are dropped", func(t *testing.T, s *store.Store) {
		ctx, k := t.Context(), s.Attempts()
		n, last, err := k.Attempts(ctx, "a")
		must(t, err)
		equal(t, "none yet", []any{n, last}, []any{0, time.Time{}})
		must(t, k.PutAttempts(ctx, "a", 1, epoch, *after(time.Hour)))
		must(t, k.PutAttempts(ctx, "a", 7, *after(time.Second), *after(time.Hour)))
		must(t, k.PutAttempts(ctx, "b", 2, epoch, *after(time.Hour)))
		n, last, err = k.Attempts(ctx, "a")
		must(t, err)
		equal(t, "attempts", []any{n, last}, []any{7, *after(time.Second)})
		must(t, k.DropAttempts(ctx, "a", "none"))
		must(t, k.DropAttempts(ctx))
		n, _, err = k.Attempts(ctx, "a")
		must(t, err)
		equal(t, "dropped", n, 0)
		n, _, err = k.Attempts(ctx, "b")
		must(t, err)
		equal(t, "others", n, 2)
	}},
	{"what has ended is removed", expire},
}

func expire(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for hash, end := range map[string]time.Time{"old": epoch, "new": *after(time.Hour)} {
		must(t, s.Links().PutLink(ctx, hash, auth.Link{Role: auth.Admin}, end))
		must(t, s.Flows().PutFlow(ctx, "code", hash, nil, end))
		must(t, s.Attempts().PutAttempts(ctx, hash, 3, epoch, end))
		d := session(0, "u")
		d.ID, d.Hash, d.ExpiresAt = hash, hash, end
		must(t, s.Sessions().CreateSession(ctx, d))
	}
	must(t, s.Links().Expire(ctx, *after(time.Minute)))
	long := epoch.AddDate(-1, 0, 0)
	for hash, left := range map[string]bool{"old": false, "new": true} {
		_, link := s.Links().TakeLink(ctx, hash, long)
		_, flow := s.Flows().TakeFlow(ctx, "code", hash, long)
		_, sess := s.Sessions().Session(ctx, hash)
		n, _, err := s.Attempts().Attempts(ctx, hash)
		must(t, err)
		equal(t, hash, []bool{link == nil, flow == nil, sess == nil, n == 3}, []bool{left, left, left, left})
	}
}

func deleteUser(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for i, id := range []string{uuid(1), uuid(2)} {
		must(t, s.Users().CreateUser(ctx, user(i+1, "a@example.com")))
		must(t, s.Sessions().CreateSession(ctx, session(i+1, id)))
		must(t, s.Passkeys().CreatePasskey(ctx, passkey(id, id)))
		must(t, s.Links().PutLink(ctx, id, auth.Link{UserID: id}, *after(time.Hour)))
		own := token(i+1, "own")
		own.UserID = id
		must(t, s.Tokens().CreateToken(ctx, own))
	}
	must(t, s.Tokens().CreateToken(ctx, token(3, "nobody's")))
	must(t, s.Sessions().CreateSession(ctx, session(3, "")))
	must(t, s.Users().DeleteUser(ctx, uuid(1)))
	for n, left := range map[int]bool{1: false, 2: true, 3: true} {
		_, err := s.Sessions().Session(ctx, uuid(n))
		equal(t, "session", err == nil, left)
		_, err = s.Tokens().Token(ctx, uuid(n))
		equal(t, "token", err == nil, left)
		if n == 3 {
			continue
		}
		_, err = s.Passkeys().Passkey(ctx, uuid(n))
		equal(t, "passkey", err == nil, left)
		_, err = s.Links().TakeLink(ctx, uuid(n), epoch)
		equal(t, "link", err == nil, left)
	}
}

func sessionIDs(t *testing.T, s *store.Store, userID string) []string {
	t.Helper()
	list, err := s.Sessions().SessionsOf(t.Context(), userID)
	must(t, err)
	ids := []string{}
	for _, d := range list {
		ids = append(ids, d.ID)
	}
	return ids
}

func user(n int, email string) auth.User {
	return auth.User{
		ID: uuid(n), Email: email, Name: "Ann", Provider: "google", Subject: "subject-" + uuid(n), Role: auth.Operator,
		CreatedAt: *after(time.Duration(n) * time.Microsecond),
	}
}

func session(n int, userID string) auth.Session {
	at := *after(time.Duration(n) * time.Microsecond)
	return auth.Session{
		ID: uuid(n), UserID: userID, Kind: auth.Browser, Method: "password", Role: auth.Operator, Hash: "hash-" + uuid(n),
		Address: "127.0.0.1", UserAgent: "Browser/1", CreatedAt: at, SeenAt: at, RotatedAt: at, ExpiresAt: *after(time.Hour),
	}
}

func passkey(id, userID string) auth.Passkey {
	return auth.Passkey{
		ID: id, UserID: userID, Name: "Key", PublicKey: []byte{0, 1, 0xff}, SignCount: 7, Transports: []string{"usb", "nfc"}, AAGUID: "aa",
		Attestation: "none", BackupEligible: true, CreatedAt: epoch,
	}
}
