package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// AgentView is an agent as the API shows it: the fields of its spec, and what
// the portal knows of it.
type AgentView struct {
	agent.Spec
	ID               string           `json:"id" doc:"Unique, derived from the name where the spec has none"`
	State            agent.State      `json:"state" enum:"DRAFT,PROVISIONED,DEPLOYED,RUNNING,STOPPED,SUSPENDED,ERRORED,REVOKED"`
	Health           agent.Health     `json:"health" enum:"unknown,starting,healthy,degraded,unhealthy"`
	HealthReason     string           `json:"health_reason,omitempty"`
	Version          string           `json:"version" doc:"Semantic version of the agent, from its spec; empty where it has none"`
	Revision         int              `json:"revision" doc:"Number of the newest revision of the spec"`
	DeployedRevision int              `json:"deployed_revision" doc:"Revision on the runtime; 0 if none is"`
	ResourceVersion  int64            `json:"resource_version" doc:"Grows with every change; what If-Match compares"`
	ActiveOperation  string           `json:"active_operation,omitempty" doc:"Operation that is working on the agent"`
	Failure          *agent.Failure   `json:"failure,omitempty" doc:"Why it is ERRORED"`
	AllowedActions   []agent.Action   `json:"allowed_actions"`
	Instances        []fleet.Instance `json:"instances"`
	Warnings         []string         `json:"warnings,omitempty"`
	CreatedAt        time.Time        `json:"created_at"`
	UpdatedAt        time.Time        `json:"updated_at"`
}

// views shows agents with their instances.
func (s *server) views(ctx context.Context, agents []*agent.Agent) ([]AgentView, error) {
	out := make([]AgentView, 0, len(agents))
	if len(agents) == 0 {
		return out, nil
	}
	ids := make([]string, len(agents))
	for i, a := range agents {
		ids[i] = a.ID
	}
	instances, err := s.cfg.Fleet.Instances(ctx, ids...)
	if err != nil {
		return nil, err
	}
	for _, a := range agents {
		v := AgentView{
			Spec: a.Spec, ID: a.ID, State: a.State, Health: a.Health, HealthReason: a.HealthReason,
			Version: a.Spec.Version, Revision: a.Revision, DeployedRevision: a.DeployedRevision, ResourceVersion: a.LockVersion,
			ActiveOperation: a.ActiveOperation, Failure: a.Failure, AllowedActions: agent.Allowed(a.State),
			Instances: instances[a.ID], CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
		}
		if v.Instances == nil {
			v.Instances = []fleet.Instance{}
		}
		out = append(out, v)
	}
	return out, nil
}

// tag is the ETag: the resource version, which If-Match compares, and a digest
// of everything that is shown, because health and instances change without a
// new version and a client that asks with If-None-Match must hear of them.
func (v *AgentView) tag() string {
	body, err := json.Marshal(v)
	if err != nil {
		return strconv.Quote(strconv.FormatInt(v.ResourceVersion, 10))
	}
	sum := sha256.Sum256(body)
	return strconv.Quote(strconv.FormatInt(v.ResourceVersion, 10) + "-" + hex.EncodeToString(sum[:6]))
}

// version reads If-Match: the tag of an agent, or just "resource_version" in
// quotes. 0 means any.
func (m Matching) version() (int64, error) {
	text := strings.TrimSpace(m.IfMatch)
	if text == "" || text == "*" {
		return 0, nil
	}
	inner, ok := strings.CutPrefix(text, `"`)
	if ok {
		inner, ok = strings.CutSuffix(inner, `"`)
	}
	number, _, _ := strings.Cut(inner, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 1 {
		return 0, fault.New(fault.Stale, "agent.stale", "The agent is not the one you saw").
			Because("If-Match holds no tag of an agent").Do("Get the agent again and send its ETag.")
	}
	return n, nil
}

// tagListed tells whether an If-None-Match header names the tag.
func tagListed(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" || part == tag {
			return true
		}
	}
	return false
}
