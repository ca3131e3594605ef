package facts

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Proxies is what may make the client go to a proxy instead of to the address:
// variables of its environment, settings of files, and a library that was put
// before its own calls.
type Proxies struct {
	From      string         `json:"from,omitempty"`   // whose environment it is: "loopdoctor's own", "process 4121"
	Client    string         `json:"client,omitempty"` // the program that is the client, if it is known
	Unit      string         `json:"unit,omitempty"`   // systemd unit of that process
	Variables []Variable     `json:"variables"`        // in the spelling of the environment
	Settings  []ProxySetting `json:"settings,omitempty"`
	SetIn     []ProxySetting `json:"set_in,omitempty"` // lines of start files that may have set the variables; Program is "shell" or "systemd"
	Ends      []ProxyEnd     `json:"ends,omitempty"`   // proxies on loopback that the above name
	Preload   *Preload       `json:"preload,omitempty"`
}

// ProxySetting is one setting, in the words of its program. A variable is one
// without a file.
type ProxySetting struct {
	Program string `json:"program,omitempty"` // "curl", "git", "npm", "wget", "pip", "docker", "java", "desktop"
	Name    string `json:"name"`              // "http.proxy"
	Value   string `json:"value"`             // its secrets masked
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`    // of the file; 0: it has no lines
	Missing string `json:"missing,omitempty"` // of a file that the value names: why it cannot be read
}

// Where is the place of a setting: "/home/ann/.gitconfig:3".
func (s ProxySetting) Where() string {
	switch {
	case s.File == "":
		return "environment"
	case s.Line == 0:
		return s.File
	}
	return s.File + ":" + strconv.Itoa(s.Line)
}

// ProxyEnd is a proxy on this machine's loopback.
type ProxyEnd struct {
	Addr    netip.AddrPort `json:"address"`
	Listens bool           `json:"listens"`
}

// Preload is a library that sends a program's connections to a SOCKS proxy.
type Preload struct {
	Library  string         `json:"library"`            // its path
	From     string         `json:"from"`               // "LD_PRELOAD", "/proc/4121/maps"
	File     string         `json:"file,omitempty"`     // its configuration file
	Settings []ProxySetting `json:"settings,omitempty"` // of its configuration file: localnet, AllowOutboundLocalhost, and its proxies
	Missing  string         `json:"missing,omitempty"`  // why its configuration file was not read
}

// Proxy is the proxy that a setting names, among all settings of its program; empty:
// it is about something else, or switched off.
func (s ProxySetting) Proxy(all []ProxySetting) string {
	other := func(name, none string) string {
		for _, o := range slices.Backward(all) {
			if o.Program == s.Program && o.Name == name {
				return o.Value
			}
		}
		return none
	}
	joined := func(port string) string {
		if s.Value == "" {
			return ""
		}
		return s.Value + ":" + port
	}
	switch s.Program + " " + s.Name {
	case "curl proxy", "npm proxy", "npm http-proxy", "npm https-proxy", "wget http_proxy", "wget https_proxy", "pip proxy", "docker httpProxy", "docker httpsProxy", "proxychains proxy":
		return s.Value
	case "java http.proxyHost":
		return joined(other("http.proxyPort", "80"))
	case "java https.proxyHost":
		return joined(other("https.proxyPort", "443"))
	case "java socksProxyHost":
		return joined(other("socksProxyPort", "1080"))
	case "KDE http", "KDE https", "KDE socks":
		if other("mode", "0") == "1" {
			return strings.Replace(s.Value, " ", ":", 1)
		}
	case "GNOME http-host", "GNOME https-host", "GNOME socks-host":
		if other("mode", "none") == "manual" {
			return joined(other(strings.TrimSuffix(s.Name, "host")+"port", "0"))
		}
	case "torsocks toraddress":
		return joined(other("torport", "9050"))
	case "tsocks server":
		return joined(other("server_port", "1080"))
	}
	if s.Program == "git" && strings.HasSuffix(s.Name, ".proxy") {
		return s.Value
	}
	return ""
}

// End finds what is known of a proxy on loopback.
func (p *Proxies) End(proxy string) *ProxyEnd {
	_, host, port := SplitProxy(proxy)
	for i := range p.Ends {
		if e := &p.Ends[i]; e.Addr.Port() == port && sameLoopback(host, e.Addr.Addr()) {
			return e
		}
	}
	return nil
}

func sameLoopback(host string, a netip.Addr) bool {
	if IsLocalhost(host) {
		return true
	}
	b, err := netip.ParseAddr(host)
	return err == nil && b.Unmap() == a
}

// SplitProxy splits the value of a proxy setting as curl and most others do: the
// scheme may be missing, and so may the port. Host is without brackets.
func SplitProxy(value string) (scheme, host string, port uint16) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(value), "://")
	if !ok {
		scheme, rest = "http", scheme
	}
	scheme = strings.ToLower(scheme)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	host, digits := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && i > strings.LastIndexByte(rest, ']') {
		host, digits = rest[:i], rest[i+1:]
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		n = 1080 // what curl takes where none is written, for every scheme but https
		if scheme == "https" {
			n = 443
		}
	}
	return scheme, host, uint16(n)
}
