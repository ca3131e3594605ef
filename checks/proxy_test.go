package checks

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/internal/proxyrule"
)

// environment gives the client variables, NAME=VALUE.
func environment(vars ...string) change {
	return func(f *facts.Facts) {
		f.Proxies.From = "loopdoctor's own"
		for _, kv := range vars {
			name, value, _ := strings.Cut(kv, "=")
			f.Proxies.Variables = append(f.Proxies.Variables, facts.Variable{Name: name, Value: value})
		}
	}
}

// setting is one of a file.
func setting(program, name, value, file string) change {
	return func(f *facts.Facts) {
		f.Proxies.Settings = append(f.Proxies.Settings, facts.ProxySetting{Program: program, Name: name, Value: value, File: file, Line: 2})
	}
}

func end(on string, listens bool) change {
	return func(f *facts.Facts) {
		f.Proxies.Ends = append(f.Proxies.Ends, facts.ProxyEnd{Addr: netip.MustParseAddrPort(on), Listens: listens})
	}
}

// isProcess is --as PID.
func isProcess(program string) change {
	return func(f *facts.Facts) {
		f.Proxies.Client, f.Proxies.From = program, "process 70"
		f.Host.As = []facts.Identity{{UID: 1000, User: "ann", PID: 70, Program: program}}
	}
}

func preloaded(library, from string, settings ...facts.ProxySetting) change {
	return func(f *facts.Facts) {
		f.Proxies.Preload = &facts.Preload{Library: library, From: from, File: "/etc/x.conf", Settings: settings}
	}
}

