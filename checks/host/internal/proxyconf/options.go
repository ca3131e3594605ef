package proxyconf

import (
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// javaProperties are those that name a proxy or exempt from it.
var javaProperties = []string{"http.proxyHost", "http.proxyPort", "https.proxyHost", "https.proxyPort", "http.nonProxyHosts",
	"socksProxyHost", "socksProxyPort", "socksNonProxyHosts"}

// Java reads a Java program's arguments, or a variable that holds such:
// -Dhttp.proxyHost=127.0.0.1. Of two the later one counts.
func Java(args []string, where string) []facts.ProxySetting {
	var out []facts.ProxySetting
	for _, a := range args {
		name, value, ok := strings.Cut(strings.Trim(a, `"'`), "=")
		name, is := strings.CutPrefix(name, "-D")
		if ok && is && slices.Contains(javaProperties, name) && len(out) < maxFound {
			out = append(out, facts.ProxySetting{Program: "java", Name: name, Value: value, File: where})
		}
	}
	return out
}

// Arguments reads what a client was told in its command line: curl -x proxy,
// git -c http.proxy=…, wget --no-proxy, java -D….
func Arguments(args []string, where string) []facts.ProxySetting {
	if len(args) == 0 {
		return nil
	}
	program := args[0][strings.LastIndexByte(args[0], '/')+1:]
	if program == "java" {
		return Java(args[1:], where)
	}
	var out []facts.ProxySetting
	add := func(name, value string) {
		if len(out) < maxFound {
			out = append(out, facts.ProxySetting{Program: program, Name: name, Value: value, File: where})
		}
	}
	for i, a := range args[1:] {
		next := ""
		if i+2 < len(args) {
			next = args[i+2]
		}
		name, value, joined := strings.Cut(a, "=")
		switch {
		case program == "curl" && (a == "-x" || a == "--proxy"):
			add("proxy", next)
		case program == "curl" && strings.HasPrefix(a, "-x") && len(a) > 2:
			add("proxy", a[2:])
		case program == "curl" && a == "--noproxy":
			add("noproxy", next)
		case program == "wget" && a == "--no-proxy":
			add("use_proxy", "off")
		case program == "wget" && a == "-e" && strings.Contains(next, "_proxy"):
			if k, v, ok := strings.Cut(next, "="); ok {
				add(strings.ReplaceAll(strings.TrimSpace(k), "-", "_"), strings.TrimSpace(v))
			}
		case program == "git" && joined && name == "http.proxy":
			add(name, value)
		}
	}
	return out
}
