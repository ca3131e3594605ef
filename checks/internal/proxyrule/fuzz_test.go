package proxyrule

import (
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Whatever stands in a variable or a file: every client has an answer, and a proxy
// that is asked has a name.
func FuzzUse(f *testing.F) {
	f.Add("http://ann:***@[::1]:3128", "localhost,[::1]:80,*.x,10.0.0.0/8,<local>|", "http.http://localhost:80.proxy", "app.localhost", uint16(80))
	f.Add(":", "::,]:1,[", "http..proxy", "::1", uint16(0))
	f.Fuzz(func(t *testing.T, proxy, list, name, host string, port uint16) {
		p := &facts.Proxies{}
		for _, v := range []string{"http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
			p.Variables = append(p.Variables, facts.Variable{Name: v, Value: proxy})
		}
		p.Variables = append(p.Variables, facts.Variable{Name: "no_proxy", Value: list}, facts.Variable{Name: "NODE_USE_ENV_PROXY", Value: "1"})
		for _, program := range []string{"curl", "git", "wget", "java", "GNOME", "KDE"} {
			p.Settings = append(p.Settings, facts.ProxySetting{Program: program, Name: name, Value: proxy, File: "f"}, facts.ProxySetting{Program: program, Name: "http.nonProxyHosts", Value: list})
		}
		for _, c := range Clients {
			for _, scheme := range []string{"http", "https"} {
				if u := c.Use(p, Request{Scheme: scheme, Host: host, Port: port}); u.Proxied() && u.Proxy.Name == "" {
					t.Errorf("%s asks a proxy that nothing names: %+v", c.Name, u)
				}
			}
		}
		p.End(proxy)
		for _, s := range p.Settings {
			s.Proxy(p.Settings)
		}
	})
}
