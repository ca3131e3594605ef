package process

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func chainOf(lines ...string) []program {
	var chain []program
	for i, l := range lines {
		args := strings.Fields(l)
		name := args[0][strings.LastIndexByte(args[0], '/')+1:]
		chain = append(chain, program{pid: 100 - i, name: name, exe: args[0], args: args})
	}
	return chain
}

func TestStartedFrom(t *testing.T) {
	title := program{name: "npm run dev", exe: "/usr/bin/node", args: []string{"npm run dev"}} // npm sets its title
	for _, test := range []struct {
		chain []program
		want  string
	}{
		{nil, ""},
		{chainOf("/bin/bash", "/usr/lib/systemd/systemd"), ""},
		{append([]program{title}, chainOf("/bin/bash", "/usr/share/code/code --type=ptyHost")...), "npm run dev, VS Code"},
		{chainOf("/usr/bin/node /usr/lib/node_modules/npm/bin/npm-cli.js run start --silent", "/usr/bin/zsh", "/usr/bin/tmux"), "npm run start, tmux"},
		{chainOf("/usr/bin/make -j4 serve", "/bin/sh", "/usr/sbin/sshd"), "make serve, sshd session"},
		{chainOf("/usr/bin/python3.11 /usr/bin/supervisord -c /etc/supervisord.conf"), "supervisord"},
		{chainOf("/usr/lib/systemd/systemd --user"), "systemd user manager"},
		{chainOf("/bin/bash", "/home/ann/.vscode-server/bin/abc/node /home/ann/.vscode-server/bin/abc/out/server-main.js"), "VS Code"},
		{chainOf("/opt/idea/jbr/bin/java -Xmx2g com.intellij.idea.Main"), "JetBrains"},
		{[]program{{name: "tmux: server", exe: "/usr/bin/tmux", args: []string{"tmux", "new"}}}, "tmux"},
		{[]program{{name: "containerd-shim", args: []string{"/usr/bin/containerd-shim-runc-v2", "-id", "x"}}}, "container engine"},
		{chainOf("/usr/bin/node server.js", "/usr/sbin/cron"), "cron"},
		{chainOf("/usr/bin/cat makefile"), ""},
	} {
		if got := startedFrom(test.chain); got != test.want {
			t.Errorf("%v: got %q, want %q", test.chain, got, test.want)
		}
	}
}

func TestTerminal(t *testing.T) {
	for tty, want := range map[int32]string{0: "", 34816: "pts/0", 34819: "pts/3", 1<<20 | 136<<8 | 4: "pts/260", 137 << 8: "pts/256", 4<<8 | 1: "tty1", 4<<8 | 64: "ttyS0", 4 << 8: "", -1: "", 5 << 8: ""} {
		if got := terminal(tty); got != want {
			t.Errorf("%d: got %q, want %q", tty, got, want)
		}
	}
}

// Names and arguments are whatever a program likes.
func FuzzStartedFrom(f *testing.F) {
	f.Add("node", "/usr/bin/node", "/usr/lib/npm-cli.js\x00run\x00dev")
	f.Add("tmux: server", "", "")
	f.Add("", "/", "\x00\x00 \x00")
	f.Add("python3.", "..", "sh sh make \x1b[31m -- /x a=b")
	f.Fuzz(func(t *testing.T, name, exe, args string) {
		p := program{1, text([]byte(name)), text([]byte(exe)), parseArgs([]byte(args))}
		got := startedFrom([]program{p, p})
		if len(got) > 200 || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
	})
}
