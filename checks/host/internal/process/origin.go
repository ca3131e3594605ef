package process

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// program is a process above another one, as far as it tells what it is.
type program struct {
	pid       int
	name, exe string
	args      []string
}

// runners start what a project's own file names. Many of them are scripts: the
// interpreter stands before them.
var (
	runners = []string{"npm", "npx", "yarn", "pnpm", "bun", "deno", "make", "just", "task", "foreman", "overmind", "honcho", "nodemon", "pm2",
		"supervisord", "tini", "watchexec", "entr", "air", "mvn", "gradle", "bundle", "rake", "poetry", "uv", "pipenv", "cargo", "dotnet", "strace", "gdb"}
	interpreters = []string{"node", "nodejs", "python", "python3", "ruby", "perl", "bun", "sh", "bash", "dash"}
)

// places is what people work in, by the name of the program.
var places = map[string]string{
	"code": "VS Code", "code-insiders": "VS Code", "code-oss": "VS Code", "codium": "VSCodium", "cursor": "Cursor", "windsurf": "Windsurf",
	"zed": "Zed", "zed-editor": "Zed", "emacs": "Emacs", "vim": "Vim", "nvim": "Neovim", "eclipse": "Eclipse", "devenv": "Visual Studio", "subl": "Sublime Text", "sublime_text": "Sublime Text",
	"idea": "IntelliJ IDEA", "goland": "GoLand", "pycharm": "PyCharm", "webstorm": "WebStorm", "phpstorm": "PhpStorm", "rider": "Rider",
	"clion": "CLion", "rubymine": "RubyMine", "datagrip": "DataGrip", "studio": "Android Studio",
	"tmux": "tmux", "tmux: server": "tmux", "screen": "screen", "SCREEN": "screen", "zellij": "zellij", "mosh-server": "mosh session",
	"sshd": "sshd session", "sshd-session": "sshd session", "cron": "cron", "crond": "cron", "atd": "at", "login": "console login",
	"gnome-terminal-": "terminal window", "konsole": "terminal window", "xterm": "terminal window", "kitty": "terminal window", "alacritty": "terminal window",
	"foot": "terminal window", "wezterm-gui": "terminal window", "ptyxis-agent": "terminal window", "ghostty": "terminal window", "xfce4-terminal": "terminal window",
	"containerd-shim": "container engine", "conmon": "container engine",
}

// servers of editors run on the machine on which the project is, below a folder of
// the user.
var editorFolders = map[string]string{
	"/.vscode-server/": "VS Code", "/.vscode-remote/": "VS Code", "/.cursor-server/": "Cursor", "/.windsurf-server/": "Windsurf", "/.zed_server/": "Zed", "/JetBrains/": "JetBrains",
}

// startedFrom recognises in the chain, the nearest first, what a process was
// started from: a runner, and what the person works in. Empty: neither is there.
func startedFrom(chain []program) string {
	runner, place := "", ""
	for _, p := range chain {
		if runner == "" {
			runner = p.runner()
		}
		if place == "" {
			place = p.place()
		}
	}
	return strings.TrimPrefix(strings.TrimSuffix(runner+", "+place, ", "), ", ")
}

// runner is "npm run dev" for npm itself, and for the node that runs it.
func (p program) runner() string {
	words := strings.Fields(strings.Join(p.args, " "))
	if len(words) > 1 && slices.Contains(interpreters, program{name: words[0]}.base()) {
		words = words[1:]
	}
	if len(words) == 0 {
		return ""
	}
	name := path.Base(words[0])
	for _, ending := range []string{".js", ".cjs", ".mjs", ".py", "-cli"} {
		name = strings.TrimSuffix(name, ending)
	}
	if !slices.Contains(runners, name) {
		return ""
	}
	words = slices.DeleteFunc(slices.Clone(words[1:]), func(w string) bool { return strings.HasPrefix(w, "-") || strings.ContainsAny(w, "/=") || len(w) > 24 })
	return strings.Join(append([]string{name}, words[:min(len(words), 2)]...), " ")
}

func (p program) place() string {
	for _, s := range []string{p.exe, strings.Join(p.args[:min(len(p.args), 2)], " ")} {
		for folder, name := range editorFolders {
			if strings.Contains(s, folder) {
				return name
			}
		}
	}
	if p.name == "systemd" && slices.Contains(p.args, "--user") {
		return "systemd user manager"
	}
	if slices.Contains(p.args, "com.intellij.idea.Main") {
		return "JetBrains"
	}
	for _, name := range []string{p.name, p.base()} {
		if place := places[name]; place != "" {
			return place
		}
	}
	// containerd-shim-runc-v2; the kernel cuts a name after 15 bytes.
	if strings.HasPrefix(p.name, "containerd-shim") {
		return places["containerd-shim"]
	}
	return ""
}

// base is the file name of the program, without the version of an interpreter:
// "python3" for /usr/bin/python3.11.
func (p program) base() string {
	name := path.Base(p.exe)
	if p.exe == "" {
		name = path.Base(p.name)
	}
	if v, rest, ok := strings.Cut(name, "."); ok && strings.Trim(rest, "0123456789.") == "" {
		return v
	}
	return name
}

// terminal is the name of a terminal below /dev, by the device number of
// /proc/PID/stat: "(minor: bits 31 to 20 and 7 to 0; major: bits 15 to 8)",
// proc_pid_stat(5). The majors are those of the kernel's admin-guide/devices.txt.
func terminal(tty int32) string {
	major, minor := uint32(tty)>>8&0xff, uint32(tty)>>20<<8|uint32(tty)&0xff
	switch {
	case major >= 136 && major <= 143: // 256 each
		return fmt.Sprintf("pts/%d", minor+256*(major-136))
	case major == 4 && minor > 0 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4 && minor >= 64:
		return fmt.Sprintf("ttyS%d", minor-64)
	}
	return ""
}
