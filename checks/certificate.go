package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TLS came to pass, and a client refuses the certificate.

var untrustedLocalhostCert = &Check{
	Name:     "untrusted-localhost-cert",
	Doc:      "the certificate of the server is one that clients here refuse",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{certificateRefused},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for i := range f.Answers {
			a := &f.Answers[i]
			h := a.Handshake
			if h == nil || h.NotTrusted == "" || len(h.Certificates) == 0 || !slices.Contains(f.Target.Expected(), a.Addr) {
				continue
			}
			asked := a.With == "" && f.Target.Speak != facts.AskGuess
			if !asked && len(h.TrustedBy) > 0 {
				continue
			}
			c := h.Certificates[0]
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Remark: !asked || len(h.TrustedBy) > 0, Evidence: certificateEvidence(c)}
			problems := strings.Split(h.NotTrusted, ", ")
			var says []string
			for _, p := range problems {
				says = append(says, problemWords(f, p, h))
			}
			x.Summary = fmt.Sprintf("The certificate on %s %s.", at(f, a.Addr), strings.Join(says, ", and "))
			if len(h.TrustedBy) > 0 {
				x.Summary = fmt.Sprintf("%s Clients that read %s trust it all the same.", x.Summary, strings.Join(h.TrustedBy, ", "))
			}
			if who := program(f, a.Addr); who != "The server" {
				x.Evidence = append(x.Evidence, Evidence{"listener", who})
			}
			x.Fixes = certificateFixes(f, h, problems)
			if slices.Contains(problems, facts.Expired) {
				x.Since = c.NotAfter
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// problemWords completes "The certificate …".
func problemWords(f *facts.Facts, problem string, h *facts.Handshake) string {
	c := h.Certificates[0]
	maker := madeBy(h)
	switch problem {
	case facts.Expired:
		return "has expired on " + c.NotAfter.Format("2006-01-02 15:04 MST")
	case facts.NotYetValid:
		return "is not valid before " + c.NotBefore.Format("2006-01-02 15:04 MST")
	case facts.SelfSigned:
		if maker.name != "" {
			return "is signed by itself (" + maker.name + "), and nobody here was told to trust it"
		}
		return "is signed by itself, and nobody here was told to trust it"
	case facts.UnknownAuthority:
		if maker.name != "" {
			return fmt.Sprintf("comes from %s, whose authority is not in the trust store here", maker.name)
		}
		return fmt.Sprintf("comes from %s, which is in no trust store here", cond(c.Issuer == "", "an unnamed authority", c.Issuer))
	case facts.ExpiredAuthority:
		return "comes from an authority whose own certificate has expired"
	case facts.NotForServers:
		return "is not for servers (its extended key usage)"
	case facts.WrongName:
		host := cond(f.Target.Host == "", "localhost", f.Target.Host)
		if len(c.Names) == 0 {
			return fmt.Sprintf("names no host at all, so not %s either (clients read subjectAltName, not CN)", host)
		}
		return fmt.Sprintf("is for %s, not for %s", shortList(c.Names, 4), host)
	}
	return "is refused: " + problem
}

// maker is a tool that makes certificates for development.
type maker struct {
	name string
	in   []string // what stands in the issuer
	fix  Fix
}

// makers are known by the names that they give. The first that fits counts.
var makers = []maker{
	{"mkcert", []string{"mkcert development CA"}, Fix{Do: "Put mkcert's authority into the trust stores of this user: mkcert -install. For Node: NODE_EXTRA_CA_CERTS=\"$(mkcert -CAROOT)/rootCA.pem\".",
		Risk: "who has its key can make certificates that this user trusts"}},
	{"Caddy", []string{"Caddy Local Authority"}, Fix{Do: "Put Caddy's authority into the trust store: caddy trust (it asks for your password). Undo: caddy untrust.",
		Risk: "who has its key can make certificates that this machine trusts"}},
	{"dotnet dev-certs", []string{"dotnet dev-certs"}, Fix{Do: "Trust the development certificate of ASP.NET: dotnet dev-certs https --trust. Undo: dotnet dev-certs https --clean."}},
	{"Werkzeug's ad-hoc certificate", []string{"Dummy Certificate"}, Fix{Do: "Give Flask or runserver_plus a certificate of its own instead of 'adhoc': mkcert localhost 127.0.0.1 ::1, then ssl_context=('localhost+2.pem', 'localhost+2-key.pem')."}},
	{"the default of selfsigned, as webpack, Vite and others use it", []string{"Blacksburg", "CN=example.org"}, Fix{Do: "Give the development server a certificate of a local authority: mkcert localhost 127.0.0.1 ::1, then its options key and cert."}},
	{"smallstep", []string{"Smallstep", "step-ca"}, Fix{Do: "Put its root into the trust store: step certificate install root_ca.crt. Undo: step certificate uninstall root_ca.crt."}},
	{"puma-dev", []string{"Puma-dev CA"}, Fix{Do: "Trust the authority of puma-dev: puma-dev -setup."}},
	{"minikube", []string{"minikubeCA"}, Fix{Do: "Use its authority: curl --cacert ~/.minikube/ca.crt, or kubectl, which knows it."}},
}

// madeBy finds the tool that made the certificate; its name is empty if none is known.
func madeBy(h *facts.Handshake) maker {
	for _, m := range makers {
		for _, c := range h.Certificates {
			if slices.ContainsFunc(m.in, func(s string) bool {
				return strings.Contains(c.Issuer, s) || strings.Contains(c.Subject, s) || c.Made == s
			}) {
				return m
			}
		}
	}
	return maker{}
}

func certificateFixes(f *facts.Facts, h *facts.Handshake, problems []string) []Fix {
	c := h.Certificates[0]
	var fixes []Fix
	has := func(p string) bool { return slices.Contains(problems, p) }
	stale := has(facts.Expired) || has(facts.ExpiredAuthority)
	if has(facts.NotYetValid) {
		fixes = append(fixes, Fix{Do: "Look whether the clock of this machine is right (date); if it is, make a new certificate."})
	}
	if has(facts.WrongName) {
		if n := ownName(c.Names); n != "" {
			fixes = append(fixes, Fix{Do: "Use a name that the certificate has: " + renamed(f, n) + "."})
		}
	}
	if m := madeBy(h); m.name != "" && !stale && (has(facts.SelfSigned) || has(facts.UnknownAuthority)) {
		fixes = append(fixes, m.fix)
	}
	if stale || has(facts.WrongName) || len(fixes) == 0 && has(facts.SelfSigned) || has(facts.NotForServers) {
		fixes = append(fixes, Fix{Do: "Make a new certificate with these names, and have the server read it: mkcert localhost 127.0.0.1 ::1 (once before: mkcert -install)."})
	}
	if !stale && !has(facts.WrongName) && (has(facts.SelfSigned) || has(facts.UnknownAuthority)) {
		fixes = append(fixes, Fix{Do: "For one client: give it the authority as a file (curl --cacert FILE, SSL_CERT_FILE=FILE, NODE_EXTRA_CA_CERTS=FILE, REQUESTS_CA_BUNDLE=FILE)."})
	}
	return fixes
}

// ownName is a name of the certificate that surely means this machine.
func ownName(names []string) string {
	for _, n := range names {
		a, err := netip.ParseAddr(n)
		if facts.IsLocalhost(n) && !strings.Contains(n, "*") || err == nil && a.IsLoopback() {
			return n
		}
	}
	return ""
}

// renamed is the target's URL with another host.
func renamed(f *facts.Facts, host string) string {
	scheme, rest, ok := strings.Cut(f.Target.URL, "://")
	if !ok {
		return joinPort(host, f.Target.Port)
	}
	_, p, _ := strings.Cut(rest, "/")
	return scheme + "://" + joinPort(host, f.Target.Port) + "/" + p
}

func certificateEvidence(c facts.Certificate) []Evidence {
	es := []Evidence{{"certificate", fmt.Sprintf("subject %s, issuer %s", cond(c.Subject == "", "(empty)", c.Subject), cond(c.SelfSigned, "itself", c.Issuer))},
		{"certificate", fmt.Sprintf("valid from %s to %s", c.NotBefore.Format("2006-01-02"), c.NotAfter.Format("2006-01-02"))}}
	if len(c.Names) > 0 {
		es = append(es, Evidence{"certificate", "for " + shortList(c.Names, 8)})
	}
	return es
}

// shortList names the first few.
func shortList(ws []string, most int) string {
	if len(ws) <= most {
		return strings.Join(ws, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ws[:most], ", "), len(ws)-most)
}
