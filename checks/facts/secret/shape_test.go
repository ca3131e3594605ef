package secret

import (
	"slices"
	"strings"
	"testing"
)

func TestTokensByTheirShape(t *testing.T) {
	for in, want := range map[string]string{
		"id AKIAIOSFODNN7EXAMPLE.":                                                "id ***.",
		"ghp_16C7e42F292c6912E7710c838347Ae178B4a":                                "***",
		"x=xoxb-123456789012-abcdefGHIJ&y":                                        "x=***&y",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K":             "***",
		"sent Bearer abcdef0123456789abcdef to it":                                "sent Bearer *** to it",
		"glpat-abcdefghij0123456789 sk_live_abcdefghij0123":                       "*** ***",
		"a -----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY----- b":  "a *** b",
		"-----BEGIN PRIVATE KEY-----\\nMHcC":                                      "***",
		"the bearer authentication-method-is-unknown, eyJ is none, AKIA is short": "the bearer authentication-method-is-unknown, eyJ is none, AKIA is short",
		"-----BEGIN CERTIFICATE-----":                                             "-----BEGIN CERTIFICATE-----",
	} {
		if got := Line(in, func(string) string { return Hidden }); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestShaped(t *testing.T) {
	filler := strings.Repeat("nothing of note; http://localhost:80/ ", 2000)
	text := filler + "AKIAIOSFODNN7EXAMPLE " + filler + "https://ann:hunter22@db/x" + filler + "https://ann:***@db/x -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----"
	got := Shaped(text)
	slices.Sort(got)
	want := []string{"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----", "AKIAIOSFODNN7EXAMPLE", "hunter22"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := Shaped(filler); len(got) > 0 {
		t.Errorf("of nothing: %q", got)
	}
}

func TestNamed(t *testing.T) {
	for name, want := range map[string]bool{"API_TOKEN": true, "password": true, "client-secret": true, "PWD": false, "TOKEN_FILE": false, "max-tokens": false, "no-auth": false, "path": false, "": false} {
		if Named(name) != want {
			t.Errorf("%q: got %v", name, !want)
		}
	}
}
