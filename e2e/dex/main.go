// Command dex is a real OpenID Connect provider for tests: Dex with its state
// in memory. It is a module of its own so that the portal does not depend on
// what Dex depends on.
//
// It reads one Config from standard input, serves on a free loopback port,
// prints the issuer on one line, and runs until standard input ends: it never
// outlives the test that started it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"golang.org/x/crypto/bcrypt"
)

// Config says who may sign in to what.
type Config struct {
	Clients []Client `json:"clients"`
	People  []Person `json:"people"`
	// Groups adds a way to sign in without a form, as kilgore@kilgore.trout of
	// the group "authors".
	Groups bool `json:"groups"`
	// TokenLife is how long an id_token is good, in nanoseconds; 0 means 24 hours.
	TokenLife time.Duration `json:"token_life"`
}

// Client is a program that people sign in to.
type Client struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret"`
	RedirectURIs []string `json:"redirect_uris"`
}

// Person signs in with e-mail and password.
type Person struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dex:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var cfg Config
	d := json.NewDecoder(in)
	if err := d.Decode(&cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store := memory.New(log)
	if err := fill(ctx, store, cfg); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + l.Addr().String() + "/dex"
	handler, err := server.NewServer(ctx, server.Config{
		Issuer: issuer, Storage: store, SkipApprovalScreen: true, IDTokensValidFor: cfg.TokenLife, Logger: log,
		Web: server.WebConfig{Issuer: "Test people"},
	})
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, io.MultiReader(d.Buffered(), in))
		_ = srv.Close()
	}()
	fmt.Fprintln(out, issuer)
	if err := srv.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func fill(ctx context.Context, store storage.Storage, cfg Config) error {
	connectors := []storage.Connector{{ID: server.LocalConnector, Type: server.LocalConnector, Name: "E-mail"}}
	if cfg.Groups {
		connectors = append(connectors, storage.Connector{ID: "mock", Type: "mockCallback", Name: "Groups"})
	}
	for _, c := range connectors {
		if err := store.CreateConnector(ctx, c); err != nil {
			return fmt.Errorf("connector %s: %w", c.ID, err)
		}
	}
	for _, c := range cfg.Clients {
		if err := store.CreateClient(ctx, storage.Client{ID: c.ID, Secret: c.Secret, Name: c.ID, RedirectURIs: c.RedirectURIs}); err != nil {
			return fmt.Errorf("client %s: %w", c.ID, err)
		}
	}
	for _, p := range cfg.People {
		hash, err := bcrypt.GenerateFromPassword([]byte(p.Password), bcrypt.DefaultCost) // the least that Dex takes
		if err != nil {
			return err
		}
		if err := store.CreatePassword(ctx, storage.Password{Email: p.Email, Hash: hash, Username: p.Name, UserID: p.ID}); err != nil {
			return fmt.Errorf("person %s: %w", p.Email, err)
		}
	}
	return nil
}
