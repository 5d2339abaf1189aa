package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/web/assets"
	"github.com/waooaw/platform-portal/internal/web/components"
)

// styled tells whether the brand has colours of its own.
func (b Brand) styled() bool { return len(b.Colors) > 0 }

// color is what a colour of a brand may be: nothing that could be more than that.
var (
	color     = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
	colorName = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)
)

// Check names what can't be used of the brand.
func (b Brand) Check() error {
	for _, name := range slices.Sorted(maps.Keys(b.Colors)) {
		if !colorName.MatchString(name) || !color.MatchString(b.Colors[name]) {
			return fmt.Errorf("brand: %q is no color: name a value of the theme and give it as #rrggbb", name+": "+b.Colors[name])
		}
	}
	if b.Logo != nil && !bytes.Contains(b.Logo, []byte("<svg")) {
		return fmt.Errorf("brand: the logo is no SVG picture")
	}
	return nil
}

// props is what the logo is made of.
func (b Brand) props() components.BrandProps {
	p := components.BrandProps{Name: b.Name, Claim: b.Claim}
	if b.Logo != nil {
		p.Picture = "/brand.svg"
	}
	return p
}

// icon is the address of the small picture in the browser's tab.
func (b Brand) icon() string {
	if b.Logo != nil {
		return "/brand.svg"
	}
	return assets.URL("favicon.svg")
}

// webManifest says how the portal looks as an application of the system.
func (s *Server) webManifest(w http.ResponseWriter, _ *http.Request) error {
	b := s.cfg.Brand
	body, err := json.Marshal(map[string]any{
		"name": b.Name + " Platform Portal", "short_name": b.Name, "start_url": "/", "display": "standalone",
		"background_color": "#0a0a0a", "theme_color": "#0a0a0a",
		"icons": []map[string]string{{"src": b.icon(), "sizes": "any", "type": "image/svg+xml"}},
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/manifest+json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(body)
	return nil
}

// brandStyle is the style sheet of the brand's colours.
func (s *Server) brandStyle(w http.ResponseWriter, _ *http.Request) error {
	if !s.cfg.Brand.styled() {
		return notHere()
	}
	var dark, light strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Brand.Colors)) {
		if of, ok := strings.CutPrefix(name, "light-"); ok {
			fmt.Fprintf(&light, "--%s:%s;", of, s.cfg.Brand.Colors[name])
		} else {
			fmt.Fprintf(&dark, "--%s:%s;", name, s.cfg.Brand.Colors[name])
		}
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = fmt.Fprintf(w, ":root{%s}:root[data-theme=light]{%s}@media(prefers-color-scheme:light){:root[data-theme=system]{%s}}", dark.String(), light.String(), light.String())
	return nil
}

// brandLogo is the brand's own picture.
func (s *Server) brandLogo(w http.ResponseWriter, _ *http.Request) error {
	if s.cfg.Brand.Logo == nil {
		return notHere()
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox") // it may be looked at alone
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(s.cfg.Brand.Logo)
	return nil
}
