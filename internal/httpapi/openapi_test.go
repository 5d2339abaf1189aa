package httpapi_test

import (
	"os"
	"testing"

	"github.com/waooaw/platform-portal/internal/httpapi"
)

func TestOpenAPI(t *testing.T) {
	b, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile("/tmp/openapi.json", b, 0o644)
	b, err = httpapi.OpenAPI30()
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile("/tmp/openapi30.json", b, 0o644)
}
