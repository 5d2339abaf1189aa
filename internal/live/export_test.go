package live

// ParseOrder reads a message of a client.
func ParseOrder(data []byte) (subscribe, unsubscribe []string, err error) {
	o, err := parseOrder(data)
	return o.Subscribe, o.Unsubscribe, err
}

// Authorise checks rooms for a role.
var Authorise = authorise

// Encode gives the JSON message and the server-sent event of an event.
var Encode = encode
