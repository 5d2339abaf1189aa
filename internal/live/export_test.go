package live

import "github.com/waooaw/platform-portal/internal/auth"

// ParseOrder reads a message of a client.
func ParseOrder(data []byte) (subscribe, unsubscribe []string, err error) {
	o, err := parseOrder(data)
	return o.Subscribe, o.Unsubscribe, err
}

// Authorise checks rooms for a role.
var Authorise = authorise

// Encode gives the JSON message and the server-sent event of an event.
var Encode = encode

// Attach takes in a client without a connection. take gives the messages that
// wait for it.
func (h *Hub) Attach(who auth.Principal, rooms ...string) (take func() []string, err error) {
	c := h.newClient(who, func() (auth.Principal, error) { return who, nil })
	_, err = h.join(c, rooms)
	return func() []string {
		var out []string
		for _, f := range c.take(1000) {
			out = append(out, string(f.json))
		}
		return out
	}, err
}
