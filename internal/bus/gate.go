package bus

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/waooaw/platform-portal/internal/queue"
)

// portalUser cannot be the id of an agent.
const portalUser = "$portal"

const verifyWithin = 4 * time.Second

// gate decides who may connect to the embedded server and what they may do.
type gate struct {
	cfg    Config
	portal string // password of the portal's own connection

	mu  sync.Mutex
	srv *server.Server
}

func newGate(cfg Config) *gate { return &gate{cfg: cfg, portal: rand.Text()} }

func (g *gate) open(srv *server.Server) { g.srv = srv }

// Check implements server.Authentication.
func (g *gate) Check(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	if opts.Username == portalUser {
		if subtle.ConstantTimeCompare([]byte(opts.Password), []byte(g.portal)) != 1 {
			return false
		}
		c.RegisterUser(&server.User{Username: portalUser, Account: g.srv.GlobalAccount()})
		return true
	}
	id := opts.Username
	if g.cfg.Verify == nil || !validID(id) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyWithin)
	defer cancel()
	if err := g.cfg.Verify(ctx, id, opts.Password); err != nil {
		g.cfg.Log.Debug("message bus refuses an agent", "agent_id", id, "error", err)
		return false
	}
	acc, err := g.account(id)
	if err != nil {
		g.cfg.Log.Error("message bus cannot make an agent's account", "agent_id", id, "error", err)
		return false
	}
	c.RegisterUser(&server.User{
		Username: id, Account: acc,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: mayPublish(id)},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + id + ".>"}},
		},
	})
	return true
}

// account gives the agent's own account. It holds imports of the agent's own
// subjects and nothing else; accounts last as long as the server (28 kB each).
func (g *gate) account(id string) (*server.Account, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	acc, isNew := g.srv.LookupOrRegisterAccount(accountName(id))
	if !isNew && acc.NumServiceImports() > 0 {
		return acc, nil
	}
	portal, stream := g.srv.GlobalAccount(), shardOf(id, shards)
	imports := [][2]string{
		{queue.Events(id), queue.Events(id)},
		{queue.DeadLetters(id), queue.DeadLetters(id)},
		{"$JS.API.CONSUMER.MSG.NEXT.COMMANDS." + id, "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + id},
		{"$JS.API.CONSUMER.INFO.COMMANDS." + id, "$JS.API.CONSUMER.INFO." + stream + "." + id},
		{"$JS.ACK." + stream + "." + id + ".>", "$JS.ACK." + stream + "." + id + ".>"},
	}
	for _, im := range imports {
		if err := acc.AddServiceImport(portal, im[0], im[1]); err != nil {
			return nil, fmt.Errorf("import %s: %w", im[0], err)
		}
	}
	return acc, nil
}

func accountName(id string) string { return "agent-" + id }

func mayPublish(id string) []string {
	return []string{
		queue.Events(id), queue.DeadLetters(id),
		"$JS.API.CONSUMER.MSG.NEXT.COMMANDS." + id,
		"$JS.API.CONSUMER.INFO.COMMANDS." + id,
		"$JS.ACK." + shardOf(id, shards) + "." + id + ".>",
	}
}

// export lets the agents' accounts import what they need from the portal's.
func (g *gate) export() error {
	one, many := server.Singleton, server.Streamed
	exports := map[string]server.ServiceRespType{
		queue.Events("*"): one, queue.DeadLetters("*"): one,
		"$JS.API.CONSUMER.MSG.NEXT.*.*": many,
		"$JS.API.CONSUMER.INFO.*.*":     one,
		"$JS.ACK.*.*.>":                 one,
	}
	for subject, kind := range exports {
		if err := g.srv.GlobalAccount().AddServiceExportWithResponse(subject, kind, nil); err != nil {
			return fmt.Errorf("export %s: %w", subject, err)
		}
	}
	return nil
}

// Disconnect cuts the connections that the agent has now, and tells how many
// there were. Use it after the agent's credentials were revoked: the server
// asks for them only when a connection begins. With an external NATS it does
// nothing.
func (b *Bus) Disconnect(agentID string) int {
	b.mu.RLock()
	srv := b.srv
	b.mu.RUnlock()
	if srv == nil || !validID(agentID) {
		return 0
	}
	conns, err := srv.Connz(&server.ConnzOptions{Account: accountName(agentID), State: server.ConnOpen, Limit: 1 << 16})
	if err != nil {
		return 0
	}
	cut := 0
	for _, c := range conns.Conns {
		if srv.DisconnectClientByID(c.Cid) == nil {
			cut++
		}
	}
	return cut
}