func proxySituations() []situation {
	healthy := func(target string, changes ...change) *facts.Facts {
		to := target
		if target == fmt.Sprint(port) || target == "localhost" {
			to = "127.0.0.1"
		}
		return machine(target, append([]change{listens(to, 50), dials(to, facts.Connected)}, changes...)...)
	}
	const squid, local = "http_proxy=http://proxy:3128", "http://127.0.0.1:62893/"
	capturing := of(proxyEnvCapturesLocalhost,
		row{"a URL, and curl's variable", healthy("localhost", url("http://localhost:62893/"), environment(squid)), says("proven 127.0.0.1 ::1", "curl asks the proxy http://proxy:3128 for http://localhost:62893", "http_proxy says so")},
		row{"a bare port is a remark", healthy("62893", environment(squid)), says("remark 127.0.0.1 ::1", "curl, git, wget", "http_proxy")},
		row{"capitals are not curl's", healthy("localhost", url("http://localhost:62893/"), environment("HTTP_PROXY=http://proxy:3128")), says("remark 127.0.0.1 ::1", "Python", "HTTP_PROXY")},
		row{"a process that runs", healthy("62893", isProcess("wget"), environment(squid)), says("proven 127.0.0.1 ::1", "wget (pid 70) asks the proxy")},
		row{"Node has two ways", healthy("62893", isProcess("node"), environment(squid)), says("proven 127.0.0.1 ::1", "node (pid 70)")},
		row{"Node has two ways, and fetch is one with the other variable", healthy("62893", isProcess("node"), environment("all_proxy=http://proxy:3128", "NODE_USE_ENV_PROXY=1")), says("inferred 127.0.0.1 ::1", "if it uses axios")},
		row{"the error of a client that works from here", healthy("localhost", clientPrinted(facts.ClientError{Client: "git"}), environment(squid)), says("proven 127.0.0.1 ::1", "git asks")},
		row{"git's own file", healthy("localhost", clientPrinted(facts.ClientError{Client: "git"}), setting("git", "http.proxy", "http://proxy:3128", "/home/ann/.gitconfig")), says("proven 127.0.0.1 ::1", "http.proxy in /home/ann/.gitconfig")},
		row{"curl's own file", healthy("localhost", url("http://localhost:62893/"), setting("curl", "proxy", "proxy:3128", "/home/ann/.curlrc")), says("proven 127.0.0.1 ::1", "proxy in /home/ann/.curlrc")},
		row{"Java with an empty list", healthy("localhost", isProcess("java"), setting("java", "http.proxyHost", "proxy", "its arguments"), setting("java", "http.nonProxyHosts", "", "its arguments")), says("proven 127.0.0.1 ::1", "proxy:80")},
		row{"nothing set", healthy("localhost", url("http://localhost:62893/")), nothing},
		row{"all forms exempt", healthy("localhost", url("http://localhost:62893/"), environment(squid, "no_proxy=localhost,127.0.0.1,::1,[::1]")), nothing},
		row{"the proxy is for https", healthy("62893", environment("https_proxy=http://proxy:3128")), nothing},
		row{"git's own file, and nobody says git", healthy("62893", setting("git", "http.proxy", "http://proxy:3128", "/home/ann/.gitconfig")), nothing},
		row{"Java's default", healthy("localhost", isProcess("java"), setting("java", "http.proxyHost", "proxy", "its arguments")), nothing},
		row{"the server is down", machine("62893", dials("127.0.0.1", facts.Refused), environment(squid)), nothing},
		row{"the client met the server itself", machine("127.0.0.1", url(local), dials("127.0.0.1", facts.Refused), clientPrinted(facts.ClientError{Client: "curl", Symptom: "refused", Addr: netip.MustParseAddrPort("127.0.0.1:62893")}), environment(squid)), nothing},
		row{"a database", healthy("127.0.0.1", asksPort(5432), environment(squid)), nothing},
		row{"a URL of a database", healthy("127.0.0.1", func(f *facts.Facts) { f.Target.Raw = "redis://127.0.0.1:62893" }, environment(squid)), nothing},
		row{"a server wants to bind", machine("62893", toBind, environment(squid)), nothing},
		row{"the target is the proxy", healthy("127.0.0.1", url(local), environment("http_proxy=http://127.0.0.1:62893"), end("127.0.0.1:62893", true)), nothing},
		row{"an empty variable", healthy("localhost", url("http://localhost:62893/"), environment("http_proxy=")), nothing},
	)
	mismatch := of(noProxyFormatMismatch,
		row{"a name does not exempt its address", healthy("127.0.0.1", url(local), environment(squid, "no_proxy=localhost")), says("proven 127.0.0.1", "no_proxy=localhost", "curl understands names and what is below")},
		row{"an address does not exempt the name", healthy("localhost", url("http://localhost:62893/"), environment(squid, "no_proxy=127.0.0.1")), says("proven 127.0.0.1 ::1", "although no_proxy=127.0.0.1")},
		row{"wget reads no capitals", healthy("localhost", isProcess("wget"), environment(squid, "NO_PROXY=localhost")), says("proven 127.0.0.1 ::1", "wget does not read NO_PROXY")},
		row{"curl reads one of two", healthy("localhost", url("http://localhost:62893/"), environment(squid, "no_proxy=intranet", "NO_PROXY=localhost")), says("proven 127.0.0.1 ::1", "curl reads no_proxy, and then not NO_PROXY")},
		row{"a star and a dot", healthy("localhost", url("http://localhost:62893/"), environment(squid, "no_proxy=*.localhost")), says("proven 127.0.0.1 ::1", "no_proxy=*.localhost")},
		row{"wget knows no networks, the others do", healthy("127.0.0.1", environment(squid, "no_proxy=127.0.0.0/8")), says("remark 127.0.0.1", "wget", "axios")},
		row{"no list at all", healthy("localhost", url("http://localhost:62893/"), environment(squid)), nothing},
		row{"a list about others", healthy("localhost", url("http://localhost:62893/"), environment(squid, "no_proxy=intranet")), nothing},
		row{"everything is exempt", healthy("127.0.0.1", url(local), isProcess("curl"), environment(squid, "no_proxy=*")), nothing},
		row{"everything is, but for wget, of which nobody spoke", healthy("127.0.0.1", environment(squid, "no_proxy=*")), nothing},
		row{"only wget reads small letters alone", healthy("62893", environment("HTTP_PROXY=http://proxy:3128", squid, "NO_PROXY=localhost")), nothing},
		row{"networks, and the client reads them", healthy("127.0.0.1", url(local), isProcess("curl"), environment(squid, "no_proxy=127.0.0.0/8")), nothing},
	)
	dead := of(deadLocalProxy,
		row{"the target is the proxy", machine("127.0.0.1", asksPort(7890), dials("127.0.0.1", facts.Refused), environment("http_proxy=http://127.0.0.1:7890"), end("127.0.0.1:7890", false)), says("proven 127.0.0.1", "Nothing listens on 127.0.0.1:7890", "http_proxy")},
		row{"the target is git's proxy", machine("localhost", asksPort(7890), dials("127.0.0.1", facts.Refused), setting("git", "http.proxy", "socks5://localhost:7890", "/home/ann/.gitconfig"), end("127.0.0.1:7890", false)), says("proven 127.0.0.1 ::1", "http.proxy in /home/ann/.gitconfig")},
		row{"a client asks it", healthy("localhost", url("http://localhost:62893/"), environment("http_proxy=http://127.0.0.1:9"), end("127.0.0.1:9", false)), says("proven 127.0.0.1 ::1 at resolve", "nothing listens there")},
		row{"a bare port is a remark", healthy("62893", environment("http_proxy=127.0.0.1:9"), end("127.0.0.1:9", false)), says("remark 127.0.0.1 ::1 at resolve", "127.0.0.1:9")},
		row{"an error names it", healthy("localhost", url("http://localhost:62893/"), clientPrinted(facts.ClientError{Client: "curl", Symptom: "refused", Addr: netip.MustParseAddrPort("127.0.0.1:9")}), environment("http_proxy=127.0.0.1:9"), end("127.0.0.1:9", false)), says("proven 127.0.0.1 ::1 at resolve", "curl asks")},
		row{"it runs", healthy("localhost", url("http://localhost:62893/"), environment("http_proxy=http://127.0.0.1:9"), end("127.0.0.1:9", true)), nothing},
		row{"it is dead, and this machine exempt", healthy("localhost", url("http://localhost:62893/"), environment("http_proxy=http://127.0.0.1:9", "no_proxy=localhost"), end("127.0.0.1:9", false)), nothing},
		row{"another port is refused", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), environment("http_proxy=http://127.0.0.1:9"), end("127.0.0.1:9", false)), nothing},
		row{"a proxy elsewhere has this port number", machine("127.0.0.1", asksPort(3128), dials("127.0.0.1", facts.Refused), environment(squid)), nothing},
	)
	wrapping := of(preloadSOCKSWrapper,
		row{"a process with proxychains", healthy("127.0.0.1", isProcess("curl"), preloaded("/usr/lib/libproxychains.so.4", "/proc/70/maps", facts.ProxySetting{Name: "proxy", Value: "socks5://127.0.0.1:1080"})), says("proven 127.0.0.1", "curl (pid 70) connects through proxychains")},
		row{"the shell's own", healthy("127.0.0.1", preloaded("/usr/lib/libtorsocks.so", "LD_PRELOAD")), says("remark 127.0.0.1", "torsocks")},
		row{"a URL", healthy("127.0.0.1", url(local), preloaded("/usr/lib/libproxychains4.so", "LD_PRELOAD", facts.ProxySetting{Name: "localnet", Value: "10.0.0.0/255.0.0.0"})), says("proven 127.0.0.1", "127.0.0.1:62893")},
		row{"localnet", healthy("127.0.0.1", url(local), preloaded("/usr/lib/libproxychains.so.4", "LD_PRELOAD", facts.ProxySetting{Name: "localnet", Value: "127.0.0.0/255.0.0.0"})), nothing},
		row{"localnet of this port", healthy("127.0.0.1", url(local), preloaded("/usr/lib/libproxychains.so.4", "LD_PRELOAD", facts.ProxySetting{Name: "localnet", Value: "127.0.0.0:62893/8"})), nothing},
		row{"localnet of another port", healthy("127.0.0.1", url(local), preloaded("/usr/lib/libproxychains.so.4", "LD_PRELOAD", facts.ProxySetting{Name: "localnet", Value: "127.0.0.0:80/8"})), says("proven 127.0.0.1")},
		row{"Tor lets loopback through", healthy("127.0.0.1", isProcess("curl"), preloaded("/usr/lib/libtorsocks.so", "LD_PRELOAD", facts.ProxySetting{Name: "allowoutboundlocalhost", Value: "1"})), nothing},
		row{"tsocks does not", healthy("127.0.0.1", isProcess("curl"), preloaded("/usr/lib/libtsocks.so", "LD_PRELOAD")), says("proven 127.0.0.1", "tsocks")},
		row{"tsocks knows no IPv6", healthy("::1", isProcess("curl"), preloaded("/usr/lib/libtsocks.so", "LD_PRELOAD")), nothing},
		row{"nothing is preloaded", healthy("127.0.0.1", isProcess("curl")), nothing},
	)
	manual := func(ignore string) change {
		return func(f *facts.Facts) {
			for _, kv := range []string{"mode=manual", "http-host=proxy", "http-port=3128", "ignore-hosts=" + ignore} {
				name, value, _ := strings.Cut(kv, "=")
				setting("GNOME", name, value, "/home/ann/.config/dconf/user")(f)
			}
		}
	}
	pac := func(url, missing string) change {
		return func(f *facts.Facts) {
			setting("GNOME", "mode", "auto", "/home/ann/.config/dconf/user")(f)
			f.Proxies.Settings = append(f.Proxies.Settings, facts.ProxySetting{Program: "GNOME", Name: "autoconfig-url", Value: url, File: "/home/ann/.config/dconf/user", Missing: missing})
		}
	}
	system := of(systemProxyOrPAC,
		row{"by hand, without the exemption", healthy("localhost", manual("intranet")), says("remark 127.0.0.1 ::1", "GNOME", "proxy:3128", "do not exempt localhost")},
		row{"a browser says it", healthy("localhost", manual("intranet"), clientPrinted(facts.ClientError{Client: "Chrome", Symptom: "sent-to-proxy"})), says("inferred 127.0.0.1 ::1", "proxy:3128")},
		row{"a PAC file that is gone", healthy("localhost", pac("file:///home/ann/proxy.pac", "no such file or directory")), says("remark 127.0.0.1 ::1", "proxy.pac", "no such file")},
		row{"a PAC file from a server here that is down", healthy("localhost", pac("http://127.0.0.1:9/proxy.pac", ""), end("127.0.0.1:9", false)), says("remark 127.0.0.1 ::1", "nothing listens on 127.0.0.1:9")},
		row{"a PAC file, and a browser says it", healthy("localhost", pac("http://wpad/proxy.pac", ""), clientPrinted(facts.ClientError{Client: "Firefox", Symptom: "sent-to-proxy"})), says("inferred 127.0.0.1 ::1", "may name one")},
		row{"KDE exempts nothing by itself", healthy("localhost", setting("KDE", "mode", "1", "/k"), setting("KDE", "http", "http://proxy 3128", "/k")), says("remark 127.0.0.1 ::1", "http://proxy:3128")},
		row{"a PAC file, as in every company", healthy("localhost", pac("http://wpad/proxy.pac", "")), nothing},
		row{"by hand, with the exemption", healthy("localhost", manual("localhost,127.0.0.0/8,::1")), nothing},
		row{"by hand, with what is exempt by default", healthy("localhost", setting("GNOME", "mode", "manual", "/d"), setting("GNOME", "http-host", "proxy", "/d")), nothing},
		row{"switched off", healthy("localhost", setting("GNOME", "mode", "none", "/d"), setting("GNOME", "http-host", "proxy", "/d")), nothing},
	)
	felt := of(sentToProxy,
		row{"a client that is known", healthy("62893", isProcess("curl"), environment(squid)), says("proven 127.0.0.1 ::1", "curl (pid 70) asks the proxy http://proxy:3128")},
		row{"a wrapper", healthy("127.0.0.1", isProcess("curl"), preloaded("/usr/lib/libtsocks.so", "LD_PRELOAD")), says("proven 127.0.0.1", "by way of tsocks")},
		row{"nobody is known", healthy("62893", environment(squid)), nothing},
	)
	var all []situation
	for _, t := range [][]situation{capturing, mismatch, dead, wrapping, system, felt} {
		all = append(all, t...)
	}
	return all
}

