package host

import "testing"

func TestWhatAUnixSocketIsAbout(t *testing.T) {
	for _, test := range []struct {
		path string
		port uint16
		want string
	}{
		{"/run/mysqld/mysqld.sock", 3306, "usual socket of mysql"},
		{"/run/mysqld/mysqld.sock", 3307, ""},
		{"/run/postgresql/.s.PGSQL.5432", 5432, "usual socket of postgresql"},
		{"/tmp/.s.PGSQL.5433", 5433, "usual socket of postgresql"},
		{"/tmp/.s.PGSQL.5433", 5432, ""},
		{"/run/redis/redis-server.sock", 6379, "usual socket of redis"},
		{"/run/redis/a/b.sock", 6379, ""},
		{"/run/docker.sock", 2375, "usual socket of docker"},
		{"62893;", 62893, "named after the port"},
		{"/srv/app/62893", 62893, "named after the port"},
		{"/tmp/app-62893.sock", 62893, "named after the port"},
		{"@62893", 62893, "named after the port"},
		{"/tmp/628930.sock", 62893, ""},
		{"/tmp/162893.62893.sock", 62893, "named after the port"},
		{"/tmp/62893/app.sock", 62893, ""},
		{"/tmp/x62893", 62893, ""},
		{"", 62893, ""},
	} {
		if got := aboutUnix(test.path, test.port); got != test.want {
			t.Errorf("%s for %d: got %q, want %q", test.path, test.port, got, test.want)
		}
	}
}
