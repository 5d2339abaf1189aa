package storetest

import (
	"context"
	"fmt"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/store"
)

// Seed stores n agents in one transaction, numbered from first, as a large
// fleet has them: with a description, labels and dependencies.
func Seed(ctx context.Context, s *store.Store, first, n int) error {
	return s.Do(ctx, func(ctx context.Context) error {
		for i := first; i < first+n; i++ {
			a := draft(fmt.Sprintf("agent-%05d", i))
			a.State, a.Health = agent.Stopped, agent.HealthUnknown
			if i%10 == 0 {
				a.State, a.Health = agent.Running, agent.HealthHealthy
			}
			a.Spec.Tier = i%6 + 1
			a.Spec.DisplayName = fmt.Sprintf("Agent number %d", i)
			a.Spec.Description = fmt.Sprintf("Answers the questions of customer %d about orders, invoices and returns, in many words and with patience.", i%997)
			a.Spec.Labels = map[string]string{"env": []string{"prod", "dev"}[i%2], "team": fmt.Sprintf("team-%d", i%50)}
			a.Spec.Dependencies = []string{"WowEvent", "WowMemory"}
			a.Spec.Env = map[string]string{"REGION": "eu-central-1", "QUALITY": "high"}
			if err := s.Agents().Create(ctx, a, firstRevision(a)); err != nil {
				return err
			}
		}
		return nil
	})
}
