package cargo

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"slices"
)

// Pack writes an archive of a directory, in the order of names. Links are not
// followed. Nothing may write to it meanwhile.
func Pack(ctx context.Context, root *os.Root, w io.Writer) error {
	out := tar.NewWriter(w)
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return pack(root, out, name, info)
	})
	return errors.Join(err, out.Close())
}

func pack(root *os.Root, out *tar.Writer, name string, info fs.FileInfo) error {
	link := ""
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		var err error
		if link, err = root.Readlink(name); err != nil {
			return err
		}
	default: // it is counted where the archive is passed on
		return out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: info.ModTime()})
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname, h.Format = name, 0, 0, "", "", tar.FormatPAX
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, f, h.Size)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s became shorter while it was read", name)
	}
	return errors.Join(err, f.Close())
}

// Unpack empties a directory and puts the content of an archive there, as Pass gives
// it. Cut off, it leaves a part of it, which the next one removes.
func Unpack(ctx context.Context, root *os.Root, r io.Reader) error {
	if err := empty(root); err != nil {
		return err
	}
	in := tar.NewReader(r)
	var dirs []*tar.Header // whose mode and time are set when all is in them
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = unpack(root, in, h)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
	}
	for _, h := range slices.Backward(dirs) {
		if err := settle(root, path.Clean(h.Name), h); err != nil {
			return err
		}
	}
	return nil
}

// empty removes what is in a directory.
func empty(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	list, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range list {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func unpack(root *os.Root, in io.Reader, h *tar.Header) error {
	name, err := inside(h.Name)
	if err != nil || name == "." {
		return err
	}
	if parent := path.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o700); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o700)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target, err := inside(h.Linkname)
		if err != nil {
			return err
		}
		return root.Link(target, name)
	case tar.TypeReg:
	default:
		return nil
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return settle(root, name, h)
}

// settle gives a file or directory its mode and time.
func settle(root *os.Root, name string, h *tar.Header) error {
	if err := root.Chmod(name, fs.FileMode(h.Mode&0o777)); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

// Hold is the first argument of Main for a program that waits, so that others can be
// begun beside it.
const Hold = "hold"

// Main is a program that packs or unpacks a directory where this one is all there is:
// "pack DIR" to its output, "unpack DIR" from its input. It gives the exit code.
func Main(args []string) int {
	err := errors.New("say hold, pack DIR or unpack DIR")
	switch {
	case len(args) == 1 && args[0] == Hold:
		told := make(chan os.Signal, 1)
		signal.Notify(told, os.Interrupt)
		<-told
		return 0
	case len(args) == 2:
		var root *os.Root
		if root, err = os.OpenRoot(args[1]); err != nil {
			break
		}
		defer root.Close()
		switch args[0] {
		case "pack":
			err = Pack(context.Background(), root, os.Stdout)
		case "unpack":
			err = Unpack(context.Background(), root, os.Stdin)
		default:
			err = errors.New("say pack or unpack")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
