package operation

import "context"

// HandOver hands an operation to the engine as a committed Create does.
func (s *Service) HandOver(ctx context.Context, id string) { s.submit(ctx, id, 0) }
