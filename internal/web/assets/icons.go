package assets

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed vendor/lucide/*.svg
var lucide embed.FS

// icons gives what each icon draws, by its name.
var icons = loadIcons()

func loadIcons() map[string]string {
	out := map[string]string{}
	err := fs.WalkDir(lucide, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := lucide.ReadFile(path)
		if err != nil {
			return err
		}
		_, inner, _ := strings.Cut(string(data), ">")
		inner, _, _ = strings.Cut(inner, "</svg>")
		out[strings.TrimSuffix(d.Name(), ".svg")] = inner
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("assets: the embedded icons can't be read: %v", err)) // a broken build
	}
	return out
}

// Icon gives what an icon draws, as the content of an svg element of 24 by 24, and
// whether there is one of that name.
func Icon(name string) (string, bool) {
	inner, ok := icons[name]
	return inner, ok
}
