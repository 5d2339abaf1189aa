package rulefile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Folder is alert.Folder on files and directories. A directory that is not there
// is empty; of one that is, the files that end in .yml and .yaml are read.
type Folder struct{ Paths []string }

// Files reads them all, in the order of Paths and then of names.
func (f Folder) Files(ctx context.Context) ([]alert.Text, error) {
	var out []alert.Text
	for _, path := range f.Paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(path, ".yml") && !strings.HasSuffix(path, ".yaml"):
			continue
		case err == nil && info.IsDir():
			entries, err := os.ReadDir(path)
			if err != nil {
				out = append(out, alert.Text{Name: filepath.Base(path), Source: alert.Directory, Err: unreadable(path, err)})
				continue
			}
			for _, e := range entries {
				if ext := filepath.Ext(e.Name()); (ext == ".yml" || ext == ".yaml") && !strings.HasPrefix(e.Name(), ".") {
					out = append(out, read(filepath.Join(path, e.Name())))
				}
			}
		default:
			out = append(out, read(path))
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(out) > alert.MaxFiles {
			break
		}
	}
	return firstOfName(out), nil
}

// firstOfName lets the first file of a name be; rules are known by the name of their file.
func firstOfName(list []alert.Text) []alert.Text {
	seen := map[string]bool{}
	for i, t := range list {
		if seen[t.Name] {
			list[i].Err = fault.New(fault.Conflict, "alert.same_file", "There are two rule files named %s", t.Name).Do("Rename one of them.")
		}
		seen[t.Name] = true
	}
	return slices.Clip(list)
}

// read reads one file; opening a pipe would wait for its writer.
func read(path string) alert.Text {
	t := alert.Text{Name: filepath.Base(path), Source: alert.Directory}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			defer f.Close()
			t.Content, err = io.ReadAll(io.LimitReader(f, alert.MaxFile+1))
		}
	}
	if err != nil {
		t.Err = unreadable(path, err)
	}
	return t
}

func unreadable(path string, err error) error {
	why := "it can't be read by the portal's user"
	if errors.Is(err, fs.ErrNotExist) {
		why = "it does not exist"
	} else if err.Error() == "not a regular file" {
		why = err.Error()
	}
	return fault.New(fault.Unavailable, "alert.file", "The rule file %s can't be read", path).Because("%s", why).Wrap(err)
}
