package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	readyWithin = 60 * time.Second
	headerRoom  = 64 << 10 // bytes that the headers of a dead letter may add
)

// startEmbedded runs a server and gives it with the password of the portal's
// own user, which lives as long as the server.
func startEmbedded(ctx context.Context, cfg Config) (*server.Server, string, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, "", folderFault(err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		return nil, "", folderFault(err)
	}
	host, port, err := choosePort(cfg)
	if err != nil {
		return nil, "", err
	}
	door := newGate(cfg)
	srv, err := server.NewServer(&server.Options{
		ServerName: "portal", Host: host, Port: port,
		JetStream: true, StoreDir: cfg.Dir, SyncAlways: true,
		// The streams' own limits add up to MaxBytes. A lower one here could keep
		// a server whose limit was lowered from opening its streams at all.
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 50,
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
		MaxPayload:      int32(cfg.MaxPayload + headerRoom),
		AuthTimeout:     5, NoSigs: true, NoLog: true,
		CustomClientAuthentication: door,
	})
	if err != nil {
		return nil, "", unavailable(err)
	}
	log := &serverLog{log: cfg.Log}
	srv.SetLoggerV2(log, false, false, false)
	door.open(srv)
	srv.Start()
	if err := ready(ctx, srv, log); err != nil {
		return srv, "", err
	}
	return srv, door.portal, door.export()
}

func ready(ctx context.Context, srv *server.Server, log *serverLog) error {
	deadline := time.Now().Add(readyWithin)
	for !srv.ReadyForConnections(200 * time.Millisecond) {
		if why := log.fatal.Load(); why != nil {
			return unavailable(errors.New(*why)).Because("the embedded server did not start")
		}
		if err := ctx.Err(); err != nil {
			return unavailable(err).Because("the embedded server was not ready in time")
		}
		if time.Now().After(deadline) {
			return unavailable(errors.New("not ready")).Because("the embedded server was not ready in time")
		}
	}
	return nil
}

func folderFault(err error) error {
	return fault.New(fault.Unavailable, "bus.folder", "the folder of the message bus cannot be used").
		Because("%v", err).Do("Check the data directory, its owner and its free space").Wrap(err)
}

// choosePort gives the address to listen on. Agents that run know the port, so
// one that was chosen stays: it is kept in Dir/port.
func choosePort(cfg Config) (string, int, error) {
	host, portText, err := net.SplitHostPort(cfg.Listen)
	port, numErr := strconv.Atoi(portText)
	if err != nil || numErr != nil || port < 0 || port > 65535 {
		return "", 0, fault.New(fault.Invalid, "bus.listen", "%q is not an address to listen on", cfg.Listen).
			Do("Write it as 127.0.0.1:4222, or with port 0 for a free one")
	}
	file := filepath.Join(cfg.Dir, "port")
	chosen := port != 0
	if !chosen {
		if data, err := os.ReadFile(file); err == nil {
			port, _ = strconv.Atoi(strings.TrimSpace(string(data)))
			chosen = port > 0 && port < 65536
		}
	}
	if chosen {
		return host, port, portFree(host, port)
	}
	if port, err = freePort(host); err != nil {
		return "", 0, err
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(port)+"\n"), 0o600); err != nil {
		return "", 0, folderFault(err)
	}
	return host, port, nil
}

func portFree(host string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fault.New(fault.Conflict, "bus.port_taken", "the message bus cannot listen on port %d", port).
			Because("another program holds it").
			Do("End that program, or choose another port for the message bus and restart the agents that run").Wrap(err)
	}
	return l.Close()
}

// freePort looks below the range that systems take ports for outgoing
// connections from, so that the port is still free when the portal comes back.
func freePort(host string) (int, error) {
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(10_000))
		if err != nil {
			return 0, fmt.Errorf("choose a port: %w", err)
		}
		if port := 20_000 + int(n.Int64()); portFree(host, port) == nil {
			return port, nil
		}
	}
	return 0, fault.New(fault.Unavailable, "bus.no_port", "no free port was found for the message bus").
		Because("a hundred ports from 20000 to 29999 were tried on %q", host).
		Do("Set the address to listen on")
}
