package webhook

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// The limits of subscriptions.
const (
	MaxWebhooks = 50  // in all
	maxName     = 60  // characters
	maxTypes    = 50  // patterns of one
	maxAgents   = 200 // of one
)

// Definition is what people say of a subscription.
type Definition struct {
	Name         string
	URL          string
	Types        []string
	Agents       []string // ids
	Confidential bool
	SecretRef    string
	Enabled      bool
}

// Definition gives what people said of it.
func (s Subscription) Definition() Definition {
	return Definition{
		Name: s.Name, URL: s.URL, Types: slices.Clone(s.Types), Agents: slices.Clone(s.Agents), Confidential: s.Confidential,
		SecretRef: s.SecretRef, Enabled: s.Enabled,
	}
}

var pattern = regexp.MustCompile(`^[a-z0-9_]*(:[a-z0-9_]*)?\*?$`)

// define puts the definition into sub, or says all that is wrong with it.
func (s *Service) define(ctx context.Context, sub *Subscription, d Definition) error {
	d.Name, d.URL, d.SecretRef = strings.TrimSpace(d.Name), strings.TrimSpace(d.URL), strings.TrimSpace(d.SecretRef)
	var fields []fault.Field
	wrong := func(path, message string, args ...any) {
		fields = append(fields, fault.Field{Path: path, Message: fmt.Sprintf(message, args...)})
	}
	switch {
	case d.Name == "":
		wrong("name", "must be given")
	case len([]rune(d.Name)) > maxName:
		wrong("name", "is longer than %d characters", maxName)
	case strings.ContainsFunc(d.Name, func(r rune) bool { return !unicode.IsPrint(r) || r == '/' }):
		wrong("name", "holds a slash or a character that can't be printed")
	}
	if err := s.CheckURL("url", d.URL); err != nil {
		f := fault.As(err)
		if f == nil {
			return err
		}
		fields = append(fields, f.Fields...)
	}
	if len(d.Types) > maxTypes {
		wrong("types", "has %d patterns, and %d are allowed", len(d.Types), maxTypes)
	}
	for i, t := range d.Types {
		if len(t) > 60 || t == "" || !pattern.MatchString(t) {
			wrong(fmt.Sprintf("types[%d]", i), "must be a type of event such as agent:state_changed, or how types begin and an asterisk, such as agent:*")
		}
	}
	if len(d.Agents) > maxAgents {
		wrong("agents", "has %d agents, and %d are allowed", len(d.Agents), maxAgents)
	}
	if d.SecretRef != "" {
		if _, err := s.referenced(ctx, d.SecretRef); err != nil {
			f := fault.As(err)
			if f == nil {
				return err
			}
			wrong("secret_ref", "%s", strings.Join(slices.DeleteFunc([]string{f.What, f.Why, f.Remedy}, func(s string) bool { return s == "" }), ". "))
		}
	}
	if len(fields) > 0 {
		return fault.New(fault.Invalid, "webhook.invalid", "The webhook can't be stored").Do("Correct the fields listed.").At(fields...)
	}
	sub.Name, sub.URL, sub.Types, sub.Agents = d.Name, d.URL, slices.Clone(d.Types), slices.Clone(d.Agents)
	sub.Confidential, sub.SecretRef, sub.Enabled = d.Confidential, d.SecretRef, d.Enabled
	return nil
}

// Concerns tells whether the subscription hears of any of the agents; of no
// agent in particular it always does.
func (s Subscription) Concerns(agents []string) bool {
	return len(agents) == 0 || len(s.Agents) == 0 || slices.ContainsFunc(agents, func(id string) bool { return slices.Contains(s.Agents, id) })
}

// Wants tells whether the subscription is to hear of the event.
func (s Subscription) Wants(e event.Event) bool {
	if event.Confidential(e) && !s.Confidential {
		return false
	}
	if len(s.Agents) > 0 && !slices.Contains(s.Agents, e.AgentID) {
		return false
	}
	return len(s.Types) == 0 || slices.ContainsFunc(s.Types, func(p string) bool { return event.Matches(p, e.Type) })
}
