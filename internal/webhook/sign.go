package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// secretPrefix is what secrets begin with; base64 follows.
const secretPrefix = "whsec_"

// minSecret is how many bytes a secret has at least.
const minSecret = 24

// derived gives a derived secret. It is not stored: whoever has the database
// alone can't sign.
func (s *Service) derived(sub Subscription, number int) []byte {
	mac := hmac.New(sha256.New, s.Key)
	var n [8]byte
	for _, part := range []string{"platform-portal webhook secret 1", sub.ID, strconv.Itoa(number)} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		mac.Write(n[:])
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

// shown is a secret as people copy it.
func shown(key []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(key) }

// keys are the secrets that sign now, the present one first.
func (s *Service) keys(ctx context.Context, sub Subscription, now time.Time) ([][]byte, error) {
	if sub.SecretRef != "" {
		key, err := s.referenced(ctx, sub.SecretRef)
		return [][]byte{key}, err
	}
	if len(s.Key) < 32 {
		return nil, fault.New(fault.Unavailable, "webhook.no_master_key", "The request can't be signed").
			Because("the master key is missing").Do("Restore master.key in the data directory.")
	}
	keys := [][]byte{s.derived(sub, sub.KeyNumber)}
	if sub.KeyUntil != nil && now.Before(*sub.KeyUntil) && sub.KeyNumber > 1 {
		keys = append(keys, s.derived(sub, sub.KeyNumber-1))
	}
	return keys, nil
}

// referenced reads the secret that a reference names: base64 after whsec_, or
// any text of at least 24 bytes.
func (s *Service) referenced(ctx context.Context, ref string) ([]byte, error) {
	text, err := s.Secrets.Secret(ctx, ref)
	if err != nil {
		return nil, err
	}
	key := []byte(text)
	if encoded, ok := strings.CutPrefix(text, secretPrefix); ok {
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, fault.New(fault.Invalid, "webhook.secret_unusable", "The secret %s can't be used", ref).
				Because("what follows whsec_ is not base64").Do("Correct the content of the secret.")
		}
	}
	if len(key) < minSecret {
		return nil, fault.New(fault.Invalid, "webhook.secret_unusable", "The secret %s can't be used", ref).
			Because("it is shorter than %d bytes", minSecret).Do("Use a longer one.")
	}
	return key, nil
}

// signature is the header of that name in Standard Webhooks: one signature a
// key, parted by spaces.
func signature(keys [][]byte, id, timestamp string, body []byte) string {
	list := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		list[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(list, " ")
}
