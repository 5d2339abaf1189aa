// Command openapi prints the OpenAPI document of the portal's HTTP API,
// version 3.0, as generators of clients read it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/waooaw/platform-portal/internal/httpapi"
)

func main() {
	doc, err := httpapi.OpenAPI30()
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, doc, "", "  ")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
	fmt.Println(out.String())
}
