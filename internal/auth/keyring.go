package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Keyring gives each agent the secret by which it reaches its queues and the
// portal. The secret is not stored: it is derived anew from the master key
// whenever an instance is launched.
type Keyring struct {
	Key   []byte // the master key, 32 bytes or more
	Store CredentialStore
	Tx    txn.Runner
	Audit *audit.Recorder
	Now   func() time.Time
}

// Issue gives the agent its secret, making the credential if there is none.
// It is idempotent; to change a secret, Revoke it first.
func (k *Keyring) Issue(ctx context.Context, agentID string) (string, error) {
	if err := k.usable(); err != nil {
		return "", err
	}
	var secret string
	err := k.Tx.Do(ctx, func(ctx context.Context) error {
		c, err := k.Store.CredentialOf(ctx, agentID)
		if err == nil {
			secret, err = k.derive(c)
			return err
		}
		if !fault.Is(err, fault.NotFound) {
			return err
		}
		made := Credential{AgentID: agentID, CreatedAt: k.Now().UTC().Truncate(time.Microsecond)}
		secret = k.secret(made)
		made.Hash = hashOf(secret)
		if err := k.Store.PutCredential(ctx, made); err != nil {
			return err
		}
		return k.Audit.Record(ctx, "credential.issue", "agent/"+agentID, audit.Done, "", nil, nil)
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// Secret gives the agent's secret again; NotFound if it has none.
func (k *Keyring) Secret(ctx context.Context, agentID string) (string, error) {
	if err := k.usable(); err != nil {
		return "", err
	}
	c, err := k.Store.CredentialOf(ctx, agentID)
	if err != nil {
		return "", err
	}
	return k.derive(c)
}

// Verify tells whether the secret is the agent's; Unauthenticated if not, and
// also if the agent has none, so that nobody learns which agents exist.
func (k *Keyring) Verify(ctx context.Context, agentID, secret string) error {
	wrong := fault.New(fault.Unauthenticated, "auth.agent_refused", "The agent's credential is not valid").
		Do("Restart the agent so that it gets its present one.")
	c, err := k.Store.CredentialOf(ctx, agentID)
	if fault.Is(err, fault.NotFound) {
		return wrong
	}
	if err != nil {
		return fmt.Errorf("look up the credential: %w", err)
	}
	if !same(c.Hash, hashOf(secret)) {
		return wrong
	}
	return nil
}

// Revoke ends the agent's credential; no error if it has none.
func (k *Keyring) Revoke(ctx context.Context, agentID string) error {
	return k.Tx.Do(ctx, func(ctx context.Context) error {
		_, err := k.Store.CredentialOf(ctx, agentID)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := k.Store.DeleteCredential(ctx, agentID); err != nil {
			return err
		}
		return k.Audit.Record(ctx, "credential.revoke", "agent/"+agentID, audit.Done, "", nil, nil)
	})
}

// derive checks that the present key is the one the credential was made with.
func (k *Keyring) derive(c *Credential) (string, error) {
	secret := k.secret(*c)
	if !same(hashOf(secret), c.Hash) {
		return "", fault.New(fault.Conflict, "auth.master_key_changed", "The credential of agent %s can't be derived", c.AgentID).
			Because("the master key is not the one it was made with").
			Do("Put the earlier master.key back, or revoke and provision the agent anew.")
	}
	return secret, nil
}

func (k *Keyring) secret(c Credential) string {
	mac := hmac.New(sha256.New, k.Key)
	var n [8]byte
	for _, part := range []string{"platform-portal agent credential 1", c.AgentID} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		mac.Write(n[:])
		mac.Write([]byte(part))
	}
	binary.BigEndian.PutUint64(n[:], uint64(c.CreatedAt.UTC().UnixMicro()))
	mac.Write(n[:])
	return agentPrefix + base62(mac.Sum(nil))
}

func (k *Keyring) usable() error {
	if len(k.Key) < 32 {
		return fault.New(fault.Unavailable, "auth.no_master_key", "Agents can't get credentials").
			Because("the master key is missing or shorter than 32 bytes").Do("Restore master.key in the data directory.")
	}
	return nil
}
