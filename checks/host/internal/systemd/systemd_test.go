package systemd

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	u := Unit{Name: "app.service", Settings: Parse([]byte(`
# ListenStream=62893
[Unit]
Description=app
[Service]
ExecStart=
ExecStart=/usr/bin/app \
# in between
    --port=62893
Environment="A=b c" D=e
`))}
	if got := u.Values("Service", "ExecStart"); len(got) != 1 || strings.Join(strings.Fields(got[0]), " ") != "/usr/bin/app --port=62893" {
		t.Errorf("ExecStart is %q", got)
	}
	if got := split(u.value("Service", "Environment")); !slices.Equal(got, []string{"A=b c", "D=e"}) {
		t.Errorf("Environment is %q", got)
	}
	if got := u.Values("Socket", "ListenStream"); got != nil {
		t.Errorf("a comment was read: %q", got)
	}
	if got := (Unit{Name: "x.socket"}).Triggers(); got != "x.service" {
		t.Errorf("x.socket triggers %q", got)
	}
	if got := (Unit{Name: "x.socket", Settings: Parse([]byte("[Socket]\nAccept=yes\n"))}).Triggers(); got != "" {
		t.Errorf("a socket with Accept=yes triggers %q", got)
	}
}

func TestServes(t *testing.T) {
	read := func(file string) []byte {
		if file != "/etc/default/app" {
			t.Errorf("%s was read", file)
		}
		return []byte("# PORT=1\nPORT=62893\n")
	}
	for _, test := range []struct{ text, want string }{
		{"[Socket]\nListenStream=62893", "ListenStream=62893"},
		{"[Socket]\nListenStream=127.0.0.1:62893", "ListenStream=127.0.0.1:62893"},
		{"[Socket]\nListenStream=[::1]:62893", "ListenStream=[::1]:62893"},
		{"[Socket]\nListenStream=[::]:62893%eth0", "ListenStream=[::]:62893%eth0"},
		{"[Socket]\nListenDatagram=62893", ""},
		{"[Socket]\nListenStream=628930", ""},
		{"[Socket]\nListenStream=/run/62893", ""},
		{"[Unit]\nDocumentation=http://localhost:62893", ""},
		{"[Service]\nExecStart=/usr/bin/app --port=62893", "ExecStart names --port 62893"},
		{"[Service]\nExecStart=/usr/bin/app --port 62893", "ExecStart names --port 62893"},
		{"[Service]\nExecStart=/usr/bin/app -p62893", "ExecStart names -p 62893"},
		{"[Service]\nExecStart=/usr/bin/gunicorn -b 127.0.0.1:62893 app", "ExecStart names -b 127.0.0.1:62893"},
		{"[Service]\nExecStart=/usr/bin/python3 -m http.server 62893", "ExecStart names 62893"},
		{"[Service]\nExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 62893", "ExecStart names 62893"},
		{"[Service]\nExecStart=/usr/bin/python3 manage.py runserver 0.0.0.0:62893", "ExecStart names 0.0.0.0:62893"},
		{"[Service]\nExecStart=/bin/sh -c 'cd /srv; exec python3 -m http.server 62893'", "ExecStart names 62893"},
		{"[Service]\nExecStart=/usr/bin/env PORT=62893 node x.js", "ExecStart names PORT 62893"},
		{"[Service]\nExecStart=/usr/bin/dotnet x.dll --urls http://localhost:62893", "ExecStart names --urls http://localhost:62893"},
		{"[Service]\nExecStart=/usr/bin/docker run -p 127.0.0.1:62893:80 nginx", "ExecStart names -p 127.0.0.1:62893:80"},
		{"[Service]\nExecStart=/usr/bin/docker run -p 80:62893 nginx", ""},
		{"[Service]\nExecStart=/usr/bin/autossh -L 62893:db:5432 host", "ExecStart names -L 62893:db:5432"},
		{"[Service]\nExecStart=/usr/bin/ssh -p 62893 host", ""},
		{"[Service]\nExecStart=/usr/bin/socat TCP-LISTEN:62893,fork TCP:db:5432", "ExecStart names TCP-LISTEN:62893,fork?"},
		{"[Service]\nExecStart=/usr/bin/app 62893", "ExecStart names 62893?"},
		{"[Service]\nExecStart=/usr/bin/app --upstream=127.0.0.1:62893", ""},
		{"[Service]\nExecStart=/usr/bin/app --db-port 62893", ""},
		{"[Service]\nExecStart=/usr/bin/check http://localhost:62893/health", ""},
		{"[Service]\nExecStart=/usr/bin/app --data /var/lib/62893 x62893 62893.conf 628930", ""},
		{"[Service]\nEnvironment=PORT=62893", "Environment=PORT=62893"},
		{"[Service]\nEnvironment=DB_PORT=62893 X=62893", ""},
		{"[Service]\nEnvironment=\"LISTEN_ADDR=:62893\"", "Environment=LISTEN_ADDR=:62893"},
		{"[Service]\nEnvironmentFile=-/etc/default/app", "PORT=62893 in /etc/default/app"},
		{"[Service]\nEnvironmentFile=/home/ann/x\nEnvironmentFile=/etc/../root/x", ""},
	} {
		got := ""
		if c := (Unit{Name: "x", Settings: Parse([]byte(test.text))}).Serves(62893, read); c != nil {
			got = c.Text
			if !c.Sure {
				got += "?"
			}
		}
		if got != test.want {
			t.Errorf("%q\n\tgot  %q\n\twant %q", test.text, got, test.want)
		}
	}
}

