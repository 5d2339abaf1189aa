package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Reason says in words why a request with NewClient's client failed. Unlike the
// error's own text it does not repeat the URL, whose path may be secret.
func Reason(err error) string {
	if f := fault.As(err); f != nil {
		if f.Why == "" {
			return f.What
		}
		return f.What + ": " + f.Why
	}
	var (
		dns     *net.DNSError
		timeout net.Error
		op      *net.OpError
		record  tls.RecordHeaderError
		bad     *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the request was cancelled"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the host name " + dns.Name + " does not exist"
	case errors.As(err, &dns):
		return "the host name " + dns.Name + " can't be looked up"
	case errors.As(err, &unknown), errors.As(err, &bad):
		return "its TLS certificate is not trusted"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS"
	case errors.As(err, &op) && op.Op == "dial":
		return "it can't be reached: " + dialReason(op.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return "it closed the connection"
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}

// dialReason takes the address away: it is that of the URL, or what its name
// resolves to.
func dialReason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
