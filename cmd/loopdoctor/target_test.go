package main

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]facts.Target{
		"62893":                              {Network: "tcp", Host: "localhost", Port: 62893},
		":62893":                             {Network: "tcp", Host: "localhost", Port: 62893},
		"localhost:1":                        {Network: "tcp", Host: "localhost", Port: 1, Named: true},
		"LocalHost.:65535":                   {Network: "tcp", Host: "LocalHost.", Port: 65535, Named: true},
		"my_app.localhost:3000":              {Network: "tcp", Host: "my_app.localhost", Port: 3000, Named: true},
		"127.0.0.1:80":                       {Network: "tcp", Host: "127.0.0.1", Port: 80, Named: true, Literal: true},
		"[::1]:80":                           {Network: "tcp", Host: "::1", Port: 80, Named: true, Literal: true},
		"[fe80::1%lo]:80":                    {Network: "tcp", Host: "fe80::1%lo", Port: 80, Named: true, Literal: true},
		"0.0.0.0:80":                         {Network: "tcp", Host: "0.0.0.0", Port: 80, Named: true, Literal: true, Wildcard: true},
		"[::]:80":                            {Network: "tcp", Host: "::", Port: 80, Named: true, Literal: true, Wildcard: true},
		"postgresql":                         {Network: "tcp", Host: "localhost", Port: 5432},
		"localhost:https":                    {Network: "tcp", Host: "localhost", Port: 443, Named: true},
		"http://localhost":                   {Network: "tcp", Host: "localhost", Port: 80, Named: true, URL: "http://localhost", Speak: facts.AskHTTP},
		"HTTPS://[::1]/a?b=c":                {Raw: "https://[::1]/a", Network: "tcp", Host: "::1", Port: 443, Named: true, Literal: true, URL: "https://[::1]/a", Speak: facts.AskHTTP, TLS: true},
		"http://localhost:5173/x":            {Network: "tcp", Host: "localhost", Port: 5173, Named: true, URL: "http://localhost:5173/x", Speak: facts.AskHTTP},
		"ws://localhost:5173/":               {Network: "tcp", Host: "localhost", Port: 5173, Named: true, URL: "ws://localhost:5173/", Speak: facts.AskWebSocket},
		"wss://localhost/":                   {Network: "tcp", Host: "localhost", Port: 443, Named: true, URL: "wss://localhost/", Speak: facts.AskWebSocket, TLS: true},
		"udp://127.0.0.1:53":                 {Network: "udp", Host: "127.0.0.1", Port: 53, Named: true, Literal: true, Speak: facts.AskDNS},
		"tcp://localhost:53":                 {Network: "tcp", Host: "localhost", Port: 53, Named: true},
		"postgresql://localhost/db":          {Network: "tcp", Host: "localhost", Port: 5432, Named: true, Speak: facts.AskPostgreSQL},
		"http://me:secret@localhost:8080/":   {Raw: "http://localhost:8080/", Network: "tcp", Host: "localhost", Port: 8080, Named: true, URL: "http://localhost:8080/", Speak: facts.AskHTTP},
		"postgresql://me:secret@localhost/x": {Raw: "postgresql://localhost/x", Network: "tcp", Host: "localhost", Port: 5432, Named: true, Speak: facts.AskPostgreSQL},
	} {
		if want.Raw == "" {
			want.Raw = in
		}
		want.Intent = facts.ToBind
		got, err := ParseTarget(in, facts.ToBind)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got.Addresses != nil {
			t.Errorf("%s: looked up %v", in, got.Addresses)
		}
		if want, got := show(want), show(got); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", in, got, want)
		}
	}
}

