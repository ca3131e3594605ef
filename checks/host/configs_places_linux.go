package host

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/config"
)

// server is a program whose configuration can be read.
type server struct {
	program string
	names   []string // of its process
	ports   []uint16 // on which it listens unless it is told otherwise
	places  []string // includes are followed in here only
	files   []string // that it reads unless it is told otherwise; patterns
	parse   func([]byte) config.Found
}

var servers = []server{
	{config.Nginx, []string{"nginx", "openresty"}, []uint16{80, 443}, []string{"/etc/nginx", "/usr/share/nginx"}, []string{"/etc/nginx/nginx.conf"}, config.ParseNginx},
	{config.Apache, []string{"apache2", "httpd"}, []uint16{80, 443}, []string{"/etc/apache2"}, []string{"/etc/apache2/apache2.conf"}, config.ParseApache},
	{config.Apache, []string{"httpd"}, []uint16{80, 443}, []string{"/etc/httpd"}, []string{"/etc/httpd/conf/httpd.conf"}, config.ParseApache},
	{config.Caddy, []string{"caddy"}, []uint16{80, 443}, []string{"/etc/caddy"}, []string{"/etc/caddy/Caddyfile"}, config.ParseCaddy},
	{config.HAProxy, []string{"haproxy"}, nil, []string{"/etc/haproxy"}, []string{"/etc/haproxy/haproxy.cfg"}, config.ParseHAProxy},
	{config.Redis, []string{"redis-server", "valkey-server"}, []uint16{6379}, []string{"/etc/redis"}, []string{"/etc/redis/redis.conf"}, config.ParseRedis},
	{config.Redis, []string{"valkey-server"}, []uint16{6379}, []string{"/etc/valkey"}, []string{"/etc/valkey/valkey.conf"}, config.ParseRedis},
	{config.PostgreSQL, []string{"postgres"}, []uint16{5432}, []string{"/etc/postgresql"}, []string{"/etc/postgresql/*/*/postgresql.conf"}, config.ParsePostgreSQL},
	{config.PostgreSQL, []string{"postgres"}, []uint16{5432}, []string{"/var/lib/pgsql"}, []string{"/var/lib/pgsql/data/postgresql.conf"}, config.ParsePostgreSQL},
	{config.MySQL, []string{"mysqld", "mariadbd"}, []uint16{3306}, []string{"/etc/mysql"}, []string{"/etc/mysql/my.cnf"}, config.ParseMySQL},
	{config.MySQL, []string{"mysqld", "mariadbd"}, []uint16{3306}, []string{"/etc/my.cnf.d"}, []string{"/etc/my.cnf"}, config.ParseMySQL},
	{config.SSHD, []string{"sshd"}, []uint16{22}, []string{"/etc/ssh"}, []string{"/etc/ssh/sshd_config"}, config.ParseSSHD},
}

// Where units are, of the system and of its users; the place that counts most
// first. systemd.unit(5).
var (
	systemdPlaces = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"}
	userPlaces    = []string{"/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user"}
)

// projectFiles is what is read in the directory of a project.
var projectFiles = []struct {
	name  string
	parse func([]byte) config.Found
}{
	{".env", config.ParseEnv}, {".env.local", config.ParseEnv}, {".env.development", config.ParseEnv},
	{"package.json", config.ParsePackage},
	{"vite.config.js", config.ParseVite}, {"vite.config.ts", config.ParseVite}, {"vite.config.mjs", config.ParseVite},
	{"application.properties", config.ParseProperties}, {"src/main/resources/application.properties", config.ParseProperties},
	{"application.yml", config.ParseApplication}, {"src/main/resources/application.yml", config.ParseApplication},
	{"compose.yaml", config.ParseCompose}, {"compose.yml", config.ParseCompose},
	{"docker-compose.yml", config.ParseCompose}, {"docker-compose.yaml", config.ParseCompose},
}

// serverOf tells which program a process is, by its name or its file.
func serverOf(p facts.Process) *server {
	for i, s := range servers {
		if slices.Contains(s.names, p.Name) || slices.Contains(s.names, filepath.Base(p.Exe)) {
			return &servers[i]
		}
	}
	return nil
}

// main lists the files that the server reads unless it is told otherwise.
func (s server) main() []string {
	var all []string
	for _, pattern := range s.files {
		if !strings.Contains(pattern, "*") {
			all = append(all, pattern)
			continue
		}
		names, _ := filepath.Glob(pattern)
		all = append(all, names...)
	}
	return all
}

