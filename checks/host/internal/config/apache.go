package config

import (
	"strings"
)

// ParseApache reads httpd.conf, ports.conf and what they include:
//
//	Listen [::]:8443 https
//
// https://httpd.apache.org/docs/2.4/mod/mpm_common.html#listen
func ParseApache(data []byte) Found {
	var f Found
	begun, kept := 0, ""
	for n, line := range lines(data) {
		line = kept + strings.TrimSpace(line)
		if begun == 0 {
			begun = n
		}
		if more, ok := strings.CutSuffix(line, `\`); ok && len(line) < maxLine {
			kept = more
			continue
		}
		first := begun
		begun, kept = 0, ""
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		value := unquote(words[1])
		switch strings.ToLower(words[0]) {
		case "listen":
			l, port := endpoint(value, all6)
			if port != "" { // without one Apache does not start, and says why
				f.add(Apache, first, line, l, port)
			}
		case "include", "includeoptional":
			f.include(value)
		}
	}
	return f
}
