package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const config = `; supervisor config file
[unix_http_server]
file=/run/supervisor.sock   ; the path
username = ann
password = secret

[include]
files = conf.d/*.conf /etc/other/*.conf

[program:app]
command=/usr/bin/app --port
    62893 ; here
environment=PORT="62893",
	DEBUG="1"
autostart=true
`

func TestRead(t *testing.T) {
	files := map[string]string{"/etc/supervisor/supervisord.conf": config, "/etc/supervisor/conf.d/b.conf": "[program:b]\ncommand=b\n[include]\nfiles=/etc/supervisor/c.conf\n", "/etc/other/x.conf": "[program:x]\n"}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	glob := func(pattern string) (names []string, err error) {
		for name := range files {
			if ok, _ := filepath.Match(pattern, name); ok {
				names = append(names, name)
			}
		}
		return names, nil
	}
	got, err := Read("/etc/supervisor/supervisord.conf", read, glob)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Socket: "/run/supervisor.sock", User: "ann", Password: "secret", Programs: []Program{
		{"app", "/etc/supervisor/supervisord.conf", "/usr/bin/app --port 62893", `PORT="62893", DEBUG="1"`},
		{"b", "/etc/supervisor/conf.d/b.conf", "b", ""}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n\t%+v\nwant\n\t%+v", got, want)
	}
}

// As supervisord 4.2.5 answers, shortened.
const answer = `<?xml version='1.0'?>
<methodResponse><params><param><value><array><data>
<value><struct>
<member><name>name</name><value><string>app</string></value></member>
<member><name>group</name><value><string>app</string></value></member>
<member><name>start</name><value><int>1700000000</int></value></member>
<member><name>stop</name><value><int>1700000001</int></value></member>
<member><name>statename</name><value><string>FATAL</string></value></member>
<member><name>spawnerr</name><value><string>Exited too quickly (process log may have details)</string></value></member>
<member><name>exitstatus</name><value><int>1</int></value></member>
<member><name>stderr_logfile</name><value><string>/var/log/app.log</string></value></member>
<member><name>pid</name><value><int>0</int></value></member>
</struct></value>
</data></array></value></param></params></methodResponse>`

func TestAsk(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); r.URL.Path != "/RPC2" || user != "ann" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, answer)
	})}
	go server.Serve(l)
	defer server.Close()
	dial := func(ctx context.Context, socket string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	got, err := Ask(t.Context(), Config{Socket: socket, User: "ann", Password: "secret"}, dial)
	want := []Process{{Name: "app", Group: "app", State: "FATAL", Exit: 1, Since: time.Unix(1700000001, 0).UTC(), Because: "Exited too quickly (process log may have details)", Stderr: "/var/log/app.log"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := Ask(t.Context(), Config{Socket: socket}, dial); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("without a password: %v", err)
	}
}

// One that takes the connection and never answers costs the time limit, no more.
func TestAskSilent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Ask(ctx, Config{Socket: socket}, func(ctx context.Context, socket string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(answer))
	f.Add([]byte("<methodResponse><fault/></methodResponse>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if all, err := Parse(data); err == nil && len(all) > maxPrograms {
			t.Errorf("%d programs", len(all))
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte("[program:]\n =\n[include]\nfiles= ../* \x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		Read("/etc/supervisor/x.conf", func(string) ([]byte, error) { return data, nil }, func(p string) ([]string, error) {
			if !strings.HasPrefix(p, "/etc/supervisor/") {
				t.Errorf("%q was asked for", p)
			}
			return nil, nil
		})
	})
}
