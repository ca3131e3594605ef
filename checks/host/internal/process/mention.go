package process

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// maxQuoted is how much of a place that names the port is quoted, in bytes.
const maxQuoted = 120

// maxMentions is how many places of one process are told.
const maxMentions = 4

// maxValue is how long a variable that says where to listen is at most, in bytes.
const maxValue = 256

// Words of flags and variables. What is named with a word of the second list is
// where to connect to, whatever else it says: --redis-port, DB_PORT.
var (
	listenWords = words("port ports listen bind urls inspect")
	hostWords   = words("addr address host hostname server serve http https socket")
	farWords    = words("to upstream upstreams target backend backends proxy remote dest destination peer peers connect join seed seeds broker brokers forward" +
		" db database redis valkey mysql mariadb postgres postgresql pg mongo mongodb amqp rabbitmq kafka zookeeper smtp mail ldap elastic elasticsearch es memcached memcache nats mqtt api container" +
		" tcp service url uri dsn pid")
)

// variableWords make it sure that a variable *_PORT is the server's own.
var variableWords = words("http https server listen bind app web flask run uvicorn gunicorn nuxt nitro vite next dev jupyter rails puma aspnetcore")

// clients are programs that name a port without ever serving it: those that
// connect, look, edit or wait.
var clients = words("curl wget http https xh httpie ab wrk hey siege k6 vegeta telnet ssh autossh scp sftp rsync mosh psql pg_dump pg_isready mysql mysqldump mysqladmin mariadb" +
	" mariadb-dump mariadb-admin redis-cli valkey-cli mongosh mongo firefox firefox-esr firefox-bin chrome chromium chromium-browser google-chrome brave msedge opera vivaldi epiphany" +
	" xdg-open w3m lynx links ps top htop btop grep egrep fgrep rg ag awk gawk mawk sed less more most cat tail head vi vim nvim nano emacs ed micro kak hx code subl gedit kate man watch" +
	" ss lsof netstat fuser nmap strace ltrace gdb tcpdump tshark wireshark dumpcap ngrep kill pkill pgrep killall loopdoctor sleep find git tmux screen docker docker-compose podman" +
	" nerdctl kubectl ping dig wait-on wait-for wait-for-it wait-port wait_for_it dockerize ngrok cloudflared localtunnel lt journalctl systemctl sudoedit")

// clientWords are in the names of scripts that do the same: client.py, check_port.sh.
var clientWords = words("client wait probe check healthcheck ping bench benchmark loadtest")

// bystanders inherit PORT and do not serve: shells, what runs scripts, watchers
// and agents. On their command line a port counts all the same.
var bystanders = words("sh bash dash zsh fish ksh ash busybox login su sudo doas env make npm npx yarn pnpm bun concurrently turbo nx foreman honcho overmind direnv nodemon watchexec entr" +
	" tini dumb-init systemd dbus-daemon ssh-agent gpg-agent sshd supervisord pm2 setsid nohup timeout esbuild tailwindcss tsc fsnotifier")

// keywords stand before a command in a shell's script.
var keywords = words("until while if then do else ! exec nohup time setsid command")

func words(list string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		set[w] = true
	}
	return set
}

// mentions finds where a command line names the port to listen on: the number
// as a word of its own, not inside a larger one, and not what only says where
// to connect to. What is quoted is masked.
func mentions(args []string, port uint16) []facts.Mention {
	if len(args) == 0 || client(args) {
		return nil
	}
	p := strconv.Itoa(int(port))
	var ms []facts.Mention
	note := func(i int, sure bool) {
		shown := Mask(args)
		text := shown[i]
		if args[i] == p && flagBefore(args, i) != "" {
			text = shown[i-1] + " " + text
		}
		ms = append(ms, facts.Mention{Where: argument(i), Text: quote(text), Sure: sure})
	}
	for i := 1; i < len(args) && len(ms) < maxMentions; i++ {
		a := args[i]
		switch {
		case !strings.Contains(a, p):
		case strings.ContainsAny(a, " \t\n"):
			if sure, ok := script(a, port); ok {
				note(i, sure)
			}
		default:
			if sure, ok := names(args, i, p); ok {
				note(i, sure)
			}
		}
	}
	return ms
}

func argument(i int) string { return fmt.Sprintf("argument %d", i) }

// script judges the text of sh -c, command by command: one that waits for the
// port with curl does not serve it.
func script(text string, port uint16) (sure, ok bool) {
	for command := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(";|&(){}`\n", r) }) {
		args := strings.Fields(command)
		for i := range args {
			args[i] = strings.Trim(args[i], `"'`)
		}
		for len(args) > 0 && keywords[args[0]] {
			args = args[1:]
		}
		if len(args) > 0 && strings.Contains(args[0], "=") { // PORT=62893 node server.js
			args = append([]string{"env"}, args...)
		}
		if ms := mentions(args, port); len(ms) > 0 {
			return ms[0].Sure, true
		}
	}
	return false, false
}

// flagBefore is the flag whose value the argument may be.
func flagBefore(args []string, i int) string {
	if before := args[i-1]; strings.HasPrefix(before, "-") && before != "--" && !strings.Contains(before, "=") {
		return before
	}
	return ""
}

