package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestSaidTarget(t *testing.T) {
	for _, test := range []struct {
		text, arg string
		want      string // host port intent network, "literal", "named" or "port", and the address of the error
	}{
		{"Error: connect ECONNREFUSED ::1:3000", "", "::1 3000 connect tcp literal [::1]:3000"},
		{"Error: connect ECONNREFUSED 127.0.0.1:3000", "3000", "127.0.0.1 3000 connect tcp literal 127.0.0.1:3000"},
		{"Error: connect ECONNREFUSED ::1:3000", "localhost:3000", "localhost 3000 connect tcp named [::1]:3000"},
		{"Error: listen EADDRINUSE: address already in use :::3000", "", ":: 3000 bind tcp literal [::]:3000"},
		{"listen tcp :8080: bind: address already in use", "", "localhost 8080 bind tcp port -"},
		{"listen udp 127.0.0.1:53: bind: address already in use", "", "127.0.0.1 53 bind udp literal 127.0.0.1:53"},
		{"curl: (7) Failed to connect to localhost port 62893 after 0 ms: Couldn't connect to server", "", "localhost 62893 connect tcp named -"},
		{`connection to server at "localhost" (::1), port 5432 failed: Connection refused`, "", "localhost 5432 connect tcp named [::1]:5432"},
		{"localhost refused to connect.", "3000", "localhost 3000 connect tcp named -"},
		{"ERR_CONNECTION_REFUSED", "3000", "localhost 3000 connect tcp port -"},
		{"ERR_CONNECTION_REFUSED", "http://localhost:3000/app", "localhost 3000 connect tcp named -"},
		{"127.0.0.1 refused to connect.", "3000", "127.0.0.1 3000 connect tcp literal 127.0.0.1:3000"},
		{"curl: (52) Empty reply from server", ":8080", "localhost 8080 connect tcp port -"},
		{"OSError: [Errno 98] Address already in use", "8000", "localhost 8000 bind tcp port -"},
		{"wget: can't connect to remote host: Connection refused", "localhost:80", "localhost 80 connect tcp named [::1]:80"},
		{"SQLSTATE[HY000] [2002] Connection refused", "", "localhost 3306 connect tcp port -"},
		{"SQLSTATE[HY000] [2002] Connection refused", "33060", "localhost 33060 connect tcp port -"},
		{"ERROR 2002 (HY000): Can't connect to local MySQL server through socket '/run/mysqld/mysqld.sock' (2)", "", "localhost 3306 connect tcp port -"},
		{"Error: getaddrinfo ENOTFOUND localhost", "", " 0 connect tcp named -"},
		{"Error: getaddrinfo ENOTFOUND localhost", "3000", "localhost 3000 connect tcp named -"},
		{";; communications error to 127.0.0.1#53: connection refused", "", "127.0.0.1 53 connect udp literal 127.0.0.1:53"},
	} {
		var args []string
		if test.arg != "" {
			args = []string{test.arg}
		}
		got, err := saidTarget(test.text, args, false)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		kind, addr := "port", "-"
		if got.Literal {
			kind = "literal"
		} else if got.Named {
			kind = "named"
		}
		if got.Error == nil || got.Error.Means == "" || got.Error.Text == "" {
			t.Errorf("%s: %s", test.text, show(got))
			continue
		}
		if got.Error.Addr.IsValid() {
			addr = got.Error.Addr.String()
		}
		if s := fmt.Sprintf("%s %d %s %s %s %s", got.Host, got.Port, got.Intent, got.Network, kind, addr); s != test.want {
			t.Errorf("%s %s\n got %s\nwant %s", test.text, test.arg, s, test.want)
		}
	}
}

func TestSaidNotUnderstood(t *testing.T) {
	for _, test := range []struct {
		args []string
		hint string
	}{
		{[]string{"--error", ""}, "--error is empty"},
		{[]string{"--error", "hello\nworld"}, `--error "hello …": nothing in it says that a connection or a server failed; give the line that does, or the port alone`},
		{[]string{"--error", "hello", "3000"}, "nothing in it says"},
		{[]string{"--error", "ERR_CONNECTION_REFUSED"}, "--error says that the connection is refused, but names no port: give it as well, as in loopdoctor --error '…' 3000"},
		{[]string{"--error", "RangeError [ERR_SOCKET_BAD_PORT]: options.port should be >= 0 and < 65536. Received type number (99999)."}, "the program was given a port that is none, but names no port"},
		{[]string{"--error", "connect() to unix:/run/php/php8.2-fpm.sock failed (2: No such file or directory) while connecting to upstream"}, "the UNIX socket /run/php/php8.2-fpm.sock cannot be reached, and TCP was not tried, but names no port"},
		{[]string{"--error", "connect ECONNREFUSED ::1:3000", "8080"}, "--error names [::1]:3000, and the target is 8080: leave out one of them"},
		{[]string{"--error", "connect ECONNREFUSED ::1:3000", "127.0.0.1:3000"}, "--error names [::1]:3000, and the target is 127.0.0.1:3000"},
		{[]string{"--error", "connect ECONNREFUSED ::1:3000", "shop:3000"}, "--error names [::1]:3000"},
		{[]string{"--error", "curl: (7) Failed to connect to shop port 80", "localhost:80"}, "--error names shop:80"},
		{[]string{"--error", "connect ECONNREFUSED ::1:3000", "80", "81"}, "--error is about one target: leave out 81"},
		{[]string{"--error", "connect ECONNREFUSED ::1:3000", "--bind"}, "--error says that the connection is refused, which a client meets: leave out --bind"},
		{[]string{"--error", "connect ECONNREFUSED ::1:3000", "--replay", "x"}, "leave out --error"},
		{[]string{"--error", "ERR_CONNECTION_REFUSED", "3000;"}, `target "3000;"`},
		{[]string{"--error"}, "needs an argument"},
	} {
		status, stdout, stderr := do("", test.args...)
		oneLine(t, test.hint, exitUsage, status, stdout, stderr)
	}
	status, stdout, stderr := do("nothing of interest\n", "--error", "-")
	oneLine(t, `--error "nothing of interest": nothing in it`, exitUsage, status, stdout, stderr)
}

// Secrets of the text go nowhere: not into the target, and not into an error.
func TestSaidIsMasked(t *testing.T) {
	got, err := saidTarget(`could not connect to postgres://me:hunter22@localhost:5432/shop?password=hunter22: Connection refused`, nil, false)
	if err != nil || got.Port != 5432 || got.Host != "localhost" || strings.Contains(show(got), "hunter22") {
		t.Errorf("%s, %v", show(got), err)
	}
	for _, text := range []string{"see postgres://me:hunter22@localhost:5432/shop", "postgres://me:hunter22@localhost:99999/ ECONNREFUSED"} {
		if _, err := saidTarget(text, nil, false); err == nil || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzSaidTarget(f *testing.F) {
	for _, s := range []string{"connect ECONNREFUSED ::1:3000", "http://u:p@[::1]:80/ refused to connect", "curl: (6) Could not resolve host: local\x00host", "-"} {
		f.Add(s, "3000")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, text, arg string) {
		var args []string
		if arg != "" {
			args = []string{arg}
		}
		got, err := saidTarget(text, args, false)
		switch {
		case err != nil && strings.ContainsAny(err.Error(), "\r\n\x1b"):
			t.Errorf("%q %q: more than a line: %v", text, arg, err)
		case err == nil && (got.Error == nil || got.Intent != facts.Connect && got.Intent != facts.ToBind || got.Port == 0 && got.Raw != "loopback"):
			t.Errorf("%q %q: %s", text, arg, show(got))
		}
	})
}
