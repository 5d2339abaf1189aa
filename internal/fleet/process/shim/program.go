package shim

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

// DefaultPath is where commands are looked for if the environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Find gives the file that a command names: a path, which is relative to dir
// unless absolute, or a name that is looked up in the directories of path. The
// fault says why it cannot run.
func Find(command, dir, path string) (string, error) {
	if command == "" {
		return "", cannot(command, "command.missing", "no command is given").Do("Give the program to run as command.")
	}
	if strings.Contains(command, "/") {
		file := command
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		return file, check(command, file)
	}
	var first error
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue
		}
		file := filepath.Join(d, command)
		err := check(command, file)
		if err == nil {
			return file, nil
		}
		if f := fault.As(err); first == nil && f.Code != "command.not_found" {
			first = err
		}
	}
	if first != nil {
		return "", first
	}
	return "", cannot(command, "command.not_found", "it is in none of the directories "+path).
		Do("Install it, or give its full path as command.")
}

func check(command, file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return cannot(command, "command.not_found", file+" does not exist").Do("Install it, or correct command.")
	case errors.Is(err, fs.ErrPermission):
		return cannot(command, "command.not_executable", "the portal may not look at "+file).
			Do("Let the portal's user read its directories.")
	case err != nil:
		return cannot(command, "command.not_found", file+" cannot be used").Do("Correct command.").Wrap(err)
	case info.IsDir():
		return cannot(command, "command.not_executable", file+" is a directory").Do("Give a program as command.")
	case unix.Access(file, unix.X_OK) != nil:
		return cannot(command, "command.not_executable", file+" is not executable").Do("Run: chmod +x " + file)
	}
	if !info.Mode().IsRegular() {
		return nil // to read from it could take forever
	}
	if line := interpreter(file); filepath.IsAbs(line) {
		if _, err := os.Stat(line); errors.Is(err, fs.ErrNotExist) {
			return explain(command, file, syscall.ENOENT)
		}
	}
	return nil
}

// explain turns an error of the start into a fault.
func explain(command, file string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		why := "its interpreter or loader does not exist"
		if line := interpreter(file); line != "" {
			why = "its interpreter " + line + " does not exist"
		}
		return cannot(command, "command.not_found", why).Do("Install the interpreter, or correct the first line of " + file + ".")
	case errors.Is(err, syscall.ENOEXEC):
		return cannot(command, "command.not_executable", file+" is no program for this machine, and no script that names its interpreter").
			Do("Give a program that was built for this machine, or begin the script with #!.")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return cannot(command, "command.not_executable", "the system refuses to run "+file).
			Do("Check its permissions, and that its file system is not mounted noexec.")
	case errors.Is(err, syscall.E2BIG):
		return cannot(command, "command.too_big", "arguments and environment are too large").Do("Pass large values in files.")
	case errors.Is(err, syscall.EINVAL):
		return cannot(command, "command.invalid", "an argument or a variable holds a NUL byte").Do("Remove it.")
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		return fault.New(fault.Unavailable, "process.no_room", "%s could not be started", command).
			Because("the machine or the instance's limits have no room for another process").
			Do("Stop something, or raise pids or memory.").Wrap(err)
	}
	return fault.New(fault.Invalid, "command.failed", "%s could not be started", command).Because("%v", err)
}

func interpreter(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadString('\n')
	if rest, ok := strings.CutPrefix(line, "#!"); ok {
		if words := strings.Fields(rest); len(words) > 0 {
			return words[0]
		}
	}
	return ""
}

func cannot(command, code, why string) *fault.Error {
	return fault.New(fault.Invalid, code, "the command %q cannot run", command).Because("%s", why).
		At(fault.Field{Path: "command", Message: why})
}

// execute starts the main process with its output going to the log. The
// channel is closed when all its output is there.
func (s *supervisor) execute() (int, chan bool, error) {
	l := s.cfg.Launch
	file, err := Find(l.Command, s.cfg.WorkDir, s.path())
	if err != nil {
		return 0, nil, err
	}
	if _, err := os.Stat(s.cfg.WorkDir); err != nil {
		return 0, nil, fault.New(fault.Unavailable, "workdir.missing", "%s could not be started", l.InstanceID).
			Because("its working directory is gone").Do("Deploy the agent again.").Wrap(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	outR, outW, err := pipe()
	if err != nil {
		return 0, nil, err
	}
	defer outW.Close()
	errR, errW, err := pipe()
	if err != nil {
		outR.Close()
		return 0, nil, err
	}
	defer errW.Close()
	var pid int
	known := make(chan struct{})
	pid, err = s.kids.start(spawn{
		path: file, argv: append([]string{l.Command}, l.Args...), env: s.environ(), dir: s.cfg.WorkDir,
		files: []uintptr{null.Fd(), outW.Fd(), errW.Fd()},
	}, func(status syscall.WaitStatus) {
		<-known
		s.post(func() { s.ended(pid, status) })
	})
	close(known)
	if err != nil {
		outR.Close()
		errR.Close()
		return 0, nil, explain(l.Command, file, err)
	}
	if disk := uint64(l.Resources.Disk); disk > 0 {
		_ = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: disk, Max: disk}, nil)
	}
	return pid, s.capture(outR, errR), nil
}

// capture copies both streams into the log until they end.
func (s *supervisor) capture(stdout, stderr *os.File) chan bool {
	done := make(chan bool)
	first := make(chan bool)
	go func() {
		defer close(first)
		defer stderr.Close()
		s.logs.Copy(stderr, segment.Stderr)
	}()
	go func() {
		defer close(done)
		defer stdout.Close()
		s.logs.Copy(stdout, segment.Stdout)
		<-first
	}()
	return done
}

// pipe gives a pipe whose reading end waits without holding a thread, and whose
// writing end is as programs expect it.
func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	_ = unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

func (s *supervisor) path() string {
	if p, ok := s.cfg.Launch.Env["PATH"]; ok {
		return p
	}
	return DefaultPath
}

func (s *supervisor) environ() []string {
	env := make([]string, 0, len(s.cfg.Launch.Env))
	for name, value := range s.cfg.Launch.Env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
