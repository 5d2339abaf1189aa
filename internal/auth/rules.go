package auth

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Rule gives a role to the users of identity providers that it fits. Exactly one
// of Email, Domain and Claim is set.
type Rule struct {
	Role   Role   `json:"role"`
	Email  string `json:"email,omitempty"`  // exactly this one
	Domain string `json:"domain,omitempty"` // any e-mail that ends so, after the @
	Claim  string `json:"claim,omitempty"`  // the claim has Value, or holds it if it is a list
	Value  string `json:"value,omitempty"`
}

// String is the rule as it is written in the configuration.
func (r Rule) String() string {
	switch {
	case r.Email != "":
		return r.Email
	case r.Domain != "":
		return "@" + r.Domain
	}
	return claimMark + r.Claim + "=" + r.Value
}

const claimMark = "claim:"

// ParseRules reads rules for the role, separated by commas: name@example.com,
// @example.com or claim:groups=value. The error names the first that is wrong.
func ParseRules(role Role, text string) ([]Rule, error) {
	var out []Rule
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		r, err := parseRule(one)
		if err != nil {
			return nil, err
		}
		r.Role = role
		out = append(out, r)
	}
	return out, nil
}

func parseRule(text string) (Rule, error) {
	wrong := fmt.Errorf("%q is not an e-mail, @DOMAIN or claim:NAME=VALUE", text)
	if rest, ok := strings.CutPrefix(text, claimMark); ok {
		name, value, ok := strings.Cut(rest, "=")
		if !ok || strings.TrimSpace(name) == "" || strings.TrimSpace(value) == "" {
			return Rule{}, wrong
		}
		return Rule{Claim: strings.TrimSpace(name), Value: strings.TrimSpace(value)}, nil
	}
	if domain, ok := strings.CutPrefix(text, "@"); ok {
		// An address proves that it is a domain, and not a list of them or a pattern.
		if !plainEmail("x@" + domain) {
			return Rule{}, wrong
		}
		return Rule{Domain: strings.ToLower(domain)}, nil
	}
	if !plainEmail(text) {
		return Rule{}, wrong
	}
	return Rule{Email: strings.ToLower(text)}, nil
}

// plainEmail tells whether s is an e-mail address and nothing else.
func plainEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Name == "" && a.Address == s && len(s) <= 254 && strings.Count(s, "@") == 1 &&
		!strings.ContainsAny(s, "*\"<>()[],;: \t")
}

// fits tells whether the rule gives its role to whoever has the (verified,
// normal) e-mail and claims.
func (r Rule) fits(email string, claims map[string][]string) bool {
	switch {
	case r.Email != "":
		return email == r.Email
	case r.Domain != "":
		_, domain, ok := strings.Cut(email, "@")
		return ok && domain == r.Domain
	case r.Claim != "":
		return slices.Contains(claims[r.Claim], r.Value)
	}
	return false
}

// roleByRules gives the highest role that a rule gives, and the rule; Nobody
// where none fits.
func roleByRules(rules []Rule, email string, claims map[string][]string) (Role, *Rule) {
	best, by := Nobody, (*Rule)(nil)
	for i, r := range rules {
		if r.Role.Valid() && !best.Includes(r.Role) && r.fits(email, claims) {
			best, by = r.Role, &rules[i]
		}
	}
	return best, by
}

// RoleOf gives the role that the user has now, and why: "given" by an
// administrator, or the rule as it stands in the configuration. Nobody for
// somebody who is disabled or to whom nothing gives a role.
func (s *Service) RoleOf(u User) (role Role, why string) {
	switch {
	case u.DisabledAt != nil:
		return Nobody, "disabled"
	case u.Role.Valid():
		return u.Role, "given"
	case u.Local():
		return Nobody, ""
	}
	role, by := roleByRules(s.Rules, u.Email, u.Claims)
	if by == nil {
		return Nobody, ""
	}
	return role, by.String()
}

// keepClaims leaves of the claims what rules look at: the rest is nobody's
// business here.
func (s *Service) keepClaims(claims map[string][]string) map[string][]string {
	out := map[string][]string{}
	for _, r := range s.Rules {
		if r.Claim != "" && slices.Contains(claims[r.Claim], r.Value) && !slices.Contains(out[r.Claim], r.Value) {
			out[r.Claim] = append(out[r.Claim], r.Value)
		}
	}
	return out
}

func noRole(email string) *fault.Error {
	return fault.New(fault.Forbidden, "auth.no_role", "You have no access to this portal").
		Because("%s was recognised, but nobody gave it a role here", email).
		Do("Ask an administrator of the portal to give you one.")
}
