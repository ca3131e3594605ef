package host

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/proxyconf"
)

// program is what is seen of a process that is the client.
type program struct {
	name, unit string
	args       []string
	library    string // that sends its connections to a proxy
}

// beginProxies looks for proxies while other things are looked at: it takes a
// millisecond, and nobody waits for it until the end (endProxies).
func (l *look) beginProxies(environ []string, from string) {
	var p *facts.Proxies
	done := make(chan error, 1)
	go func() {
		done <- guard(func() error { p = l.lookForProxies(environ, from); return nil })
	}()
	l.proxies = func() (*facts.Proxies, error) { err := <-done; return p, err }
}

// endProxies waits for what beginProxies began.
func (l *look) endProxies(ctx context.Context) {
	if l.proxies != nil {
		get(ctx, l, facts.GroupProxies, &l.f.Proxies, l.proxies)
	}
}

// lookForProxies collects what may make the client go to a proxy.
func (l *look) lookForProxies(environ []string, from string) *facts.Proxies {
	as := l.f.Host.As[0]
	p := proxyVariables(environ)
	p.From = from
	home := l.home(environ)
	if as.Mounts { // its files are others
		home.dir = ""
	}
	var lib, source string
	if as.PID != 0 && l.sources.program != nil {
		x := l.sources.program(as.PID)
		p.Client, p.Unit, lib = x.name, x.unit, x.library
		source = "/proc/" + strconv.Itoa(as.PID) + "/maps"
		p.Settings = append(p.Settings, proxyconf.Arguments(x.args, "its arguments")...)
	}
	if lib == "" && as.PID == 0 {
		lib, source = wrapper(home.get("LD_PRELOAD")), "LD_PRELOAD"
	}
	l.readAs(as, func() {
		p.Settings = slices.Concat(javaVariables(home), home.settings(), p.Settings)
		if len(p.Variables) > 0 {
			p.SetIn = home.setIn(p)
		}
		if lib != "" {
			p.Preload = home.preload(lib, source)
		}
	})
	for _, list := range [][]facts.ProxySetting{p.Settings, p.SetIn} {
		for i := range list {
			list[i].Value = cutValue(maskURL(list[i].Value))
			list[i].Name = cutValue(maskURL(list[i].Name)) // of git it may hold a URL
		}
	}
	p.Ends = l.ends(p)
	return p
}

// readAs reads files as the client may; of one whose rights cannot be taken none is
// read.
func (l *look) readAs(as facts.Identity, read func()) {
	if l.sources.readAs == nil {
		read()
		return
	}
	l.sources.readAs(as, read)
}

func cutValue(v string) string {
	if len(v) > maxValue {
		v = v[:maxValue] + "…"
	}
	return strings.ToValidUTF8(v, "�")
}

// proxyVariables are what clients read; a password in one is masked before it
// is written down.
func proxyVariables(environ []string) *facts.Proxies {
	p := &facts.Proxies{Variables: []facts.Variable{}}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if isProxyVariable(name) && len(p.Variables) < 64 {
			p.Variables = append(p.Variables, facts.Variable{Name: name, Value: cutValue(maskURL(value))})
		}
	}
	slices.SortStableFunc(p.Variables, func(a, b facts.Variable) int { return strings.Compare(a.Name, b.Name) })
	return p
}

func isProxyVariable(name string) bool {
	switch lower := strings.ToLower(name); lower {
	case "http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy", "node_use_env_proxy":
		return true
	default:
		rest, ok := strings.CutPrefix(lower, "npm_config_")
		return ok && slices.Contains([]string{"proxy", "http_proxy", "https_proxy", "no_proxy", "noproxy"}, rest)
	}
}

// surroundings are where the files of a client lie.
type surroundings struct {
	environ []string
	dir     string // its home; empty: none of its files is read
	cwd     string
}

func (s surroundings) get(name string) string {
	for _, kv := range s.environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// home is that of the client: where it is another user than loopdoctor, as with
// sudo, HOME is not asked.
func (l *look) home(environ []string) surroundings {
	as := l.f.Host.As[0]
	s := surroundings{environ: environ, cwd: l.f.Host.Cwd}
	if as.PID != 0 {
		s.cwd = ""
	}
	if as.PID != 0 || int(as.UID) == os.Geteuid() || os.Geteuid() < 0 {
		s.dir = s.get("HOME")
	} else if u, err := user.LookupId(strconv.FormatUint(uint64(as.UID), 10)); err == nil {
		s.dir = u.HomeDir
	}
	return s
}

func (s surroundings) config() string {
	return cmp.Or(s.get("XDG_CONFIG_HOME"), filepath.Join(s.dir, ".config"))
}

// javaVariables hold options of every Java program, the least important first.
func javaVariables(s surroundings) (out []facts.ProxySetting) {
	for _, name := range []string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"} {
		out = append(out, proxyconf.Java(strings.Fields(s.get(name)), name)...)
	}
	return out
}

