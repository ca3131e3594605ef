package secret

import (
	"strings"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		`password := hunter2zz ok`:                                `password := *** ok`,
		`password := "hunter2 zz" ok`:                             `password := *** ok`,
		`:password => "hunter2zz", :port => 80`:                   `:password => ***, :port => 80`,
		`password=hunter2zz port=80`:                              `password=*** port=80`,
		`body {\"password\": \"hunter2zz\", \"port\": 80}`:        `body {\"password\": \"***\", \"port\": 80}`,
		`body {\\\"token\\\":\\\"hunter2zz\\\",\\\"a\\\":1}`:      `body {\\\"token\\\":\\\"***\\\",\\\"a\\\":1}`,
		`a PHPSESSID=abc123def b`:                                 `a PHPSESSID=*** b`,
		`a session_id=abc123def b`:                                `a session_id=*** b`,
		`a sessionId: abc123def b`:                                `a sessionId: *** b`,
		`a JSESSIONID: abc123def b`:                               `a JSESSIONID: *** b`,
		`connect.sid=s%3Aabc b`:                                   `connect.sid=*** b`,
		`Set-Cookie: session=abc; Path=/`:                         `Set-Cookie: ***`,
		`id hf_abcdefghijABCDEFGHIJ1234 x`:                        `id *** x`,
		`dckr_pat_abcdefghij-ABCDEFG_12 x`:                        `*** x`,
		`whsec_abcdefghijABCDEFGH/12= x`:                          `*** x`,
		`SG.abcdefghijABCDEFGHIJ12.abcdefghijABCDEFGHIJ1234 x`:    `*** x`,
		`post https://hooks.slack.com/services/T0AB/B0CD/xYz1 ok`: `post https://hooks.slack.com/services/*** ok`,
		`APP_KEY=base64:abc= RAILS_MASTER_KEY=abc ENCRYPTION_KEY=abc encryptionKey: abc HOST=x`: `APP_KEY=*** RAILS_MASTER_KEY=*** ENCRYPTION_KEY=*** encryptionKey: *** HOST=x`,
		`jdoe:hunter2zz@tcp(dbprod7:3306)/cust`:                                                 `jdoe:***@tcp(dbprod7:3306)/cust`,
		`dsn jdoe:hunter2zz@unix(/run/x.sock)/cust`:                                             `dsn jdoe:***@unix(/run/x.sock)/cust`,
		`http_proxy=jdoe:hunter2zz@squidhost7:3128`:                                             `http_proxy=jdoe:***@squidhost7:3128`,
		`jdbc:oracle:thin:jdoe/hunter2zz@dbprod7:1521:x`:                                        `jdbc:oracle:thin:jdoe/***@dbprod7:1521:x`,
		`postgres://jdoe:hun#ter2zz@dbprod7/c`:                                                  `postgres://jdoe:***@dbprod7/c`,
		`postgres://jdoe:hun/ter2zz@dbprod7/c`:                                                  `postgres://jdoe:***@dbprod7/c`,
		`postgres://jdoe:hun@ter2zz@dbprod7/c`:                                                  `postgres://jdoe:***@dbprod7/c`,
		`http://jdoe:hun#ter2zz@squidhost7:3128/`:                                               `http://jdoe:***@squidhost7:3128/`,
		`Location: https://sso/auth?code=abcSecretXyz&state=a1b2&nonce=n0&page=2`:               `Location: https://sso/auth?code=***&state=***&nonce=***&page=2`,
		`/cb?ticket=ST-12-abc&amp;sid=abc&amp;x=1`:                                              `/cb?ticket=***&amp;sid=***&amp;x=1`,
		`"/cb?sid=abc\u0026state=def\u0026x=1"`:                                                 `"/cb?sid=***\u0026state=***\u0026x=1"`,
		`/sso?SAMLRequest=fVLJ&RelayState=x1&SAMLart=AAQ`:                                       `/sso?SAMLRequest=***&RelayState=***&SAMLart=***`,
		`/shop;jsessionid=ABC123?x=1`:                                                           `/shop;jsessionid=***?x=1`,
		`/cb#access_token=abc&state=s1`:                                                         `/cb#access_token=***&state=***`,
		`WWW-Authenticate: Negotiate YIIZabcdEFGH1234==`:                                        `WWW-Authenticate: Negotiate ***`,
		`sent Basic YWxpY2U6aHVudGVyMg== to it`:                                                 `sent Basic *** to it`,
		`NTLM TlRMTVNTUAABAAAAB4IIogAA`:                                                         `NTLM ***`,
		`sid=0123456789abcdef0123 x`:                                                            `sid=*** x`,
		`session="0123456789abcdef0123" x`:                                                      `session=*** x`,
		`SAMLResponse=PHNhbWxwOlJlc3BvbnNl12 x`:                                                 `SAMLResponse=*** x`,
		`proxy jdoe:hun:ter2zz@squidhost7:3128`:                                                 `proxy jdoe:***@squidhost7:3128`,
		`http://jdoe:hun<ter>2@squidhost7:3128`:                                                 `http://jdoe:***@squidhost7:3128`,
		`/auth?code=`:                                                                           `/auth?code=`,
		`Cookie= a=b c`:                                                                         `Cookie= ***`,
		`password=`:                                                                             `password=***`,
		`proxy jdoe:hunter2zz@squid7.acme.com up`:                                               `proxy jdoe:***@squid7.acme.com up`,
		`user:hunter2zz@squidhost7:3128`:                                                        `user:***@squidhost7:3128`,
		`jdoe:hunter2zz@localhost/x`:                                                            `jdoe:***@localhost/x`,
		`dsn="jdoe:hunter2zz@10.1.2.3"`:                                                         `dsn="jdoe:***@10.1.2.3"`,
		`from jdoe:hun:ter2zz@db7.acme.com, denied.`:                                            `from jdoe:***@db7.acme.com, denied.`,
		`say "password"`:                                                                        `say "password"`,
	} {
		if got := Line(in, func(string) string { return Hidden }); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		} else if again := Line(got, func(string) string { return Hidden }); again != got {
			t.Errorf("%s\n masked again %s", got, again)
		}
	}
}

// TestTimeIsLinear: what takes sixteen times the text must not take the square of it.
func TestTimeIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	for _, part := range []string{"pass key ", "a:b@", `"x"`, "password=", "password:=", "key", "token ", "--token ", `--token "`, `\"`, `\`, "a=", "a:", ":", "=", " ", " =", "://", "://a:b@", "x://a:b#", "x://a:", "redis://a:b/", "@", "a@b:1",
		"?code=", "&amp;", `"token":"`, `\"token\":\"`, "-----BEGIN PRIVATE KEY-----", "gh", "ghp_", "eyJ", "earer ", "bearer ", "Basic ", "NTLM ", "SG.", "hooks.slack.com/services/", "-", "-p ", "mysql -p ", "sudo ", "&& ", "docker login -p ", "jdbc:oracle:thin:a/b@", "a/b@", "'", "cookie: ", "é"} {
		took := func(n int) time.Duration {
			s := strings.Repeat(part, n/len(part))
			best := time.Hour
			for range 2 {
				start := time.Now()
				Line(s, func(string) string { return Hidden })
				Mask([]string{"mysql", s})
				Shaped(s)
				best = min(best, time.Since(start))
			}
			return best
		}
		small, big := took(1<<14), took(1<<18)
		if big > 40*small && big > 3*time.Second { // a busy machine is no fault, the square of it is minutes
			t.Errorf("%q: %v, and sixteen times the text %v", part, small, big)
		}
		t.Logf("%-20q %v %v", part, small, big)
	}
}
