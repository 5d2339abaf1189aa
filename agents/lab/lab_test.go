package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

// told is a subject with these settings, what it says, and how it ended.
func told(t *testing.T, env map[string]string) (*subject, *bytes.Buffer, *int) {
	t.Helper()
	var said bytes.Buffer
	code := -1
	get := func(name string) string { return env[name] }
	return &subject{getenv: get, voice: newVoice(get, &said, &said), exit: func(c int) { code = c }, dir: t.TempDir()}, &said, &code
}

func TestEveryVoiceHasWordsForEverything(t *testing.T) {
	parts := complaint{"NAME": "n", "WHY": "w", "HOST": "h", "PORT": "1", "URL": "u", "N": "2", "AT": "a", "NOW": "b", "ID": "i"}
	for e, byVoice := range phrases {
		for _, name := range Voices {
			if e == crash && name == "go" {
				continue // the runtime itself speaks
			}
			if len(byVoice[name]) == 0 {
				t.Errorf("%s has no words for %s", name, e)
			}
			for _, text := range byVoice[name] {
				for part := range parts {
					text = strings.ReplaceAll(text, "{"+part+"}", "")
				}
				for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' || r == '$' }) {
					if strings.HasPrefix(word, "{") && strings.HasSuffix(word, "}") && len(word) > 2 {
						t.Errorf("%s, %s: nothing fills %s", name, e, word)
					}
				}
			}
		}
	}
}

func TestTheSeedChoosesTheWordsAndTheyAreNotRepeatedAllTheTime(t *testing.T) {
	texts := map[string]bool{}
	for _, seed := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		s, said, _ := told(t, map[string]string{"VOICE": "plain", "SEED": seed})
		s.voice.say(missingVariable, complaint{"NAME": "TOKEN"})
		s.voice.say(missingVariable, complaint{"NAME": "TOKEN"})
		if strings.Count(said.String(), "TOKEN") != 1 {
			t.Errorf("it says %q", said)
		}
		texts[said.String()] = true
	}
	if len(texts) < 2 {
		t.Errorf("all seeds say %v", texts)
	}
}

func TestJSONVoiceSaysJSON(t *testing.T) {
	s, said, _ := told(t, map[string]string{"VOICE": "json"})
	s.voice.say(portTaken, complaint{"HOST": "127.0.0.1", "PORT": "80"})
	var line struct{ Level, Msg, Error, Port string }
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || line.Level != "error" || line.Port != "80" || line.Error == "" {
		t.Fatalf("%s %v", said, err)
	}
}

func TestWhatIsWrongAtTheStartEndsIt(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		env  map[string]string
		says string
	}{
		"variable": {map[string]string{"REQUIRED": "PATH_TO,TOKEN", "PATH_TO": "x"}, "TOKEN"},
		"port":     {map[string]string{"LISTEN": taken.Addr().String()}, "address already in use"},
		"syntax":   {map[string]string{"SETTINGS": "{"}, "SETTINGS"},
		"workers":  {map[string]string{"SETTINGS": `{"workers":0,"interval":"1s","mode":"fast"}`}, "workers"},
		"interval": {map[string]string{"SETTINGS": `{"workers":1,"interval":"soon","mode":"fast"}`}, "interval"},
		"mode":     {map[string]string{"SETTINGS": `{"workers":1,"interval":"1s","mode":"quick"}`}, "mode"},
		"unknown":  {map[string]string{"SETTINGS": `{"retires":1}`}, "retires"},
	} {
		s, said, code := told(t, c.env)
		if err := s.start(t.Context()); err == nil || *code != 1 || !strings.Contains(said.String(), c.says) {
			t.Errorf("%s: %v, code %d, says %q", name, err, *code, said)
		}
	}
	s, _, code := told(t, map[string]string{"SETTINGS": `{"workers":1,"interval":"1s","mode":"safe"}`, "REQUIRED": "A", "A": "1", "LISTEN": "127.0.0.1:0"})
	if err := s.start(t.Context()); err != nil || *code != -1 || s.ready(t.Context()) != nil {
		t.Errorf("a sound one: %v, code %d", err, *code)
	}
	if err := s.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUpstreamsAreToldApart(t *testing.T) {
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch status.Load() {
		case 0:
			<-r.Context().Done()
			return
		case http.StatusForbidden:
			w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		}
		http.Error(w, "the reason", int(status.Load()))
	}))
	defer server.Close()
	s, _, _ := told(t, map[string]string{"VOICE": "go"})
	u := newUpstream(server.URL, "secret", s.voice)
	for code, want := range map[int]event{200: "", 401: expired, 403: skewed, 502: slow, 0: slow} {
		status.Store(int64(code))
		if e, err := u.try(t.Context()); e != want || (err == nil) != (code == 200) {
			t.Errorf("%d: %q %v", code, e, err)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	if e, err := newUpstream(closed.URL, "", s.voice).try(t.Context()); e != refused || err == nil {
		t.Errorf("a closed port: %q %v", e, err)
	}
}

func TestABrokenMessageFailsEachTime(t *testing.T) {
	s, said, _ := told(t, map[string]string{})
	for payload, broken := range map[string]bool{`"text"`: true, `{"order":"seven"}`: true, `{"order":7}`: true, `{"order":7,"lines":["a"]}`: false} {
		_, err := s.parse(t.Context(), agentkit.Task{ID: "order-1", Attempt: 2, Payload: json.RawMessage(payload)})
		if (err != nil) != broken {
			t.Errorf("%s: %v", payload, err)
		}
	}
	if !strings.Contains(said.String(), "order-1") {
		t.Errorf("it says %q", said)
	}
}

func TestPlansAreBounded(t *testing.T) {
	s, _, _ := told(t, map[string]string{})
	for _, payload := range []string{`{"kind":"leak","mib":100000}`, `{"kind":"burn","cores":64}`} {
		if _, err := s.misbehave(context.Background(), agentkit.Task{Payload: json.RawMessage(payload)}); !agentkit.IsPermanent(err) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}
