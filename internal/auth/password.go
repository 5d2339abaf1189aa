package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/crypto/argon2"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Argon2 says how much work a password is to whoever tries them all.
type Argon2 struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultArgon2 is what OWASP's Password Storage Cheat Sheet gives as its least
// for argon2id, in the variant with the smaller memory: a portal runs on small
// machines and several people may sign in at once.
var DefaultArgon2 = Argon2{Memory: 19 * 1024, Time: 2, Threads: 1}

const (
	minPassword = 12   // characters
	maxPassword = 1024 // bytes; hashing more is a way to keep the portal busy
	saltSize    = 16
	keySize     = 32
	// hashesAtOnce bounds the memory and processors that sign-ins can take.
	hashesAtOnce = 2
)

// hashing gives the place where passwords are hashed, for so many at once.
func (s *Service) hashing() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes == nil {
		s.lanes = make(chan struct{}, hashesAtOnce)
	}
	return s.lanes
}

// derive is argon2id; it waits for its turn.
func (s *Service) derive(ctx context.Context, password string, salt []byte, a Argon2, size int) ([]byte, error) {
	lanes := s.hashing()
	select {
	case lanes <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-lanes }()
	return argon2.IDKey([]byte(password), salt, a.Time, a.Memory, a.Threads, uint32(size)), nil //nolint:gosec // at most 64
}

func (s *Service) argon2() Argon2 {
	if s.Passwords == (Argon2{}) {
		return DefaultArgon2
	}
	return s.Passwords
}

// hashPassword gives the PHC string of a password.
func (s *Service) hashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	a := s.argon2()
	key, err := s.derive(ctx, password, salt, a, keySize)
	if err != nil {
		return "", err
	}
	return encodeHash(a, salt, key), nil
}

func encodeHash(a Argon2, salt, key []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.Memory, a.Time, a.Threads, b.EncodeToString(salt), b.EncodeToString(key))
}

// decodeHash reads a PHC string. What would take unreasonable work is refused:
// it was not made here.
func decodeHash(phc string) (a Argon2, salt, key []byte, err error) {
	part := strings.Split(phc, "$")
	var version int
	if len(part) != 6 || part[1] != "argon2id" {
		return a, nil, nil, fmt.Errorf("password hash: not argon2id")
	}
	if _, err := fmt.Sscanf(part[2], "v=%d", &version); err != nil || version != argon2.Version {
		return a, nil, nil, fmt.Errorf("password hash: version %q", part[2])
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &a.Memory, &a.Time, &a.Threads); err != nil {
		return a, nil, nil, fmt.Errorf("password hash: parameters: %w", err)
	}
	if a.Memory < 8 || a.Memory > 1<<20 || a.Time < 1 || a.Time > 64 || a.Threads < 1 {
		return a, nil, nil, fmt.Errorf("password hash: parameters out of range")
	}
	b := base64.RawStdEncoding.Strict()
	salt, serr := b.DecodeString(part[4])
	key, kerr := b.DecodeString(part[5])
	if serr != nil || kerr != nil || len(key) < 16 || len(key) > 64 {
		return a, nil, nil, fmt.Errorf("password hash: not readable")
	}
	return a, salt, key, nil
}

// verifyPassword tells whether the password is the user's, and whether its hash
// is weaker than it should be now. It takes as long for a user who does not
// exist or has no password.
func (s *Service) verifyPassword(ctx context.Context, u *User, password string) (ok, weak bool, err error) {
	a, salt, key := s.argon2(), make([]byte, saltSize), make([]byte, keySize)
	real := u != nil && u.Password != ""
	if real {
		if a, salt, key, err = decodeHash(u.Password); err != nil {
			return false, false, err
		}
	}
	got, err := s.derive(ctx, password, salt, a, len(key))
	if err != nil {
		return false, false, err
	}
	return same(string(got), string(key)) && real, a != s.argon2(), nil
}

