package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Credentials gives what registries ask for. It is asked anew each time, so that new
// ones count at once.
type Credentials func(ctx context.Context) (Logins, error)

// Logins are the users and passwords of registries, as "user:password" in base64, by
// the names that the docker command gives registries.
type Logins map[string]string

// hub is what Docker's own registry was called before registries had domains.
const hub = "https://index.docker.io/v1/"

// FileCredentials reads a config.json as the docker command keeps it. Helpers that
// keep passwords elsewhere are not asked.
func FileCredentials(file string) Credentials {
	return func(context.Context) (Logins, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, noCredentials(err)
		}
		var config struct {
			Auths map[string]struct {
				Auth string `json:"auth"`
			} `json:"auths"`
		}
		if err := json.Unmarshal(text, &config); err != nil {
			return nil, noCredentials(errors.New("it is not JSON of the expected form"))
		}
		list := Logins{}
		for name, one := range config.Auths {
			list[name] = one.Auth
		}
		return list, nil
	}
}

func noCredentials(err error) error {
	return fault.New(fault.Invalid, "docker.credentials", "The credentials of registries can't be read").
		Because("%v", err).Do("Correct the setting docker.config of the engine, a file as ~/.docker/config.json.").Wrap(err)
}

// Of gives the user and password of a registry; an empty user means none.
func (l Logins) Of(domain string) (user, password string, err error) {
	auth, err := l.of(domain)
	return auth.Username, auth.Password, err
}

func (l Logins) of(domain string) (registry.AuthConfig, error) {
	names := []string{domain, "https://" + domain}
	if domain == "docker.io" {
		names = append(names, hub)
	}
	for _, name := range names {
		packed, ok := l[name]
		if !ok {
			continue
		}
		user, password, ok := opened(packed)
		if !ok {
			return registry.AuthConfig{}, noCredentials(fmt.Errorf("the entry of %s has no user and password", name))
		}
		return registry.AuthConfig{Username: user, Password: password, ServerAddress: domain}, nil
	}
	return registry.AuthConfig{}, nil
}

// all gives every one that can be read, as builds take them. Whether a build needs one
// that can't, only the engine knows.
func (l Logins) all() map[string]registry.AuthConfig {
	list := map[string]registry.AuthConfig{}
	for name, packed := range l {
		if user, password, ok := opened(packed); ok {
			if name != hub {
				name = strings.TrimPrefix(name, "https://")
			}
			list[name] = registry.AuthConfig{Username: user, Password: password, ServerAddress: name}
		}
	}
	return list
}

func opened(packed string) (user, password string, ok bool) {
	plain, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}

// logins gives the configured ones.
func (r *Runtime) logins(ctx context.Context) (Logins, error) {
	if r.cfg.Credentials == nil {
		return nil, nil
	}
	return r.cfg.Credentials(ctx)
}