func TestBadTargets(t *testing.T) {
	for in, hint := range map[string]string{
		"":                     "give a port, as in 3000",
		" ":                    "write a number, as in 3000, or host:port",
		"0":                    "port 0 means any free port",
		"70000":                "they go from 1 to 65535",
		"localhost:0":          "port 0 means any free port",
		"localhost:65536":      "they go from 1 to 65535",
		"3000;":                "write a number, as in 3000",
		"30 00":                "write a number, as in 3000",
		"-3000":                "write a number, as in 3000",
		"+3000":                "write a number, as in 3000",
		"３０００":                 "write a number, as in 3000",
		":":                    "write 3000, or host:3000",
		"localhost:":           "write 3000, or host:3000",
		":3000x":               "write a number from 1 to 65535",
		"localhost":            "write localhost:3000",
		"app.test":             "write app.test:3000",
		"frontend":             "if it is a host, add the port: frontend:3000",
		"127.0.0.1":            "write 127.0.0.1:3000",
		"::1":                  "write [::1]:3000",
		"::1:62893":            "write [::1]:62893",
		"::1:8080":             "write [::1]:8080",
		"[::1]":                "write [::1]:3000",
		"[::1]3000":            "write [::1]:3000",
		"[::1]:":               "write 3000, or host:3000",
		"[127.0.0.1]:80":       "only an IPv6 address stands in brackets",
		"[localhost]:80":       "only an IPv6 address stands in brackets",
		"localhost:80:80":      "write host:port",
		"127.1:80":             "write it in full, as in 127.0.0.1:3000",
		"300.0.0.1:80":         "write it in full, as in 127.0.0.1:3000",
		"local host:80":        "is not the name of a host",
		"localhost/x:80":       "is not the name of a host",
		"a..b:80":              "is not the name of a host",
		"bücher.test:80":       "is not the name of a host",
		"localhost:80/":        "write a number from 1 to 65535",
		"http://":              "write http://localhost:3000",
		"http://:80/":          "write http://localhost:3000",
		"http://localhost:0/":  "port 0 means any free port",
		"http://localhost:x/":  "write http://host:port/",
		"http://local host/":   "write http://host:port/",
		"://localhost":         "write http://host:port/",
		"udp://localhost":      "write udp://localhost:3000",
		"tcp://[::1]":          "write tcp://[::1]:3000",
		"udp://localhost:53/x": "takes a host and a port, nothing more",
		"nosuch://localhost/":  "write nosuch://localhost:3000",
	} {
		got, err := ParseTarget(in, facts.Connect)
		if err == nil {
			t.Errorf("%q is taken for %s", in, show(got))
		} else if !strings.Contains(err.Error(), hint) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v\nwant a hint: %s", in, err, hint)
		}
	}
	_, err := ParseTarget("http://me:secret@localhost:x/", facts.Connect)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is told: %v", err)
	}
}

func TestFindService(t *testing.T) {
	const file = "# services\nntp\t\t123/udp\nsip 5060/udp\nsip 5060/tcp # both\r\npostgresql\t5432/tcp\tpostgres pg\nodd 7/sctp\nbad x/tcp\nzero 0/tcp\n"
	for name, want := range map[string]uint16{"ntp": 123, "sip": 5060, "postgres": 5432, "pg": 5432, "odd": 0, "bad": 0, "zero": 0, "5432/tcp": 0, "#": 0, "both": 0} {
		port, network, ok := findService([]byte(file), name)
		if port != want || ok != (want != 0) || name == "sip" && network != "tcp" || name == "ntp" && network != "udp" {
			t.Errorf("%s: %d/%s %v", name, port, network, ok)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"62893", "localhost:80", "[::1]:80", "[fe80::1%lo]:80", "http://u:p@[::1]:80/?q#f", "udp://0.0.0.0:53", "::1:80", "http", "a:b:c", "http://u:p:q@@h", "[\r", "a\nb:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTarget(s, facts.Connect)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q: more than a line: %v", s, err)
			}
			return
		}
		if got.Port == 0 || got.Host == "" || got.Network != "tcp" && got.Network != "udp" {
			t.Errorf("%q: %s", s, show(got))
		}
		// What was understood is understood again, without the password.
		again, err := ParseTarget(got.Raw, facts.Connect)
		if err != nil || show(again) != show(got) {
			t.Errorf("%q: %s\nagain: %s, %v", s, show(got), show(again), err)
		}
	})
}