func FuzzUnitFile(f *testing.F) {
	f.Add([]byte("[Socket]\nListenStream=[::1]:62893%lo\n"))
	f.Add([]byte("[Service]\nExecStart=-/bin/sh -c 'a \"62893' \\\n -p62893 --x=http://*:62893/\nEnvironment=PORT=62893\n"))
	f.Add([]byte("\x00[\n=\\\n[]]]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := Unit{Name: "x.socket", Settings: Parse(data)}
		u.Serves(62893, func(string) []byte { return data })
		u.Triggers()
	})
}

// systemd.exec(5): what gives a unit another network than its manager's.
func TestNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"[Service]\nExecStart=/bin/web\n":                                                                    "",
		"[Service]\nPrivateNetwork=yes\n":                                                                    "PrivateNetwork=yes",
		"[Service]\nPrivateNetwork=TRUE\n":                                                                   "PrivateNetwork=TRUE",
		"[Service]\nPrivateNetwork=yes\nPrivateNetwork=no\n":                                                 "",
		"[Service]\nPrivateNetwork=yes\nPrivateNetwork=\n":                                                   "", // a drop-in that takes it back
		"[Unit]\nPrivateNetwork=yes\n":                                                                       "",
		"[Unit]\nJoinsNamespaceOf=db.service\n":                                                              "", // worth nothing alone
		"[Unit]\nJoinsNamespaceOf=db.service\n[Service]\nPrivateNetwork=yes\n":                               "JoinsNamespaceOf=db.service",
		"[Unit]\nJoinsNamespaceOf=db.service\nJoinsNamespaceOf=mail.service\n[Service]\nPrivateNetwork=on\n": "JoinsNamespaceOf=db.service mail.service",
		"[Unit]\nJoinsNamespaceOf=db.service\nJoinsNamespaceOf=\n[Service]\nPrivateNetwork=1\n":              "PrivateNetwork=1",
		"[Service]\nNetworkNamespacePath=/run/netns/blue\n":                                                  "NetworkNamespacePath=/run/netns/blue",
		"[Unit]\nJoinsNamespaceOf=db.service\n[Service]\nPrivateNetwork=yes\nNetworkNamespacePath=/run/a\n":  "NetworkNamespacePath=/run/a",
		"[Service]\nNetworkNamespacePath=/run/a\nNetworkNamespacePath=\nPrivateNetwork=yes\n":                "PrivateNetwork=yes",
	} {
		u := Unit{Name: "web.service", Settings: Parse([]byte(text))}
		if got := u.Network(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
