package alert

import _ "embed"

// shippedName is the name of the rule file that is a part of the portal.
const shippedName = "platform-portal.yml"

//go:embed shipped/platform-portal.yml
var shippedRules []byte