// base is what a relative include begins at, given the folder of the main file.
func (s server) base(dir string) string {
	if s.program == config.Apache && filepath.Base(dir) == "conf" {
		return filepath.Dir(dir) // ServerRoot
	}
	return dir
}

// named lists the files that a process was told to read, by its arguments or by
// the directory it was started in.
func (s server) named(p facts.Process) []string {
	words := commandWords(p.Args)
	at := func(dir, name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(p.Cwd, dir)
		}
		if !filepath.IsAbs(dir) {
			return "" // where it runs is not known
		}
		return filepath.Join(dir, name)
	}
	var files []string
	switch s.program {
	case config.Nginx:
		files = append(files, at(flag(words, "-p"), flag(words, "-c")))
	case config.Apache:
		files = append(files, at(flag(words, "-d"), flag(words, "-f")))
	case config.HAProxy, config.SSHD:
		files = append(files, at("", flag(words, "-f")))
	case config.Caddy:
		files = append(files, at("", flag(words, "--config", "-c")))
		if files[0] == "" {
			files[0] = at("", "Caddyfile")
		}
	case config.Redis:
		if len(words) > 1 && strings.HasSuffix(words[1], ".conf") {
			files = append(files, at("", words[1]))
		} else if p.Cwd != "/var/lib/redis" { // it overwrites its arguments with a title
			files = append(files, at("", "redis.conf"))
		}
	case config.PostgreSQL:
		dir := flag(words, "-D")
		file := at("", flag(words, "--config-file", "--config_file", "config_file"))
		if file == "" {
			file = at(dir, "postgresql.conf") // its working directory is that of its data
		}
		files = append(files, file, at(dir, "postgresql.auto.conf"))
	case config.MySQL:
		files = append(files, at("", flag(words, "--defaults-file")), at("", flag(words, "--defaults-extra-file")))
	}
	files = slices.DeleteFunc(files, func(f string) bool { return f == "" || !present(f) })
	return slices.Compact(files)
}

// commandWords splits the title that many servers write over their arguments:
//
//	nginx: master process nginx -p /srv/shop -c nginx.conf
//	sshd: /usr/sbin/sshd -D -f /srv/sshd_config [listener] 0 of 10-100 startups
func commandWords(args []string) []string {
	words := slices.Clone(args)
	if len(words) > 0 && strings.Contains(words[0], ": ") {
		words = strings.Fields(strings.Join(words, " "))
	}
	return words
}

// flag returns the value of an option: "-c FILE", "-cFILE", "--config=FILE".
func flag(words []string, names ...string) string {
	for i, w := range words {
		for _, n := range names {
			switch rest, ok := strings.CutPrefix(w, n); {
			case !ok:
			case rest == "" && i+1 < len(words):
				return words[i+1]
			case strings.HasPrefix(rest, "="):
				return rest[1:]
			case len(n) == 2 && n[0] == '-' && rest != "":
				return rest
			}
		}
	}
	return ""
}

// readConfig reads a regular file. It has to lie at one of the places, if any are
// given, also when links were followed. One that a process names is read as its
// user, who could have root read for him else.
func readConfig(name string, places []string, by *facts.Process) (data []byte, err error) {
	if by == nil {
		return readRegular(name, places)
	}
	failed := asUser(namedBy(*by), func() { data, err = readRegular(name, places) })
	if err = errors.Join(failed, err); errors.Is(err, fs.ErrPermission) && !needsRoot(err) {
		err = errors.New("not its user's")
	}
	return data, err
}

func readRegular(name string, places []string) ([]byte, error) {
	// By its path first: to open a device or a pipe may do something.
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	self := filepath.Join("/proc/self/fd", strconv.Itoa(fd))
	real, err := os.Readlink(self)
	switch {
	case err != nil:
		return nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.New("not a regular file")
	}
	if len(places) > 0 && !slices.ContainsFunc(places, func(p string) bool {
		dir, err := filepath.EvalSymlinks(p)
		return err == nil && inside(real, dir)
	}) {
		return nil, errors.New("leads elsewhere")
	}
	f, err := os.OpenFile(self, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, config.MaxBytes))
}

// inside tells whether a path lies in a directory.
func inside(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
