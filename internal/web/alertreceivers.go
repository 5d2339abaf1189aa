package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
)

// receiverForm is what was written into the form of a receiver, field by field.
type receiverForm url.Values

func (f receiverForm) get(name string) string { return url.Values(f).Get(name) }

// receiverFormOf fills the form with a receiver.
func receiverFormOf(r *alert.Receiver) receiverForm {
	f := url.Values{}
	f.Set("kind", string(alert.Webhook))
	f.Set("port", "587")
	f.Set("tls", "starttls")
	if r == nil {
		return receiverForm(f)
	}
	for name, v := range map[string]string{"id": r.ID, "name": r.Name, "kind": string(r.Kind), "url": r.URL, "secret": r.Secret, "group_by": strings.Join(r.GroupBy, ", "),
		"wait": strconv.Itoa(r.Wait), "every": strconv.Itoa(r.Every), "repeat": strconv.Itoa(r.Repeat)} {
		f.Set(name, v)
	}
	var matchers []string
	for _, m := range r.Matchers {
		matchers = append(matchers, m.String())
	}
	f.Set("matchers", strings.Join(matchers, ", "))
	if r.Disabled {
		f.Set("disabled", "true")
	}
	if r.LeaveEnds {
		f.Set("leave_ends", "true")
	}
	if m := r.Mail; m != nil {
		for name, v := range map[string]string{"host": m.Host, "port": strconv.Itoa(m.Port), "tls": m.TLS, "user": m.User, "password": m.Password, "from": m.From, "to": strings.Join(m.To, ", ")} {
			f.Set(name, v)
		}
	}
	return receiverForm(f)
}

// receiver reads the form.
func (f receiverForm) receiver() (alert.Receiver, error) {
	r := alert.Receiver{
		ID: f.get("id"), Name: strings.TrimSpace(f.get("name")), Kind: alert.Kind(f.get("kind")), Disabled: f.get("disabled") == "true", LeaveEnds: f.get("leave_ends") == "true",
		GroupBy: strings.FieldsFunc(f.get("group_by"), func(c rune) bool { return c == ',' || c == ' ' }),
	}
	var err error
	if r.Matchers, err = matchersOf("matchers", f.get("matchers")); err != nil {
		return r, err
	}
	for name, to := range map[string]*int{"wait": &r.Wait, "every": &r.Every, "repeat": &r.Repeat} {
		if text := strings.TrimSpace(f.get(name)); text != "" {
			if *to, err = strconv.Atoi(text); err != nil {
				return r, wrongField(timeFields[name], "must be a number of seconds")
			}
		}
	}
	if r.Kind != alert.Email {
		r.URL, r.Secret = strings.TrimSpace(f.get("url")), strings.TrimSpace(f.get("secret"))
		return r, nil
	}
	port, err := strconv.Atoi(strings.TrimSpace(f.get("port")))
	if err != nil {
		return r, wrongField("email.port", "must be a number")
	}
	r.Mail = &alert.Mail{
		Host: strings.TrimSpace(f.get("host")), Port: port, TLS: f.get("tls"), User: strings.TrimSpace(f.get("user")), Password: strings.TrimSpace(f.get("password")),
		From: strings.TrimSpace(f.get("from")), To: strings.FieldsFunc(f.get("to"), func(c rune) bool { return c == ',' || c == ' ' }),
	}
	return r, nil
}

var timeFields = map[string]string{"wait": "group_wait_seconds", "every": "group_interval_seconds", "repeat": "repeat_interval_seconds"}

func (s *Server) receiversPage(w http.ResponseWriter, r *http.Request) error {
	var chosen *alert.Receiver
	if id := r.URL.Query().Get("edit"); id != "" {
		var err error
		if chosen, err = s.cfg.Alerts.GetReceiver(r.Context(), id); err != nil {
			return err
		}
	}
	return s.showReceivers(w, r, nil, receiverFormOf(chosen))
}

func (s *Server) showReceivers(w http.ResponseWriter, r *http.Request, problem *fault.Error, form receiverForm) error {
	list, err := s.cfg.Alerts.ListReceivers(r.Context())
	if err != nil {
		return err
	}
	deliveries, next, err := s.cfg.Alerts.ListDeliveries(r.Context(), "", r.URL.Query().Get("cursor"), perPage)
	if err != nil {
		return err
	}
	older := olderHref(r, next)
	return s.showAlerts(w, r, "Receivers of alerts", receiversPath, problem, func(f alertFrame) templ.Component { return receiversBody(f, list, deliveries, older, form) })
}

func (s *Server) saveReceiver(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := receiverForm(r.PostForm)
	again := func(f *fault.Error) error { return s.showReceivers(w, r, f, form) }
	one, err := form.receiver()
	if err == nil {
		_, err = s.cfg.Alerts.SaveReceiver(r.Context(), one)
	}
	return afterAlert(w, r, err, receiversPath, "receiver", again)
}

func (s *Server) testReceiver(w http.ResponseWriter, r *http.Request) error {
	d, err := s.cfg.Alerts.Test(r.Context(), r.PathValue("id"))
	if err == nil && d.State != alert.Delivered {
		err = fault.New(fault.Conflict, "alert.test", "The test was not delivered").Because("%s", d.Error)
	}
	return afterAlert(w, r, err, receiversPath, "delivered", func(f *fault.Error) error { return s.showReceivers(w, r, f, receiverFormOf(nil)) })
}

func (s *Server) deleteReceiver(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.Alerts.DeleteReceiver(r.Context(), r.PathValue("id"))
	return afterAlert(w, r, err, receiversPath, "receiver-deleted", func(f *fault.Error) error { return s.showReceivers(w, r, f, receiverFormOf(nil)) })
}
