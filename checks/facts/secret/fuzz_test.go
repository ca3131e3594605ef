package secret

import (
	"slices"
	"strings"
	"testing"
)

// FuzzLosesNothing: who leaves each secret where it is gets the text back, and what is
// told to be one stands in it.
func FuzzLosesNothing(f *testing.F) {
	for _, s := range []string{
		`curl -sujdoe:x --cookie=a=b -H "Authorization: Bearer x" https://a:b#c@h:80/x?code=a&amp;state=b`, `{\"password\": \"x\", "token":'y'} pw := z`, "docker login -p x && sudo -u a mysql -px",
		"a:b@tcp(c:1)/d jdbc:oracle:thin:a/b@c:1:d", "sqlplus a/b@c exp userid=a/b", "\\u0026state=a ?sid=b#code=c", "Negotiate YIIZabcdEFGH1234== -----BEGIN PRIVATE KEY-----x", "smbclient -Ua%b --user= -U", "https://hooks.slack.com/services/T0/B0/abcdef /bot1234567:abcdefghijabcdefghijabcdefghij12",
		"curl -H Authorization: Basic aGk6aGk= -H Authorization:Bearer x -HCookie: a=b; c=d -H X-Api-Key: -H Cookie: http://h/", "htpasswd -nb -C 5 a b c", "net use X: \\\\a\\b c /user:d", "redis-cli auth a b c", "mc alias set a b c d", "a:b@c.de a:b@localhost/x mailto:a@b.de",
		"xfreerdp /p: /p:x", "openssl enc -pass pass: -pass pass:x -k x passwd -6 x", "smbclient //a/b c", "Authorization: Basic\u00a0x Cookie:\u0085a=b;", "AuthoriZAtion:basic aGk6aGk=",
		`--token "`, `=\"`, "://", "x://:@", "@", "--user=", "\xff=\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		same := func(secret string) string {
			if secret == "" {
				return ""
			}
			if !strings.Contains(s, secret) {
				t.Errorf("%q: %q does not stand there", s, secret)
			}
			return secret
		}
		if got := Line(s, same); got != s {
			t.Errorf("%q became %q", s, got)
		}
		args := strings.Split(s, " ")
		if got := Replace(args, same); !slices.Equal(got, args) {
			t.Errorf("%q became %q", args, got)
		}
		for _, found := range Shaped(s) {
			same(found)
		}
	})
}
