package agentkit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// Env is what the portal tells an agent about itself.
type Env struct {
	ID       string // AGENT_ID
	Name     string // AGENT_NAME
	Version  string // AGENT_VERSION
	Instance string // AGENT_INSTANCE
	DID      string // AGENT_DID
	Host     string // AGENT_HOST, the address to serve on; 127.0.0.1 where it is not set
	Port     int    // PORT
	LogLevel slog.Level
	Portal   string // PORTAL_URL
	DataDir  string // AGENT_DATA_DIR, kept over restarts; may be empty

	queueURL, queueUser, queueToken string
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// ReadEnv reads the environment of the agent contract and names everything
// that is wrong with it at once.
func ReadEnv(getenv func(string) string) (Env, error) {
	e := Env{
		ID: getenv("AGENT_ID"), Name: getenv("AGENT_NAME"), Version: getenv("AGENT_VERSION"),
		Instance: getenv("AGENT_INSTANCE"), DID: getenv("AGENT_DID"), Portal: getenv("PORTAL_URL"),
		DataDir: getenv("AGENT_DATA_DIR"), Host: cmp.Or(getenv("AGENT_HOST"), "127.0.0.1"),
		queueURL: getenv("QUEUE_URL"), queueUser: getenv("QUEUE_USER"), queueToken: getenv("QUEUE_TOKEN"),
	}
	var errs []error
	port := getenv("PORT")
	n, err := strconv.Atoi(port)
	switch {
	case port == "":
		errs = append(errs, errors.New("PORT is not set: it is the port to serve HTTP on, for example PORT=8080"))
	case err != nil || n < 1 || n > 65535:
		errs = append(errs, fmt.Errorf("PORT is %q: a port is a number from 1 to 65535", port))
	}
	e.Port = n
	if net.ParseIP(e.Host) == nil {
		errs = append(errs, fmt.Errorf("AGENT_HOST is %q: it is an IP address to serve on, for example 0.0.0.0", e.Host))
	}
	if e.queueURL != "" && !idPattern.MatchString(e.ID) {
		errs = append(errs, fmt.Errorf("AGENT_ID is %q: with QUEUE_URL it is needed, of letters, digits, _ and -", e.ID))
	}
	if e.queueUser == "" {
		e.queueUser = e.ID
	}
	if level := getenv("LOG_LEVEL"); level != "" {
		if strings.EqualFold(level, "warning") {
			level = "warn"
		}
		if err := e.LogLevel.UnmarshalText([]byte(level)); err != nil {
			errs = append(errs, fmt.Errorf("LOG_LEVEL is %q: debug, info, warn and error are accepted", level))
		}
	}
	return e, errors.Join(errs...)
}

func (e Env) logger(w io.Writer) *slog.Logger {
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: e.LogLevel}))
	for _, a := range [][2]string{{"agent_id", e.ID}, {"instance", e.Instance}} {
		if a[1] != "" {
			log = log.With(a[0], a[1])
		}
	}
	return log
}
