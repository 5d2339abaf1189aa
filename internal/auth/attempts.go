package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// After some free failures each further try has to wait, twice as long each
// time. Three things are counted: failures for an account, from an address, and
// with a browser in which the user has signed in before. Such a browser is held
// back by its own failures alone: however hard strangers try, they do not lock
// the user out of it. Passkeys and one-time links are not held back at all.
const (
	freeTries    = 5  // for an account, and with a known browser
	freeFrom     = 20 // from an address, which many people may share
	maxDelay     = 15 * time.Minute
	forgetsAfter = 24 * time.Hour // without a failure
)

// counter is one of the things that are counted.
type counter struct {
	key  string
	free int
}

// attempt is a sign-in that is being tried.
type attempt []counter

// try finds out whether the sign-in may be tried now, and counts it as failed
// until it has succeeded: many tries at once are no way around the count.
func (s *Service) try(ctx context.Context, email string, u *User) (attempt, error) {
	from := ClientFrom(ctx)
	// E-mails that people mistype, or type their password into, are not kept.
	counters := attempt{{key: "account:" + hashOf(email), free: freeTries}}
	if network := networkOf(from.Address); network != "" {
		counters = append(counters, counter{key: "address:" + network, free: freeFrom})
	}
	if u != nil {
		if id := s.deviceOf(*u, from.Device); id != "" {
			counters = attempt{{key: "device:" + hashOf(id), free: freeTries}}
		}
	}
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		now := s.now()
		var wait time.Duration
		for _, c := range counters {
			n, last, err := s.Attempts.Attempts(ctx, c.key)
			if err != nil {
				return err
			}
			wait = max(wait, last.Add(delay(n, c.free)).Sub(now))
		}
		// The clock may have been set back meanwhile.
		if wait = min(wait, maxDelay); wait > 0 {
			return slowDown(wait)
		}
		for _, c := range counters {
			n, _, err := s.Attempts.Attempts(ctx, c.key)
			if err == nil {
				err = s.Attempts.PutAttempts(ctx, c.key, n+1, now, now.Add(forgetsAfter))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return counters, err
}

// delay is how long after the last of n failures the next try may be made.
func delay(n, free int) time.Duration {
	if n < free {
		return 0
	}
	return min(time.Second<<min(n-free, 20), maxDelay)
}

func slowDown(wait time.Duration) *fault.Error {
	seconds := int((wait + time.Second - 1) / time.Second)
	return fault.New(fault.RateLimited, "auth.slow_down", "There were too many failed sign-ins").
		Because("each failure makes the next try wait longer").
		Do("Try again in %d seconds, or sign in with a passkey or a one-time link.", seconds).
		With("retry_after", seconds)
}

// succeeded forgets the failures before a success. What an address has failed
// with other accounts stays.
func (s *Service) succeeded(ctx context.Context, try attempt) error {
	for _, c := range try {
		if !strings.HasPrefix(c.key, "address:") {
			if err := s.Attempts.DropAttempts(ctx, c.key); err != nil {
				return err
			}
			continue
		}
		n, last, err := s.Attempts.Attempts(ctx, c.key)
		if err == nil {
			err = s.Attempts.PutAttempts(ctx, c.key, max(n-1, 0), last, last.Add(forgetsAfter))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// networkOf is what is counted as one address: of IPv6 a whole /64, which is
// what one customer has.
func networkOf(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}

// Device gives the secret by which the browser of the session is known again
// when somebody signs in to the same account; "" for sessions of nobody in
// particular. The browser keeps it beyond the session.
func (s *Service) Device(ctx context.Context, session string) (string, error) {
	d, _, err := s.sessionBySecret(ctx, session)
	if err != nil || d.UserID == "" || len(s.Key) == 0 {
		return "", err
	}
	u, err := s.Users.User(ctx, d.UserID)
	if err != nil {
		return "", fmt.Errorf("look up the user: %w", err)
	}
	if !u.Local() {
		return "", nil
	}
	if has := ClientFrom(ctx).Device; s.deviceOf(*u, has) != "" {
		return has, nil
	}
	id := newSecret(devicePrefix)
	return id + s.deviceProof(*u, id), nil
}

// deviceOf gives the id of the browser if it proves that the user has signed in
// with it; "" otherwise.
func (s *Service) deviceOf(u User, device string) string {
	const size = len(devicePrefix) + secretLength
	if len(s.Key) == 0 || len(device) != size+secretLength || !wellFormed(devicePrefix, device[:size]) ||
		!same(device[size:], s.deviceProof(u, device[:size])) {
		return ""
	}
	return device[:size]
}

func (s *Service) deviceProof(u User, id string) string {
	mac := hmac.New(sha256.New, s.Key)
	mac.Write([]byte("platform-portal known browser 1\x00" + u.ID + "\x00" + id))
	return base62(mac.Sum(nil))
}