func TestProxies(t *testing.T) { judge(t, proxySituations()) }

// A list that exempts everything loses by what is added to it: curl and Python read the
// star only where it stands alone. What both spellings say is not said twice.
func TestAdvisedListKeepsWhatIsExempt(t *testing.T) {
	for _, c := range []struct{ value, want string }{{"*", "wget --no-proxy "}, {"intranet,127.0.0.0/8", "export no_proxy='intranet,127.0.0.0/8,localhost,"}} {
		f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), url("http://127.0.0.1:62893/"), isProcess("wget"), environment("http_proxy=http://proxy:3128", "no_proxy="+c.value, "NO_PROXY="+c.value))
		fs := noProxyFormatMismatch.Run(f)
		if len(fs) != 1 || len(fs[0].Fixes) == 0 || !strings.HasPrefix(fs[0].Fixes[0].Paste, c.want) {
			t.Errorf("%s: %+v", c.value, fs)
		}
	}
}

// The list that is advised exempts this machine for every client.
func TestAdvisedListExempts(t *testing.T) {
	for _, old := range []string{"", "*.localhost", "a, localhost , b", "127.0.0.0/8", "intranet;x", "localhost:1", "10.0.0.0/8 ::1"} {
		for _, host := range []string{"localhost", "127.0.0.1", "::1", "app.localhost", "127.0.0.53"} {
			list := exempting(old, host)
			p := &facts.Proxies{Variables: []facts.Variable{{Name: "NODE_USE_ENV_PROXY", Value: "1"}}}
			for _, name := range []string{"http_proxy", "HTTP_PROXY"} {
				p.Variables = append(p.Variables, facts.Variable{Name: name, Value: "http://proxy:3128"})
			}
			for _, name := range []string{"no_proxy", "NO_PROXY"} {
				p.Variables = append(p.Variables, facts.Variable{Name: name, Value: list})
			}
			for _, c := range proxyrule.Clients {
				if u := c.Use(p, proxyrule.Request{Scheme: "http", Host: host, Port: port}); u.Proxied() {
					t.Errorf("%s asks the proxy for %s with no_proxy=%s", c.Name, host, list)
				}
			}
		}
	}
}
