package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestBrand(t *testing.T) {
	show(t, components.Brand(components.BrandProps{Name: "WAOOAW", Claim: "Ways of Working"})).has("<svg", "WAOOAW", "Ways of Working")
	own := show(t, components.Brand(components.BrandProps{Name: "Acme", Picture: "/brand.svg"}))
	own.has(`src="/brand.svg"`, `alt=""`, "Acme")
	own.lacks("<svg")
}
