package redact

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// pieces are what secrets and names are found by, secrets, names, and what looks like either.
var pieces = []string{"Authorization:", "authorization: ", "Basic", "bearer", "Digest", "token%20", "aGk6aGk=", "s3cr3tQQ", "--token", "-H", "password", "password=", "X-Api-Key:", "Cookie:", "Cookie", "http", "http://", "://", "localhost",
	"{", "}", "=", ":", "@", "user=", "hidden1", "hidden1x", "hidden2", "masked1", "user1", "host1", "domain1.example", "***", "\u00a0", "\u0085", "\n", `"`, "'", `\"`, `\`, "%20", "%40", "%2F", " ", "  ", "é", "10.1.2.3", "alice", "bob",
	"/home/", "/home/bob", `C:\Users\`, "//", "db7", "db7.acme.com", "acme", "curl", "sudo", "mysql -p", "redis-cli", "auth", "net", "use", "htpasswd -b", "mc alias set", "-u", "-p", "ssh", "user", "host=", "?code=", "&amp;", ";", ",",
	"-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "eyJhbGciOi.eyJzdWIiOi.x", "AKIAIOSFODNN7EXAMPLE", "fe80::1%eth0", "$TOKEN", "<x>", "CN=", "O=", "Target", `realm="x"`, "secret", "pw", "key", "sid=0123456789abcdef0123",
	"jdbc:oracle:thin:", "tcp(", ":80", "0", "a"}

// TestMixtures: what holds for every recording holds where each field has some of the
// pieces. They are the same ones each time.
func TestMixtures(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func(most int) string {
		var b strings.Builder
		for range 1 + random.IntN(most) {
			b.WriteString(pieces[random.IntN(len(pieces))])
			if random.IntN(3) == 0 {
				b.WriteByte(' ')
			}
		}
		return b.String()
	}
	for range 600 {
		r := around(some(10), some(5))
		f, user, host := r.Facts[0], some(2), some(2)
		f.Host.As[0].User = user
		f.Names = &facts.Names{Name: host, Hosts: facts.HostsFile{Lines: []facts.HostsLine{{Text: "10.1.2.3 " + host + " " + user}}}}
		f.Owners = &facts.Owners{Processes: []facts.Process{{Name: "ssh", Args: strings.Fields("ssh " + some(10))}, {PID: 7, Args: []string{some(2), some(2), some(2), some(2)}}}}
		f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: "X_TOKEN", Value: some(2)}, {Name: "USER", Value: some(2)}, {Name: "PGHOST", Value: some(2)}}}
		f.Answers = []facts.Answer{{HTTP: &facts.HTTPAnswer{Headers: []facts.Header{{Name: "Location", Value: some(5)}, {Name: "WWW-Authenticate", Value: some(4)}, {Name: "Via", Value: some(3)}}},
			Handshake: &facts.Handshake{Certificates: []facts.Certificate{{Subject: "CN=" + host + ",O=" + some(5)}}}}}
		unmoved(t, r)
	}
}
