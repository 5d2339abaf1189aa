package door

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// keyLife is how long an answer can be had again.
	keyLife = 24 * time.Hour
	// maxWait is how long ?wait= may be.
	maxWait = 5 * time.Minute
)

// errRefused rolls back what a handler did before it refused the request.
var errRefused = errors.New("httpapi: the request was refused")

// once makes a request with an Idempotency-Key happen once: what the handler
// does and the answer that it gives are stored in one transaction. A refused
// request stores nothing, so that it can be sent again with the same key.
func (d *Door) once(route *Route, next http.Handler) http.Handler {
	if !route.Mutation() || route.Public || route.Secret || route.Outward {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			next.ServeHTTP(w, r)
			return
		}
		if len(key) > 255 || strings.ContainsFunc(key, func(c rune) bool { return c < '!' || c > '~' }) {
			d.Fail(w, r, fault.New(fault.Invalid, "idempotency.key", "The Idempotency-Key is not valid").
				At(fault.Field{Path: "header.Idempotency-Key", Message: "must be 1 to 255 visible ASCII characters"}))
			return
		}
		rec, err := d.replayOrRun(r, key, next)
		if err != nil {
			d.Fail(w, r, err)
			return
		}
		rec.send(w)
	})
}

// replayOrRun gives the answer, from the store or from the handler.
func (d *Door) replayOrRun(r *http.Request, key string, next http.Handler) (*recorder, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	ask := auth.Replay{Key: key, Principal: auth.From(r.Context()).ID, Method: r.Method, Path: resource(r), BodyHash: d.digest(body)}
	var rec *recorder
	err = d.cfg.Tx.Do(r.Context(), func(ctx context.Context) error {
		rec = nil // the transaction may be run a second time
		var err error
		if rec, err = d.replay(ctx, ask); rec != nil || err != nil {
			return err
		}
		rec = newRecorder()
		again := r.WithContext(ctx)
		again.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(rec, again)
		if rec.status >= 400 {
			return errRefused
		}
		answer := ask
		answer.Status, answer.Header, answer.Body = rec.status, map[string]string{}, rec.body.Bytes()
		if keep := exchangeOf(ctx).keep; keep != nil {
			if answer.Body, err = json.Marshal(keep); err != nil {
				return err
			}
		}
		for _, name := range kept {
			if v := rec.header.Get(name); v != "" {
				answer.Header[name] = v
			}
		}
		answer.CreatedAt = d.now()
		return d.cfg.Idempotency.PutReplay(ctx, answer)
	})
	switch {
	case errors.Is(err, errRefused):
		// What the services recorded about the refusal was rolled back as well.
		audit.Forget(r.Context())
		// It may have been refused because the same request came in at another
		// replica and was quicker; then that one's answer is the right one.
		if earlier, err := d.replay(r.Context(), ask); earlier != nil {
			exchangeOf(r.Context()).problem = nil
			return earlier, err
		}
		return rec, nil
	case fault.Is(err, fault.Conflict) && rec != nil:
		return d.replay(r.Context(), ask)
	case err != nil:
		return nil, err
	}
	return rec, nil
}

// kept are the headers that belong to an answer; of pages also how it is packed,
// what it allows, and what it tells the page's script to do.
var kept = []string{
	"Content-Type", "Location", "ETag", "Content-Encoding", "Content-Security-Policy", "Referrer-Policy", "Vary",
	"HX-Location", "HX-Redirect", "HX-Trigger", "HX-Retarget", "HX-Reswap", "HX-Push-Url", "HX-Replace-Url",
}

// replay gives the stored answer, or nil if there is none. Conflict if the key
// was used for something else.
func (d *Door) replay(ctx context.Context, ask auth.Replay) (*recorder, error) {
	got, err := d.cfg.Idempotency.Replay(ctx, ask.Principal, ask.Key)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if oldest := d.now().Add(-keyLife); got.CreatedAt.Before(oldest) {
		return nil, d.cfg.Idempotency.PruneReplays(ctx, oldest)
	}
	if got.Method != ask.Method || got.Path != ask.Path || got.BodyHash != ask.BodyHash {
		return nil, fault.New(fault.Conflict, "idempotency.reused", "This Idempotency-Key was used for another request").
			Because("method, address or body differ").Do("Use a new key for each request that is to be carried out.")
	}
	rec := newRecorder()
	for name, value := range got.Header {
		rec.header.Set(name, value)
	}
	rec.header.Set("Idempotency-Replayed", "true")
	rec.status = got.Status
	_, _ = rec.body.Write(got.Body)
	return rec, nil
}

// resource is what the request is about: how long the client wants to wait for
// the answer is not part of it.
func resource(r *http.Request) string {
	q := r.URL.Query()
	q.Del("wait")
	if len(q) == 0 {
		return r.URL.Path
	}
	return r.URL.Path + "?" + q.Encode()
}

// digest tells bodies apart. It has a key, because a body may hold a password,
// which whoever has the stored digests must not be able to guess at.
func (d *Door) digest(b []byte) string {
	// A key of its own, so that no body can be a message to what else has the key.
	own := hmac.New(sha256.New, d.cfg.Key)
	own.Write([]byte("platform-portal digests of requests 1"))
	mac := hmac.New(sha256.New, own.Sum(nil))
	mac.Write(b)
	return hex.EncodeToString(mac.Sum(nil))
}
