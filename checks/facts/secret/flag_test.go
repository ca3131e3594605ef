package secret

import (
	"strings"
	"testing"
)

// TestFlagsOfPrograms: arguments are separated by |.
func TestFlagsOfPrograms(t *testing.T) {
	for in, want := range map[string]string{
		"curl|--user=jdoe:s3cr3t|x":                                 "curl|--user=***|x",
		"curl|-sujdoe:s3cr3t|x":                                     "curl|-su***|x",
		"curl|-sSLu|jdoe:s3cr3t|x":                                  "curl|-sSLu|***|x",
		"curl|-b|sid=abcSecretQQ|x":                                 "curl|-b|***|x",
		"curl|--cookie=sid=abcSecretQQ":                             "curl|--cookie=***",
		"curl|--cookie|sid=abcSecretQQ":                             "curl|--cookie|***",
		"curl|-bsid=abcSecretQQ":                                    "curl|-b***",
		"curl|--proxy-user|jdoe:s3cr3t|x":                           "curl|--proxy-user|***|x",
		"docker|login|-u|jdoe|-p|s3cr3t|registry:5000":              "docker|login|-u|jdoe|-p|***|registry:5000",
		"podman|login|-ps3cr3t":                                     "podman|login|-p***",
		"helm|registry|login|-u|jdoe|-p|s3cr3t":                     "helm|registry|login|-u|jdoe|-p|***",
		"oc|login|-u|jdoe|-p|s3cr3t":                                "oc|login|-u|jdoe|-p|***",
		"skopeo|copy|--src-creds|jdoe:s3cr3t|docker://x":            "skopeo|copy|--src-creds|***|docker://x",
		"mongosh|-u|jdoe|-p|s3cr3t|--port|27017":                    "mongosh|-u|jdoe|-p|***|--port|27017",
		"sqlcmd|-S|dbprod7|-U|jdoe|-P|s3cr3t":                       "sqlcmd|-S|dbprod7|-U|jdoe|-P|***",
		"ldapsearch|-x|-D|cn=x|-w|s3cr3t":                           "ldapsearch|-x|-D|cn=x|-w|***",
		"ldapsearch|-xw|s3cr3t":                                     "ldapsearch|-xw|***",
		"smbclient|-U|jdoe%s3cr3t|//fileserv7/x":                    "smbclient|-U|jdoe%***|//fileserv7/x",
		"smbclient|--user=jdoe%s3cr3t":                              "smbclient|--user=jdoe%***",
		"etcdctl|--user|root:s3cr3t|get":                            "etcdctl|--user|root:***|get",
		"sqlplus|jdoe/s3cr3t@dbprod7:1521/x":                        "sqlplus|jdoe/***@dbprod7:1521/x",
		"exp|userid=jdoe/s3cr3t|file=/tmp/x.dmp":                    "exp|userid=jdoe/***|file=/tmp/x.dmp",
		"ttyd|-p|7681|-c|jdoe:s3cr3t|bash":                          "ttyd|-p|7681|-c|jdoe:***|bash",
		"gotty|--credential=jdoe:s3cr3t|top":                        "gotty|--credential=jdoe:***|top",
		"ngrok|config|add-authtoken|2abcSecret":                     "ngrok|config|add-authtoken|***",
		"sudo|-u|root|mysql|-ps3cr3t|-P3306":                        "sudo|-u|root|mysql|-p***|-P3306",
		"sshpass|-p|s3cr3t|ssh|-p|2222|x":                           "sshpass|-p|***|ssh|-p|2222|x",
		"docker|exec|-it|db|mysql|-uroot|-ps3cr3t":                  "docker|exec|-it|db|mysql|-uroot|-p***",
		"kubectl|-n|x|exec|pod|--|redis-cli|-a|s3cr3t":              "kubectl|-n|x|exec|pod|--|redis-cli|-a|***",
		"sh|-c|cd /srv && mysqldump -ps3cr3t x":                     "sh|-c|cd /srv && mysqldump -p*** x",
		"gosu|mysql|mysqldump|-ps3cr3t":                             "gosu|mysql|mysqldump|-p***",
		`C:\bin\mysql.exe|-ps3cr3t`:                                 `C:\bin\mysql.exe|-p***`,
		"mosquitto_sub|-p|1883|-u|x|-P|s3cr3t":                      "mosquitto_sub|-p|1883|-u|x|-P|***",
		"app|--master-key|s3cr3t|--encryption-key=s3cr3t|--port|80": "app|--master-key|***|--encryption-key=***|--port|80",
	} {
		if got := strings.Join(Mask(strings.Split(in, "|")), "|"); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

// TestWhatIsNoSecretStays: the checks reason from arguments, variables and lines.
func TestWhatIsNoSecretStays(t *testing.T) {
	for _, in := range []string{
		"docker|run|-d|-p|8080:80|nginx", "docker|run|-p|8080:80|login", "docker|run|--name|mysql|-p3306:3306|mysql", "docker|run|-u|1000:1000|x", "docker|compose|run|-p|8080:80|web",
		"podman|pod|create|-p|8080:80", "k3d|cluster|create|-p|8080:80@server:0", "docker|compose|-p|login|up", "docker|-H|tcp://127.0.0.1:2375|container|run|-p8080:80|x", "docker|exec|-u|root|web|http-server|-p|8080",
		"ssh|-p|2222|-N|-L|8080:localhost:80|jdoe@bast9", "ssh|-p2222|x", "scp|-P|2222|a|b", "mysql|-P|3306|-h|127.0.0.1|-u|root", "mysql|-P3306|-uroot", "psql|-p|5432|-U|jdoe", "mysqld|--port=3306|--user=mysql",
		"http-server|-p|8080", "serve|-p|3000", "vite|preview|-p|4173", "php|-S|127.0.0.1:8080", "next|dev|-p|3000", "tsserver|-p|80", "redis-server|--port|6379", "redis-cli|-p|6379|ping",
		"mosquitto_sub|-p|1883|-u|x", "mongosh|--port|27017", "mongod|-f|/etc/mongod.conf|--port|27017", "kubectl|port-forward|-n|x|svc/web|8080:80", "kubectl|get|pods|-w", "oc|get|-p|x",
		"curl|-b|cookies.txt|http://localhost/", "curl|-so|/dev/null|http://127.0.0.1:8080/", "curl|-sSfLo|x|-p|http://h/", "curl|--max-time|5|-x|http://127.0.0.1:3128", "curl|-d|user=a|http://h/?a=b&page=2",
		"smbclient|-U|jdoe|//x/y", "sqlplus|/|as|sysdba", "sqlplus|@/opt/x.sql", "java|-jar|a.jar|-Dserver.port=8080", "sudo|-u|postgres|psql|-p|5433", "sudo|-u|mysql|node|x.js|-p8080", "gosu|mysql|node|-p8080", "net|use", "ab|-n|100|-c|10|http://127.0.0.1:80/",
		"app|--key-file|/etc/x.key|--tls-key|/etc/y.key|--key=/etc/z.key", "app|--keyboard=de|--monkey|7|--sort-key|name|--public-key|abc", "openssl|s_client|-key|/etc/x.pem",
		"X|SSH_KEY_PATH=/x|HOST_KEY_ALGORITHMS=ssh-ed25519|XDG_SESSION_ID=12|SESSION_MANAGER=local/x|ORACLE_SID=ORCL|PRIMARY_KEY=id|KEYMAP=us|TERM_SESSION=1|PATH=/bin",
		"app|--no-auth|--token-file|/run/t|--max-tokens|50", "nginx: worker process", "app|nginx@sha256:00123abc", "app|docker.io/app:1.2@sha256:12345", "app|TCP4:db7:5432", "app|fe80::1%eth0", "app|jdoe@db7:5432",
		"vite|http://localhost:5173/@vite/client", "app|http://localhost:8080/x?mail=a@b.c", "app|http://localhost:$PORT/a@b", "app|postgres://localhost:5432/db?mail=a@b",
		"app|mongodb://h1:27017,h2:27017/db?replicaSet=rs0", "app|http://[::1]:80/@x", "app|http://h:80/?code=404&state=1&page=2&ok=true", "app|http://h/?keyword=x&zip_code=9&monkey=x", `app|{"url":"http://localhost:80","mail":"x@y"}`,
		"app|tcp(127.0.0.1:3306)/x", "app|root@tcp(127.0.0.1:3306)/x", "app|jdbc:oracle:thin:@dbprod7:1521:x", "app|jdbc:oracle:thin:@//dbprod7:1521/x",
	} {
		if got := strings.Join(Mask(strings.Split(in, "|")), "|"); got != in {
			t.Errorf("%s\n became %s", in, got)
		}
	}
	for _, in := range []string{
		"code=exited, status=1/FAILURE", "shop.service: Main process exited, code=exited, status=203/EXEC", "state=open nonce ticket", "Failed with result 'exit-code'.", "New session 12 of user jdoe.",
		"proxy_set_header X-Session $session; session=on", "proxy_cookie_path / /x;", "limit_conn_zone $x zone=key:10m;", "keepalive_timeout 65;", "ssl_session_cache shared:SSL:10m;", "ssl_certificate_key /etc/x.key;",
		"key: value", "sid=1234", "Debian sid", "error: listen tcp 127.0.0.1:8080: bind: address already in use", "Basic AuthenticationEntryPoint", `C:\code=x`, `a\state=open`, "negotiate the version", "Basic realm=\"x\"", "WWW-Authenticate: Negotiate",
		"sk-learn and SG.x are short; hf_model", "https://hooks.slack.com/ is up", "http://h/cb?error=access_denied", "level=info msg=\"ready\" key=abc", "http://h:8080/auth/callback", "at x (/app/y.js:12:5)",
		"user:group@host", "12:30:01 jdoe@db7:22 up", "tcp 0 0 127.0.0.1:8080", "[::1]:80", "a == b", "sid=S1234 session=shop-web-1 ticket: 4711", "session=shared:SSL:10m;", "exp 3/4 done", "<sip:100@192.168.0.2:5060>", "pw-algorithm: sha",
		"mailto:ann@acme.com To:ann@acme.com smtp.from:ann@acme.com user:ann@acme.com e-mail:ann@acme.com, git:git@github.com", "image app:1.2@sha256:00123abc, app:1.2@registry", "npm:lodash@4.17.21 fn:x@main.js user:1000@app.service a:b@1.2.3 x:y@z..de", "INFO:root@db7.acme.com", "jdbc:x@db7.acme.com", "/a:b@db7.acme.com", "a:b@db7.acme.com(1) 12:30:01@db7.acme.com", "StatusProxyAuthRequired = 407", "encrypt_key = no", "curl 'http://localhost/callback?code=…'", "x := y", "map[a:b c:d]",
	} {
		if got := Line(in, func(string) string { return Hidden }); got != in {
			t.Errorf("%s\n became %s", in, got)
		}
	}
}