// names judges one argument.
func names(args []string, i int, port string) (sure, ok bool) {
	flag, value := flagBefore(args, i), args[i]
	if name, rest, assigned := strings.Cut(value, "="); assigned { // --port=62893, PORT=62893
		flag, value = name, rest
	} else if strings.HasPrefix(value, "-p") || strings.HasPrefix(value, "-P") { // -p62893
		flag, value = value[:2], value[2:]
	}
	sure, near := meaning(flag)
	scheme, _, url := strings.Cut(value, "://")
	switch serving := base(args[i-1]); {
	case value == port && flag == "":
		return serving == "http.server" || serving == "runserver", true
	case value == port:
		return sure, sure
	case !endpoint(value, port):
		return false, false
	case url && scheme != "tcp": // where to connect to, unless it is said otherwise
		return sure, sure
	case flag == "":
		return serving == "runserver", true
	}
	return sure, sure || near
}

// meaning tells what a flag or variable is about: sure, that it says where to
// listen; near, that it may.
func meaning(flag string) (sure, near bool) {
	name := strings.TrimLeft(strings.TrimPrefix(flag, "-D"), "-") // -Dserver.port of Java
	switch {
	case name == "" || hasWord(name, farWords):
		return false, false
	case len(name) > 1:
		return hasWord(name, listenWords), hasWord(name, hostWords)
	}
	// -p and -P of most servers; -b of gunicorn, -l of nc and memcached, -S of php
	return strings.Contains("pPblS", name), strings.Contains("aHh", name)
}

// hasWord tells whether a part of the name is one of the words: "serverPort",
// "server.port" and "SERVER_PORT" have two.
func hasWord(name string, set map[string]bool) bool {
	start := 0
	for i := 0; i <= len(name); i++ {
		end := i == len(name) || strings.IndexByte("-_.", name[i]) >= 0
		hump := !end && i > start && name[i] >= 'A' && name[i] <= 'Z' && name[i-1] >= 'a' && name[i-1] <= 'z'
		if !end && !hump {
			continue
		}
		w := strings.ToLower(name[start:i])
		if set[w] {
			return true
		}
		start = i
		if end {
			start++
		}
	}
	return false
}

// endpoint tells whether the value is host:port with something that can be
// listened on: nothing, *, localhost or an address. "app.py:62893" is a line.
func endpoint(value, port string) bool {
	if _, rest, ok := strings.Cut(value, "://"); ok {
		value = strings.TrimSuffix(rest, "/")
	}
	value, _, _ = strings.Cut(value, ",") // socat's TCP-LISTEN:62893,fork
	host, ok := strings.CutSuffix(value, ":"+port)
	if !ok {
		return false
	}
	switch strings.ToUpper(host) {
	case "", "*", "+", "LOCALHOST", "TCP-LISTEN", "TCP4-LISTEN", "TCP6-LISTEN", "TCP-L", "OPENSSL-LISTEN", "UNIX":
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// variable judges one variable of an environment, "PORT=62893".
func variable(kv string, port uint16) (facts.Mention, bool) {
	name, value, ok := strings.Cut(kv, "=")
	p := strconv.Itoa(int(port))
	if !ok || !strings.Contains(value, p) || len(name) > 64 || len(value) > maxValue || hasWord(name, farWords) {
		return facts.Mention{}, false
	}
	upper := strings.ToUpper(name)
	sure := false
	switch {
	case upper == "PORT":
		sure, ok = true, leading(value) == p
	case strings.HasSuffix(upper, "_PORT"):
		sure, ok = hasWord(name, variableWords), leading(value) == p
	default:
		sure = hasWord(name, listenWords)
		ok = (sure || hasWord(name, hostWords)) && endpoint(value, p)
	}
	if !ok {
		return facts.Mention{}, false
	}
	return facts.Mention{Where: "environment", Text: quote(Mask([]string{"", kv})[1]), Sure: sure}, true
}

// leading is the number that a value begins with, when what follows it is no
// part of a name: the port that "3000;", "\"80\"" and "http://localhost:80" mean.
func leading(value string) string {
	value = strings.Trim(value, " \t\r\n\"'`")
	if _, rest, ok := strings.Cut(value, "://"); ok {
		_, value, _ = strings.Cut(rest, ":")
	}
	n := 0
	for n < len(value) && value[n] >= '0' && value[n] <= '9' {
		n++
	}
	if n < len(value) && !strings.ContainsRune(" \t\r\n;,\"'`/#", rune(value[n])) {
		return ""
	}
	return value[:n]
}

// client tells whether the command line is that of a program that only looks or
// connects. An interpreter is known by its script.
func client(args []string) bool {
	name := base(args[0])
	if clients[name] || hasWord(name, clientWords) {
		return true
	}
	switch strings.TrimRight(name, "0123456789.") {
	case "python", "node", "nodejs", "ruby", "perl", "php", "sh", "bash", "dash", "npx", "sudo", "env":
		if len(args) == 1 {
			return false
		}
		script := strings.TrimSuffix(base(args[1]), path.Ext(args[1]))
		return clients[base(args[1])] || clients[script] || hasWord(script, clientWords)
	case "nc", "ncat", "netcat": // they serve with -l
		return !slices.ContainsFunc(args[1:], func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "l") })
	}
	return false
}

// base is the name of a program: "-bash" is a login shell, "nginx:" a title.
func base(arg string) string {
	return strings.TrimRight(strings.TrimPrefix(path.Base(arg), "-"), ":")
}

// quote bounds what is quoted.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return s
}