// settings are those of files, in the order in which their programs read them: the
// later ones count. curl reads the first of its files only.
func (s surroundings) settings() []facts.ProxySetting {
	if s.dir == "" {
		return nil
	}
	in := func(names ...string) string { return filepath.Join(append([]string{s.dir}, names...)...) }
	var out []facts.ProxySetting
	for _, dir := range []string{s.get("CURL_HOME"), s.get("XDG_CONFIG_HOME"), s.dir} {
		if dir == "" {
			continue
		}
		if list, err := read(filepath.Join(dir, ".curlrc"), proxyconf.Curl); err == nil {
			out = append(out, list...)
			break
		}
	}
	for _, f := range []struct {
		file   string
		format proxyconf.Format
	}{
		{"/etc/gitconfig", proxyconf.Git}, {filepath.Join(s.config(), "git", "config"), proxyconf.Git}, {in(".gitconfig"), proxyconf.Git}, {s.repository(), proxyconf.Git},
		{"/etc/npmrc", proxyconf.NPM}, {in(".npmrc"), proxyconf.NPM}, {filepath.Join(s.cwd, ".npmrc"), proxyconf.NPM},
		{"/etc/wgetrc", proxyconf.Wget}, {cmp.Or(s.get("WGETRC"), in(".wgetrc")), proxyconf.Wget},
		{"/etc/pip.conf", proxyconf.Pip}, {in(".pip", "pip.conf"), proxyconf.Pip}, {filepath.Join(s.config(), "pip", "pip.conf"), proxyconf.Pip},
		{in(".docker", "config.json"), proxyconf.Docker},
		{filepath.Join(s.config(), "kioslaverc"), proxyconf.KDE},
	} {
		if f.file == "" || f.file == ".npmrc" || s.cwd == s.dir && f.file == filepath.Join(s.cwd, ".npmrc") && len(out) > 0 && out[len(out)-1].File == f.file {
			continue
		}
		list, _ := read(f.file, f.format) // most are not there
		out = append(out, list...)
	}
	out = append(out, s.dconf()...)
	for i := range out {
		if out[i].Name == "autoconfig-url" {
			out[i].Missing = unreadablePAC(out[i].Value)
		}
	}
	return out
}

// dconf reads the system's keyfiles and then the user's database, which counts.
func (s surroundings) dconf() (out []facts.ProxySetting) {
	files, _ := filepath.Glob("/etc/dconf/db/*.d/*")
	for _, f := range files[:min(len(files), 20)] {
		list, _ := read(f, proxyconf.DConf)
		out = append(out, list...)
	}
	list, _ := read(filepath.Join(s.config(), "dconf", "user"), proxyconf.GNOME)
	return append(out, list...)
}

