package forward

import (
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// kubectlValues are the flags that take a value in the next word.
var kubectlValues = strings.Fields("-n --namespace --address --context --kubeconfig --cluster --user --pod-running-timeout --request-timeout -s --server --token --as --as-group --as-uid" +
	" --cache-dir --certificate-authority --client-certificate --client-key --tls-server-name --username --password --profile --profile-output -v --v")

// kubectl reads
//
//	kubectl -n shop port-forward --address 127.0.0.1 svc/web 8080:80 :9090
func kubectl(args []string) []Way {
	begin := slices.Index(args, "port-forward")
	if begin < 0 {
		return nil
	}
	namespace, address, through := "", "", ""
	var ways []Way
	for i := 1; i < len(args); i++ {
		a := args[i]
		if strings.HasPrefix(a, "-") {
			name, value, ok := strings.Cut(a, "=")
			if !ok && slices.Contains(kubectlValues, a) && i+1 < len(args) {
				i++
				value = args[i]
			}
			switch name {
			case "-n", "--namespace":
				namespace = short(value)
			case "--address":
				address, _, _ = strings.Cut(short(value), ",")
			}
			continue
		}
		if i <= begin {
			continue
		}
		local, remote, ok := strings.Cut(a, ":")
		if !ok {
			remote = local
		}
		switch {
		case number(local) != 0 && number(remote) != 0:
			ways = append(ways, Way{Kind: "kubectl port-forward", From: argument(i), Text: a, Port: number(local), Host: "localhost", To: number(remote)})
		case number(local) != 0: // the name of a port
			ways = append(ways, Way{Kind: "kubectl port-forward", From: argument(i), Text: a, Port: number(local)})
		case through == "" && !ok:
			through = short(a)
		}
		if len(ways) >= maxWays {
			break
		}
	}
	if through != "" && !strings.Contains(through, "/") {
		through = "pod/" + through
	}
	if namespace != "" && through != "" {
		through += " in namespace " + namespace
	}
	for i := range ways {
		ways[i].Bind, ways[i].Through = address, through
	}
	return ways
}

// socat reads its two addresses:
//
//	socat -d TCP4-LISTEN:8080,bind=127.0.0.1,fork TCP:localhost:3000
//
// http://www.dest-unreach.org/socat/doc/socat.html#ADDRESS_TYPES
func socat(args []string) []Way {
	var at []int
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case len(a) > 1 && a[0] == '-':
			// -d is -d, and these take the next word.
			if slices.Contains([]string{"-lf", "-lp", "-b", "-t", "-T", "-L", "-W", "-r", "-R", "-S"}, a) {
				i++
			}
		default:
			at = append(at, i)
		}
	}
	if len(at) != 2 {
		return nil
	}
	for _, pair := range [][2]int{{at[0], at[1]}, {at[1], at[0]}} {
		w, ok := socatListen(args[pair[0]])
		if !ok {
			continue
		}
		socatConnect(&w, args[pair[1]])
		w.Kind, w.From, w.Text = "socat", argument(pair[1]), args[pair[1]]
		return []Way{w}
	}
	return nil
}

func socatListen(a string) (w Way, ok bool) {
	kind, options, _ := strings.Cut(a, ",")
	kind, value, _ := strings.Cut(kind, ":")
	switch strings.ToUpper(kind) {
	case "TCP-LISTEN", "TCP-L", "TCP4-LISTEN", "TCP4-L", "TCP6-LISTEN", "TCP6-L", "OPENSSL-LISTEN", "SSL-L":
		w.Port = number(value)
	case "UNIX-LISTEN", "UNIX-L":
		w.Unix = short(value)
	default:
		return w, false
	}
	for o := range strings.SplitSeq(options, ",") {
		if b, ok := strings.CutPrefix(o, "bind="); ok {
			w.Bind = strings.Trim(short(b), "[]")
		}
		if r, ok := strings.CutPrefix(o, "range="); ok {
			w.Only = short(r)
		}
	}
	return w, w.Port != 0 || w.Unix != ""
}

func socatConnect(w *Way, a string) {
	target, _, _ := strings.Cut(a, ",")
	kind, value, _ := strings.Cut(target, ":")
	switch strings.ToUpper(kind) {
	case "TCP", "TCP4", "TCP6", "TCP-CONNECT", "TCP4-CONNECT", "TCP6-CONNECT", "OPENSSL", "OPENSSL-CONNECT", "SSL":
		w.Host, w.To = hostPort(value)
	case "UDP", "UDP4", "UDP6", "UDP-CONNECT", "UDP4-CONNECT", "UDP6-CONNECT":
		w.Host, w.To = hostPort(value)
		w.UDP = true
	case "UNIX", "UNIX-CONNECT", "UNIX-CLIENT":
		w.ToUnix = short(value)
	case "ABSTRACT", "ABSTRACT-CONNECT", "ABSTRACT-CLIENT":
		w.ToUnix = "@" + short(value)
	}
	if strings.HasSuffix(strings.SplitN(strings.ToUpper(kind), "-", 2)[0], "6") && w.Host == "localhost" {
		w.Host = "::1"
	}
}

// socketProxy reads systemd-socket-proxyd(8): its listener comes from systemd.
func socketProxy(args []string) []Way {
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-c" || a == "--connections-max" || a == "--exit-idle-time":
			i++
		case strings.HasPrefix(a, "-"):
		default:
			w := Way{Kind: "systemd-socket-proxyd", From: argument(i), Text: a}
			if strings.HasPrefix(a, "/") || strings.HasPrefix(a, "@") {
				w.ToUnix = short(a)
			} else if w.Host, w.To = hostPort(a); w.To == 0 {
				w.Host, w.To = short(a), 80
			}
			return []Way{w}
		}
	}
	return nil
}

// dockerProxy reads
//
//	docker-proxy -proto tcp -host-ip 127.0.0.1 -host-port 8080 -container-ip 172.17.0.2 -container-port 80
func dockerProxy(args []string) []Way {
	p, ok := process.ParseProxy(args)
	if !ok {
		return nil
	}
	w := Way{Kind: "docker-proxy", Bind: p.Host.Addr().String(), Port: p.Host.Port(), Host: p.Container.Addr().String(), To: p.Container.Port(), Takes: "tcp"}
	if p.UDP {
		w.Takes, w.UDP = "udp", true
	}
	w.From = argument(slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(strings.TrimLeft(a, "-"), "container-ip") }))
	w.Text = w.Target()
	return []Way{w}
}

// caddy reads
//
//	caddy reverse-proxy --from :8080 --to localhost:3000
func caddy(args []string) []Way {
	if len(args) < 2 || args[1] != "reverse-proxy" {
		return nil
	}
	var ways []Way
	from := uint16(443)
	for i := 2; i < len(args); i++ {
		name, value, ok := strings.Cut(args[i], "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		scheme, rest, ok := strings.Cut(value, "://")
		if !ok {
			scheme, rest = "", value
		}
		host, port := hostPort(rest)
		switch name {
		case "--from", "-f":
			if from = port; port == 0 && scheme == "http" {
				from = 80
			} else if port == 0 {
				from = 443
			}
		case "--to", "-t":
			if host == "" {
				host = "localhost"
			}
			if port != 0 && len(ways) < maxWays {
				ways = append(ways, Way{Kind: "caddy", From: argument(i), Text: name + " " + value, Host: host, To: port})
			}
		}
	}
	for i := range ways {
		ways[i].Port = from
	}
	return ways
}
