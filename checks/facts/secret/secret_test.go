package secret

import (
	"slices"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{ // arguments are separated by |
		{"app|--password|s3cr3t|--port|80", "app|--password|***|--port|80"},
		{"app|--password=s3cr3t", "app|--password=***"},
		{"app|SIGNED_URL=http://h/?X-Amz-Signature=s3cr3t&x=1", "app|SIGNED_URL=http://h/?X-Amz-Signature=***&x=1"},
		{"app|APP_JWT=s3cr3t|GITHUB_PAT=s3cr3t|PATH=/bin", "app|APP_JWT=***|GITHUB_PAT=***|PATH=/bin"},
		{"app|AKIAIOSFODNN7EXAMPLE_password=s3cr3t|eyJhbGciOi.eyJzdWIiOi.xpassword=x", "app|AKIAIOSFODNN7EXAMPLE_password=***|***=***"},
		{"app|-token|s3cr3t", "app|-token|***"},
		{"app|--api-key|s3cr3t|x", "app|--api-key|***|x"},
		{"app|--apiKey=s3cr3t", "app|--apiKey=***"},
		{"app|--auth|--port|80", "app|--auth|--port|80"},
		{"app|--no-auth|server.js", "app|--no-auth|server.js"},
		{"env|DB_PASSWORD=s3cr3t;x y|AWS_SECRET_ACCESS_KEY=s3cr3t|PWD=/home/a", "env|DB_PASSWORD=***|AWS_SECRET_ACCESS_KEY=***|PWD=/home/a"},
		{"java|-Dspring.datasource.password=s3cr3t|-jar|a.jar", "java|-Dspring.datasource.password=***|-jar|a.jar"},
		{"app|postgres://ann:s3cr3t@db:5432/x?sslmode=off", "app|postgres://ann:***@db:5432/x?sslmode=off"},
		{"app|redis://:s3@cr3t@h/0", "app|redis://:***@h/0"},
		{"app|https://ghp_s3cr3ts3cr3ts3cr3t@github.com/x", "app|https://***@github.com/x"},
		{"app|--db|url=postgres://h/x?user=a&password=s3cr3t&x=1", "app|--db|url=postgres://h/x?user=a&password=***&x=1"},
		{`app|{"port":80,"password":"s3 cr3t","a":"b"}`, `app|{"port":80,"password":***,"a":"b"}`},
		{"app|Server=h;Pwd=s3cr3t;Port=1", "app|Server=h;Pwd=***;Port=1"},
		{"mysql|-uroot|-ps3cr3t|-P3306", "mysql|-uroot|-p***|-P3306"},
		{"/usr/bin/mysqldump|-p|db", "/usr/bin/mysqldump|-p|db"},
		{"ssh|-p2222", "ssh|-p2222"},
		{"sshpass|-p|s3cr3t|ssh", "sshpass|-p|***|ssh"},
		{"redis-cli|-a|s3cr3t", "redis-cli|-a|***"},
		{"redis-server|--requirepass|s3cr3t", "redis-server|--requirepass|***"},
		{"curl|-u|ann:s3cr3t|http://localhost:62893/", "curl|-u|***|http://localhost:62893/"},
		{"curl|-H|Authorization: Bearer s3cr3t s3cr3t", "curl|-H|Authorization: ***"},
		{"curl|-HX-Api-Key: s3cr3t", "curl|-HX-Api-Key: ***"},
		{"sh|-c|PASSWORD='s3cr3t s3cr3t' node a.js", "sh|-c|PASSWORD=***"}, // it could be one value
		{"sh|-c|exec env PASSWORD='s3cr3t s3cr3t' node a.js --token \"s3cr3t s3cr3t\" --port 80", "sh|-c|exec env PASSWORD=*** node a.js --token *** --port 80"},
		{"sh|-c|node a.js --token s3cr3t  --port 80", "sh|-c|node a.js --token *** --port 80"},
		{"sh|-c|mysql -ps3cr3t", "sh|-c|mysql -p***"},
		{"app|--token-file|/run/token|--max-tokens|50|--tokenizer=x", "app|--token-file|/run/token|--max-tokens|50|--tokenizer=x"},
		{"vite|http://localhost:5173/@vite/client", "vite|http://localhost:5173/@vite/client"},
		{"python3|-m|http.server|62893|--bind|127.0.0.1", "python3|-m|http.server|62893|--bind|127.0.0.1"},
	} {
		in := strings.Split(c.in, "|")
		before := slices.Clone(in)
		if got := strings.Join(Mask(in), "|"); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
		if !slices.Equal(in, before) {
			t.Errorf("%s: the argument was changed", c.in)
		}
	}
	if Mask(nil) != nil {
		t.Error("nil became something")
	}
}