// checkPassword says what is wrong with a new password. Length is what counts;
// beyond that only what anybody would try first is refused.
func checkPassword(path, password string, u User) []fault.Field {
	wrong := func(message string) []fault.Field { return []fault.Field{{Path: path, Message: message}} }
	lower, kinds := strings.ToLower(password), map[rune]bool{}
	for _, r := range lower {
		kinds[r] = true
	}
	switch {
	case len([]rune(password)) < minPassword:
		return wrong("is shorter than 12 characters; a few words that only you put together are good")
	case len(password) > maxPassword:
		return wrong("is longer than 1024 bytes")
	case len(kinds) < 5:
		return wrong("repeats the same few characters")
	}
	local, _, _ := strings.Cut(u.Email, "@")
	for _, word := range append(strings.FieldsFunc(strings.ToLower(u.Name), unicode.IsSpace), local) {
		if len([]rune(word)) >= 4 && strings.Contains(lower, word) {
			return wrong("contains your name or e-mail address")
		}
	}
	return nil
}

// SignInPassword signs in a local user and gives the session's secret. Faults:
// Unauthenticated for a wrong e-mail or password, without saying which;
// RateLimited after too many failures, with the seconds to wait as retry_after;
// Forbidden for whom the password is right but who may not come in.
func (s *Service) SignInPassword(ctx context.Context, email, password string) (string, error) {
	email = normalEmail(email)
	u, err := s.localUser(ctx, email)
	if err != nil {
		return "", err
	}
	try, err := s.try(ctx, email, u)
	if err != nil {
		return "", err
	}
	target := "user/unknown"
	if u != nil {
		target = "user/" + u.ID
	}
	ok, weak, err := s.verifyPassword(ctx, u, password[:min(len(password), maxPassword+1)])
	if err != nil {
		return "", err
	}
	if !ok {
		return "", s.refuse(ctx, target, wrongPassword())
	}
	if err := s.mayEnter(*u); err != nil {
		return "", s.refuse(ctx, target, err)
	}
	fresh := ""
	if weak {
		if fresh, err = s.hashPassword(ctx, password); err != nil {
			return "", err
		}
	}
	return s.enter(ctx, u, fresh, try)
}

// enter opens the session of a user whose password was right.
func (s *Service) enter(ctx context.Context, u *User, fresh string, try attempt) (secret string, err error) {
	checked := u.Password
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		now, err := s.Users.User(ctx, u.ID)
		if err != nil {
			return err
		}
		if now.Password != checked || s.mayEnter(*now) != nil {
			return wrongPassword() // it was changed meanwhile
		}
		if fresh != "" {
			now.Password = fresh
			if err := s.Users.UpdateUser(ctx, *now); err != nil {
				return err
			}
		}
		if err := s.succeeded(ctx, try); err != nil {
			return err
		}
		secret, err = s.openSession(ctx, now, Session{Method: "password"})
		return err
	})
	return secret, err
}

func (s *Service) localUser(ctx context.Context, email string) (*User, error) {
	if !plainEmail(email) {
		return nil, nil
	}
	u, err := s.Users.UserBySubject(ctx, LocalProvider, email)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return u, err
}

func wrongPassword() *fault.Error {
	return fault.New(fault.Unauthenticated, "auth.wrong_password", "The e-mail or the password is wrong").
		Do("Try again, or ask an administrator for a one-time link.")
}

// checkCurrent checks the password that is to be replaced. Wrong ones count as
// failed sign-ins: an open browser must not be a way to try them all.
func (s *Service) checkCurrent(ctx context.Context, u *User, current string) error {
	try, err := s.try(ctx, u.Email, u)
	if err != nil {
		return err
	}
	ok, _, err := s.verifyPassword(ctx, u, current[:min(len(current), maxPassword+1)])
	if err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.Invalid, "user.password", "The password was not changed").
			Do("Give the password that you have now.").At(fault.Field{Path: "current", Message: "is wrong"})
	}
	return s.succeeded(ctx, try)
}