// unreadablePAC says why a PAC file on this machine cannot be read.
func unreadablePAC(url string) string {
	path, ok := strings.CutPrefix(url, "file://")
	if !ok {
		return ""
	}
	if _, err := read(path, func([]byte) []facts.ProxySetting { return nil }); err != nil {
		if e := (*fs.PathError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return err.Error()
	}
	return ""
}

// repository is the configuration of the git repository that holds the directory.
func (s surroundings) repository() string {
	for dir, i := s.cwd, 0; dir != "" && i < 16; dir, i = filepath.Dir(dir), i+1 {
		if file := filepath.Join(dir, ".git", "config"); isFile(file) {
			return file
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// setIn finds the lines that set variables to what they are.
func (s surroundings) setIn(p *facts.Proxies) (out []facts.ProxySetting) {
	if s.dir == "" {
		return nil
	}
	files := []string{"/etc/environment", "/etc/profile", "/etc/bash.bashrc", "/etc/zsh/zshenv"}
	for _, name := range []string{".profile", ".bash_profile", ".bashrc", ".zshenv", ".zprofile", ".zshrc", ".pam_environment", ".config/fish/config.fish"} {
		files = append(files, filepath.Join(s.dir, name))
	}
	globs := []string{"/etc/profile.d/*.sh", filepath.Join(s.config(), "environment.d", "*.conf")}
	if p.Unit != "" {
		for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/"} {
			files = append(files, dir+p.Unit)
			globs = append(globs, dir+p.Unit+".d/*.conf")
		}
	}
	for _, g := range globs {
		more, _ := filepath.Glob(g)
		files = append(files, more[:min(len(more), 40)]...)
	}
	for _, f := range files {
		list, _ := read(f, proxyconf.Variables)
		for _, x := range list {
			if len(out) < 20 && slices.Contains(p.Variables, facts.Variable{Name: x.Name, Value: cutValue(maskURL(x.Value))}) {
				out = append(out, x)
			}
		}
	}
	return out
}

// read reads one regular file.
func read(file string, format proxyconf.Format) ([]facts.ProxySetting, error) {
	f, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, proxyconf.MaxBytes))
	if err != nil {
		return nil, err
	}
	list := format(data)
	for i := range list {
		list[i].File = file
	}
	return list, nil
}

// wrapperLibrary sends connections to a SOCKS proxy.
type wrapperLibrary struct {
	name, variable string
	files          []string // where it looks for its configuration; ~ is the home
	format         proxyconf.Format
}

var wrappers = []wrapperLibrary{
	{"libproxychains", "PROXYCHAINS_CONF_FILE", []string{"./proxychains.conf", "~/.proxychains/proxychains.conf", "/etc/proxychains4.conf", "/etc/proxychains.conf"}, proxyconf.Proxychains},
	{"libtorsocks", "TORSOCKS_CONF_FILE", []string{"/etc/tor/torsocks.conf"}, proxyconf.Torsocks},
	{"libtsocks", "TSOCKS_CONF_FILE", []string{"/etc/tsocks.conf"}, proxyconf.Tsocks},
}

// wrapper is the first of them in a list, as LD_PRELOAD is one (ld.so(8)).
func wrapper(list string) string {
	for _, f := range strings.FieldsFunc(list, func(c rune) bool { return c == ' ' || c == ':' }) {
		if isWrapper(f) {
			return f
		}
	}
	return ""
}

func isWrapper(path string) bool {
	return slices.ContainsFunc(wrappers, func(w wrapperLibrary) bool { return strings.HasPrefix(filepath.Base(path), w.name) })
}

func (s surroundings) preload(lib, from string) *facts.Preload {
	out := &facts.Preload{Library: cutValue(lib), From: from, Missing: "no configuration file"}
	for _, w := range wrappers {
		if !strings.HasPrefix(filepath.Base(lib), w.name) {
			continue
		}
		for _, file := range append([]string{s.get(w.variable)}, w.files...) {
			switch {
			case file == "" || strings.HasPrefix(file, "./") && s.cwd == "" || strings.HasPrefix(file, "~/") && s.dir == "":
				continue
			case strings.HasPrefix(file, "./"):
				file = filepath.Join(s.cwd, file)
			case strings.HasPrefix(file, "~/"):
				file = filepath.Join(s.dir, file[2:])
			}
			list, err := read(file, w.format)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			out.File, out.Missing = file, ""
			if err != nil {
				out.Missing = reason(err)
			}
			for i := range list {
				list[i].Value = cutValue(list[i].Value)
			}
			out.Settings = list
			return out
		}
	}
	return out
}

// ends are the proxies on loopback, and whether somebody listens there.
func (l *look) ends(p *facts.Proxies) []facts.ProxyEnd {
	var names []string
	for _, v := range p.Variables {
		if strings.HasSuffix(strings.ToLower(v.Name), "proxy") && !strings.HasSuffix(strings.ToLower(v.Name), "no_proxy") && !strings.EqualFold(v.Name, "node_use_env_proxy") {
			names = append(names, v.Value)
		}
	}
	settings := p.Settings
	if p.Preload != nil {
		settings = slices.Concat(settings, p.Preload.Settings)
	}
	for _, s := range settings {
		if proxy := s.Proxy(settings); proxy != "" {
			names = append(names, proxy)
		}
	}
	var out []facts.ProxyEnd
	var all *facts.Sockets
	for _, name := range names {
		_, host, port := facts.SplitProxy(name)
		a, err := netip.ParseAddr(host)
		addrs := []netip.Addr{a.Unmap()}
		if facts.IsLocalhost(host) {
			addrs, err = []netip.Addr{v4, v6}, nil
		}
		if err != nil || !addrs[0].IsLoopback() || l.sources.listeners == nil || len(out) > 16 {
			continue
		}
		if all == nil {
			if all, err = l.sources.listeners(); err != nil {
				return nil
			}
		}
		end := facts.ProxyEnd{Addr: netip.AddrPortFrom(addrs[0], port)}
		for _, a := range addrs {
			if slices.ContainsFunc(all.Sockets, func(s facts.Socket) bool {
				return s.Network == "tcp" && s.State == facts.Listen && s.Local.Port() == port && s.Serves(a)
			}) {
				end = facts.ProxyEnd{Addr: netip.AddrPortFrom(a, port), Listens: true}
				break
			}
		}
		if !slices.Contains(out, end) {
			out = append(out, end)
		}
	}
	return out
}
