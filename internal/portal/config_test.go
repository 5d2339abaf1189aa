package portal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

func noEnv(string) string { return "" }

func TestEverySettingHasAWorkingDefault(t *testing.T) {
	c, values, err := Load(nil, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.PublicURL != "http://127.0.0.1:8080" || c.SecretsDir != filepath.Join(c.Data, "secrets") || c.UndoWindow != 15*time.Minute {
		t.Errorf("defaults: %+v", c)
	}
	for _, v := range values {
		if v.Source != "default" || v.Doc == "" {
			t.Errorf("%s comes from %q, explained %q", v.Key, v.Source, v.Doc)
		}
	}
}

func TestFlagsBeatEnvironmentBeatsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portal.yaml")
	if err := os.WriteFile(path, []byte("listen: 127.0.0.1:1111\nports:\n  from: 20000\nlog:\n  level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(k string) string {
		return map[string]string{"PORTAL_LISTEN": "127.0.0.1:2222", "PORTAL_LOG_LEVEL": "warn"}[k]
	}
	c, values, err := Load(map[string]string{"config": path, "log-level": "error"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if c.LogLevel != "error" || c.Listen != "127.0.0.1:2222" || c.PortFrom != 20000 {
		t.Errorf("got %+v", c)
	}
	want := map[string]string{"listen": "environment PORTAL_LISTEN", "ports.from": "file " + path, "log.level": "flag --log-level"}
	for _, v := range values {
		if w, ok := want[v.Key]; ok && v.Source != w {
			t.Errorf("%s comes from %q, want %q", v.Key, v.Source, w)
		}
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portal.yaml")
	if err := os.WriteFile(path, []byte("lisen: x\nports: {from: 30000, to: 20000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := Load(map[string]string{"config": path, "undo-window": "-1s", "log-format": "xml", "bus-listen": "nowhere", "secure-cookies": "maybe"}, noEnv)
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid {
		t.Fatalf("got %v", err)
	}
	got := ""
	for _, x := range f.Fields {
		got += x.Path + " "
	}
	for _, key := range []string{"lisen", "ports.to", "undo.window", "log.format", "bus.listen", "secure-cookies"} {
		if !strings.Contains(got, key) {
			t.Errorf("%s is not named in %q", key, got)
		}
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	_, _, err := Load(map[string]string{"config": "/does/not/exist.yaml"}, noEnv)
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist.yaml") || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("got %v", err)
	}
}

func TestASecondPortalIsRefusedTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(dir); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "pid") {
		t.Errorf("the second lock gives %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockData(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	_ = again.Close()
}

func TestALockLeftByADeadPortalIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	first, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	// The lock is held, but by something that is not the portal it names.
	ended := exec.Command("/bin/true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.WriteAt(fmt.Appendf(nil, "%d       ", ended.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := lockData(dir)
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("after the child has let go: %v", err)
	}
}

func TestADirectoryThatCannotBeMadeIsExplained(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(filepath.Join(file, "data")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestEgressAllow(t *testing.T) {
	c, _, err := Load(map[string]string{"egress-allow": "10.1.0.0/16, hooks.corp.example:8443"}, func(string) string { return "" })
	if err != nil || len(c.Egress.Hosts) != 2 {
		t.Fatalf("egress = %+v, %v", c.Egress, err)
	}
	_, _, err = Load(map[string]string{"egress-allow": "http://hooks.corp.example"}, func(string) string { return "" })
	if f := fault.As(err); f == nil || len(f.Fields) != 1 || f.Fields[0].Path != "egress.allow" {
		t.Fatalf("a URL is accepted: %v", err)
	}
}

func TestWhatImagesMayDo(t *testing.T) {
	load := func(flags map[string]string) (Config, error) {
		c, _, err := Load(flags, noEnv)
		return c, err
	}
	c, err := load(map[string]string{"docker-host": "unix:///run/docker.sock", "docker-allow": "root, writable", "docker-pinned-only": "true"})
	if err != nil || !c.Docker.Policy.Root || !c.Docker.Policy.Writable || !c.Docker.Policy.PinnedOnly {
		t.Errorf("%+v, %v", c.Docker, err)
	}
	if c, err := load(nil); err != nil || c.Docker.Host != "" || c.Docker.Policy.Root {
		t.Errorf("by default %+v, %v", c.Docker, err)
	}
	if _, err := load(map[string]string{"docker-allow": "privileged"}); !fault.Is(err, fault.Invalid) || !strings.Contains(fmt.Sprint(fault.As(err).Fields), "privileged") {
		t.Errorf("what can't be allowed: %v", err)
	}
}
