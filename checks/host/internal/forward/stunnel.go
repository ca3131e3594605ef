package forward

import (
	"fmt"
	"strings"
)

// StunnelConfig is the file that a stunnel was told to read (stunnel(8)); empty: it
// reads a descriptor.
func StunnelConfig(args []string) string {
	switch {
	case len(args) < 2:
		return "/etc/stunnel/stunnel.conf"
	case strings.HasPrefix(args[1], "-"):
		return ""
	}
	return args[1]
}

// Stunnel reads where each service of a stunnel leads:
//
//	[shop]
//	accept = 127.0.0.1:8443
//	connect = 8080
func Stunnel(f File) []Way {
	var ways, service []Way // those of the section that is being read have no listener yet
	bind, port, unix := "", uint16(0), ""
	end := func() {
		for _, w := range service {
			if w.Bind, w.Port, w.Unix = bind, port, unix; (port != 0 || unix != "") && len(ways) < maxWays {
				ways = append(ways, w)
			}
		}
		service, bind, port, unix = nil, "", 0, ""
	}
	n := 0
	for line := range strings.Lines(string(f.Data)) {
		if n++; n > maxLines {
			break
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			end()
		}
		if line == "" || strings.ContainsAny(line[:1], ";#[") {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "accept":
			bind, port, unix = "0.0.0.0", number(value), ""
			switch {
			case strings.HasPrefix(value, "/"):
				bind, unix = "", short(value)
			case port == 0:
				bind, port = hostPort(value)
			}
		case "connect":
			w := Way{Kind: "stunnel", From: fmt.Sprintf("%s:%d", f.Name, n), Text: line, Host: "localhost", To: number(value)}
			switch {
			case strings.HasPrefix(value, "/"):
				w.Host, w.ToUnix = "", short(value)
			case w.To == 0:
				w.Host, w.To = hostPort(value)
			}
			if len(service) < maxWays {
				service = append(service, w)
			}
		}
	}
	end()
	return ways
}
