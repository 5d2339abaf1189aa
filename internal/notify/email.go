package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fault"
)

// How long a mail server may take in all, and how much it may say.
const (
	mailTime = 20 * time.Second
	maxTalk  = 256 << 10
)

// email hands a mail to the server.
func (s *Sender) email(ctx context.Context, to alert.Mail, m alert.Message, id string) error {
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	password := ""
	if to.Password != "" {
		var err error
		if password, err = s.secret(ctx, to.Password); err != nil {
			return err
		}
	}
	line, err := s.Policy.DialContext(ctx, "tcp", net.JoinHostPort(strings.Trim(to.Host, "[]"), strconv.Itoa(to.Port)))
	if err != nil {
		return unreachable(err)
	}
	defer line.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := line.SetDeadline(deadline); err != nil {
			return unreachable(err)
		}
	}
	// A portal that stops does not wait for the server.
	stop := context.AfterFunc(ctx, func() { _ = line.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var conn net.Conn = &bounded{Conn: line, left: maxTalk}
	if to.TLS == "tls" {
		conn = tls.Client(conn, s.tls(to.Host))
	}
	return mailed(s.converse(conn, to, password, m, id))
}

// tls says how the server is to prove who it is.
func (s *Sender) tls(host string) *tls.Config {
	return &tls.Config{ServerName: strings.Trim(host, "[]"), MinVersion: tls.VersionTLS12, RootCAs: s.Roots}
}

// errNoTLS and errNoAuth say what a server does not offer.
var (
	errNoTLS  = errors.New("it does not offer STARTTLS")
	errNoAuth = errors.New("it does not offer to sign in with a password")
)

// converse speaks SMTP.
func (s *Sender) converse(conn net.Conn, to alert.Mail, password string, m alert.Message, id string) error {
	c, err := smtp.NewClient(conn, strings.Trim(to.Host, "[]"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello("platform-portal.invalid"); err != nil {
		return err
	}
	if to.TLS == "starttls" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errNoTLS
		}
		if err := c.StartTLS(s.tls(to.Host)); err != nil {
			return err
		}
	}
	if to.User != "" {
		if ok, _ := c.Extension("AUTH"); !ok {
			return errNoAuth
		}
		if err := c.Auth(smtp.PlainAuth("", to.User, password, strings.Trim(to.Host, "[]"))); err != nil {
			return err
		}
	}
	if err := c.Mail(to.From); err != nil {
		return err
	}
	for _, one := range to.To {
		if err := c.Rcpt(one); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if err := s.write(w, to, m, id); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the mail is taken
	return nil
}

// bounded ends a conversation with a server that does not stop talking.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// write writes the mail. Its id stays the same when it is sent again, so that
// mail systems can tell.
func (s *Sender) write(w io.Writer, to alert.Mail, m alert.Message, id string) error {
	_, domain, _ := strings.Cut(to.From, "@")
	thread := sha256.Sum256([]byte(m.Receiver + "\x00" + m.GroupKey))
	reference := "<" + hex.EncodeToString(thread[:12]) + "@" + domain + ">"
	for _, line := range []string{
		"From: " + to.From,
		"To: " + strings.Join(to.To, ",\r\n\t"),
		"Subject: " + mime.QEncoding.Encode("utf-8", subject(m)),
		"Date: " + s.Now().Format(time.RFC1123Z),
		"Message-Id: <" + id + "@" + domain + ">",
		"References: " + reference,
		"Auto-Submitted: auto-generated",
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: quoted-printable",
		"",
	} {
		if _, err := fmt.Fprintf(w, "%s\r\n", line); err != nil {
			return err
		}
	}
	q := quotedprintable.NewWriter(w)
	if _, err := io.WriteString(q, strings.ReplaceAll(plain(m), "\n", "\r\n")); err != nil {
		return err
	}
	return q.Close()
}

// mailed explains what a mail server said. A refusal for good (5xx) is not worth
// another try.
func mailed(err error) error {
	if err == nil {
		return nil
	}
	var said *textproto.Error
	switch {
	case errors.As(err, &said) && said.Code >= 500:
		return fault.New(fault.Invalid, "alert.mail_refused", "The mail server refused the mail").Because("it said %d %s", said.Code, oneLine(said.Msg)).
			Do("Correct sender, receivers or password, then send a test.")
	case errors.As(err, &said):
		return fault.New(fault.Unavailable, "alert.mail_later", "The mail server did not take the mail").Because("it said %d %s", said.Code, oneLine(said.Msg))
	case errors.Is(err, errNoTLS), errors.Is(err, errNoAuth):
		return fault.New(fault.Invalid, "alert.mail_server", "The mail was not sent").Because("%s", err).
			Do("Use a server that does, or change how the receiver connects.")
	}
	return fault.New(fault.Unavailable, "alert.mail", "The mail was not sent").Because("%s", egress.Reason(err))
}
