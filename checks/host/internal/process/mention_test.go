package process

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMentions(t *testing.T) {
	for _, test := range []struct {
		line string // arguments, blanks between them; _ is a blank inside one
		want string // "1" names it in argument 1, "1!" can only mean that; empty: not at all
	}{
		{"server --port=62893", "1!"},
		{"server --port 62893", "2!"},
		{"server -p 62893", "2!"},
		{"server -p62893", "1!"},
		{"server 62893", "1"},
		{"server :62893", "1"},
		{"server 127.0.0.1:62893", "1"},
		{"server [::1]:62893", "1"},
		{"gunicorn -b 127.0.0.1:62893 app:app", "2!"},
		{"gunicorn --bind=0.0.0.0:62893 app:app", "1!"},
		{"php -S localhost:62893", "2!"},
		{"python3 -m http.server 62893 --bind 127.0.0.1", "3!"},
		{"python3 manage.py runserver 0.0.0.0:62893", "3!"},
		{"python3 manage.py runserver 62893", "3!"},
		{"java -Dserver.port=62893 -jar app.jar", "1!"},
		{"java -jar app.jar --serverPort=62893", "3!"},
		{"dotnet app.dll --urls http://localhost:62893", "3!"},
		{"dockerd -H tcp://127.0.0.1:62893", "2"},
		{"prometheus --web.listen-address=:62893", "1!"},
		{"make serve PORT=62893", "2!"},
		{"npm run dev -- 62893", "4"},
		{"node --inspect=127.0.0.1:62893 app.js", "1!"},
		{"nc -l 62893", "2!"},
		{"socat TCP-LISTEN:62893,fork TCP:127.0.0.1:80", "1"},
		{"sh -c sleep_60;_python3_-m_http.server_62893", "2!"},
		{"sh -c PORT=62893_exec_node_server.js", "2!"},
		{"bash -c while_true;_do_./server_--port_62893;_done", "2!"},
		{"sh -c cd_shop_&&_npm_run_dev_--_--port_62893", "2!"},
		{"caddy reverse-proxy --from :62893 --to :8080", ""}, // --from is caddy's own word

		{"server", ""},
		{"62893", ""},
		{"server --port=628930", ""},
		{"server --port 162893", ""},
		{"server --pid 62893", ""},
		{"server --epochs 62893", ""},
		{"server -n 62893", ""},
		{"server app-62893.log", ""},
		{"server --redis-port=62893 --port=80", ""},
		{"docker-proxy -host-port 80 -container-port 62893", ""},
		{"server --db.port 62893", ""},
		{"java -Ddb.port=62893 -jar app.jar", ""},
		{"caddy reverse-proxy --to 127.0.0.1:62893", ""},
		{"server --upstream http://127.0.0.1:62893", ""},
		{"worker redis://127.0.0.1:62893/0", ""},
		{"pytest tests/app.py:62893", ""},
		{"socat TCP-LISTEN:80,fork TCP:127.0.0.1:62893", ""},
		{"nc 127.0.0.1 62893", ""},
		{"curl http://127.0.0.1:62893", ""},
		{"/usr/bin/ssh -p 62893 host", ""},
		{"ps -p 62893", ""},
		{"grep 62893 file", ""},
		{"vim 62893", ""},
		{"tail -f 62893", ""},
		{"sleep 62893", ""},
		{"kill 62893", ""},
		{"loopdoctor 62893", ""},
		{"node /usr/bin/wait-on tcp:62893", ""},
		{"python3 wait-for-it.py 127.0.0.1:62893", ""},
		{"python3 client.py 62893", ""},
		{"node scripts/check-port.js --port 62893", ""},
		{"sh -c until_curl_-s_http://127.0.0.1:62893;_do_sleep_1;_done", ""},
		{"sh -c while_!_nc_-z_localhost_62893;_do_sleep_1;_done", ""},
		{"bash -c tail_-f_62893_|_grep_62893", ""},
	} {
		args := strings.Fields(test.line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		got := ""
		for _, m := range mentions(args, 62893) {
			got += " " + strings.TrimPrefix(m.Where, "argument ")
			if m.Sure {
				got += "!"
			}
		}
		if got = strings.TrimSpace(got); got != test.want {
			t.Errorf("%s: got %q, want %q", test.line, got, test.want)
		}
	}
}

func TestVariable(t *testing.T) {
	for _, test := range []struct{ kv, want string }{
		{"PORT=62893", "PORT=62893!"},
		{"PORT=62893;", "PORT=62893;!"},
		{`PORT="62893"`, `PORT="62893"!`},
		{"PORT=http://localhost:62893", "PORT=http://localhost:62893!"},
		{"HTTP_PORT=62893", "HTTP_PORT=62893!"},
		{"FLASK_RUN_PORT=62893", "FLASK_RUN_PORT=62893!"},
		{"SHOP_PORT=62893", "SHOP_PORT=62893"},
		{"BIND=127.0.0.1:62893", "BIND=127.0.0.1:62893!"},
		{"LISTEN_ADDR=:62893", "LISTEN_ADDR=:62893!"},
		{"HOST=0.0.0.0:62893", "HOST=0.0.0.0:62893"},
		{"ASPNETCORE_URLS=http://+:62893", "ASPNETCORE_URLS=http://+:62893!"},

		{"PORT=628930", ""},
		{"PORT=62893x", ""},
		{"PORT=3000", ""},
		{"PORT", ""},
		{"62893=PORT", ""},
		{"DB_PORT=62893", ""},
		{"REDIS_PORT_62893_TCP_PORT=62893", ""},
		{"SHOP_SERVICE_PORT=62893", ""},
		{"HTTP_PROXY=http://127.0.0.1:62893", ""},
		{"DATABASE_URL=postgres://127.0.0.1:62893/x", ""},
		{"SSH_CONNECTION=10.0.0.1 62893 10.0.0.2 22", ""},
		{"WINDOWID=62893", ""},
		{"LISTEN_PID=62893", ""},
	} {
		got := ""
		if m, ok := variable(test.kv, 62893); ok {
			got = m.Text
			if m.Sure {
				got += "!"
			}
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.kv, got, test.want)
		}
	}
}

// A secret that stands beside the port is masked.
func TestMentionsAreMasked(t *testing.T) {
	args := []string{"sh", "-c", "API_TOKEN=verysecret ./server --port 62893"}
	ms := mentions(args, 62893)
	if len(ms) != 1 || strings.Contains(ms[0].Text, "verysecret") {
		t.Errorf("got %v, want one mention without the secret", ms)
	}
	if m, ok := variable("BIND=tcp://user:verysecret@127.0.0.1:62893", 62893); ok && strings.Contains(m.Text, "verysecret") {
		t.Errorf("got %v", m)
	}
}

func FuzzMentions(f *testing.F) {
	for _, s := range []string{"server\x00--port=80", "sh\x00-c\x00PORT=80 exec x", "x\x00-D", "-\x0080", "sh\x00-c\x00;|&80", "nc\x00-l\x0080", "a\x00=\x00:80", "x\x00[::1]:80,fork", "\x00\x00 80"} {
		f.Add([]byte(s), uint16(80))
	}
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		for _, m := range mentions(parseArgs(b), port) {
			if !utf8.ValidString(m.Text) || len(m.Text) > maxQuoted+len("…") {
				t.Errorf("%q", m.Text)
			}
		}
		if m, ok := variable(text(b), port); ok && (!utf8.ValidString(m.Text) || len(m.Text) > maxQuoted+len("…")) {
			t.Errorf("%q", m.Text)
		}
	})
}
