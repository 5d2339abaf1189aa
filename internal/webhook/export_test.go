package webhook

import (
	"context"
	"time"
)

// Advance sends what is due to one subscription.
func Advance(s *Service, ctx context.Context, id string) (*time.Time, error) {
	return s.advance(ctx, id)
}
