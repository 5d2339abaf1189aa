package fleet

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

var (
	secretFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	secretVar  = regexp.MustCompile(`^PORTAL_SECRET_[A-Z0-9_]{1,100}$`)
)

// SecretDir resolves file:NAME to the content of a file in Dir, without the
// newline at its end, and env:PORTAL_SECRET_NAME to a variable of the portal's
// own environment. Nothing else of the machine can be reached through it.
type SecretDir struct {
	Dir    string
	Getenv func(name string) (string, bool) // nil means os.LookupEnv
}

// Secret implements SecretSource.
func (d SecretDir) Secret(_ context.Context, reference string) (string, error) {
	kind, name, _ := strings.Cut(reference, ":")
	switch {
	case kind == "file" && secretFile.MatchString(name):
		return d.file(name)
	case kind == "env" && secretVar.MatchString(name):
		get := d.Getenv
		if get == nil {
			get = os.LookupEnv
		}
		if v, ok := get(name); ok {
			return v, nil
		}
		return "", fault.New(fault.NotFound, "secret.not_found", "There is no secret env:%s", name).
			Because("the portal was started without that variable").Do("Set it in the portal's environment and restart the portal.")
	}
	// The text is not repeated: it may be the secret itself.
	return "", fault.New(fault.Invalid, "secret.bad_reference", "The reference to a secret is not understood").
		Do("Use file:NAME or env:PORTAL_SECRET_NAME.")
}

func (d SecretDir) file(name string) (string, error) {
	root, err := os.OpenRoot(d.Dir)
	if err == nil {
		defer root.Close()
		var info fs.FileInfo
		if info, err = root.Stat(name); err == nil {
			return read(root, info, name)
		}
	}
	missing := fault.New(fault.NotFound, "secret.not_found", "There is no secret file:%s", name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", missing.Because("the secrets directory has no such file").
			Do("Put the value into a file of that name in the portal's secrets directory.").Wrap(err)
	}
	return "", missing.Because("the file can't be read").Do("Let the portal's user read it; it must lie in the secrets directory itself.").Wrap(err)
}

// read gives the content of a regular file; opening a pipe would wait for its writer.
func read(root *os.Root, info fs.FileInfo, name string) (string, error) {
	data, err := []byte(nil), errors.New("not a regular file")
	if info.Mode().IsRegular() {
		var f *os.File
		if f, err = root.Open(name); err == nil {
			defer f.Close()
			data, err = io.ReadAll(io.LimitReader(f, maxSecret+1))
		}
	}
	if err != nil {
		return "", fault.New(fault.Invalid, "secret.unreadable", "The secret file:%s can't be read", name).
			Do("It must be a plain file that the portal's user may read.").Wrap(err)
	}
	if len(data) > maxSecret || strings.IndexByte(string(data), 0) >= 0 {
		return "", fault.New(fault.Invalid, "secret.unusable", "The secret file:%s can't be put into an environment", name).
			Because("it is longer than %d bytes or has a NUL byte", maxSecret).Do("Use a shorter text.")
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}
