package auth

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// MaxFlowLife bounds how long the data of a flow is kept.
const MaxFlowLife = 15 * time.Minute

// FlowStore keeps what has to be remembered between two requests of somebody
// who is not signed in yet, e.g. a WebAuthn challenge or a code for a command
// line. It works once.
type FlowStore interface {
	PutFlow(ctx context.Context, kind, hash string, data []byte, expires time.Time) error
	// TakeFlow removes it and gives its data; NotFound if there is none of the
	// kind, it was taken, or it has expired at now.
	TakeFlow(ctx context.Context, kind, hash string, now time.Time) ([]byte, error)
}

// PutFlow keeps data for at most life (MaxFlowLife) and gives the secret by
// which it can be had once. kind keeps flows of different purposes apart.
func (s *Service) PutFlow(ctx context.Context, kind string, data []byte, life time.Duration) (string, error) {
	secret := newSecret(flowPrefix)
	if err := s.Flows.PutFlow(ctx, kind, hashOf(secret), data, s.now().Add(min(life, MaxFlowLife))); err != nil {
		return "", err
	}
	return secret, nil
}

// TakeFlow gives the data that was kept under the secret and forgets it;
// Unauthenticated if there is none of the kind (any more).
func (s *Service) TakeFlow(ctx context.Context, kind, secret string) ([]byte, error) {
	over := fault.New(fault.Unauthenticated, "auth.flow_over", "This sign-in can't be continued").
		Because("it took too long, was continued already, or was begun elsewhere").Do("Start again.")
	if !wellFormed(flowPrefix, secret) {
		return nil, over
	}
	data, err := s.Flows.TakeFlow(ctx, kind, hashOf(secret), s.now())
	if fault.Is(err, fault.NotFound) {
		return nil, over
	}
	return data, err
}
