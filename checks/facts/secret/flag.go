package secret

import (
	"path"
	"slices"
	"strings"
)

// flags are those of a program whose value is a secret although their name says nothing.
type flags struct {
	letters  string   // -u
	takes    string   // the other letters with a value, which ends a cluster like -sSLu; none: no clusters
	long     []string // --user, -passin
	start    string   // /p:, with its value
	attached bool     // of the letters: the value is a part of the argument or there is none
	// where in a value the secret begins, len(value) if there is none; nil: all of it is one
	from func(value string) int
}

const (
	curlTakes = "AbcCdDeEFHKmoPQrtTuUwxXyYz"
	ldapTakes = "abdDeEfFhHloOpPRsSTUwXyYz"
)

// flagsOf returns the flags of a program that is commonly given a password on the
// command line, and tells whether it is one of those that a wrapper like sudo is asked
// to run. The same letters are a port's elsewhere: docker run -p, ssh -p, mysql -P. sub
// is the subcommand. Source: their manual pages.
func flagsOf(program, sub string) (_ []flags, known bool) {
	switch program {
	case "mysql", "mysqldump", "mysqladmin", "mysqld", "mysqlimport", "mysqlcheck", "mysqlshow", "mysqlslap", "mysqlbinlog", "mariadb", "mariadb-dump", "mariadb-admin":
		return []flags{{letters: "p", attached: true}}, true
	case "sshpass", "cqlsh", "mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "mongostat", "mongotop":
		return []flags{{letters: "p"}}, true
	case "zip", "unzip", "zipcloak":
		return []flags{{letters: "P"}}, true
	case "7z", "7za", "7zr", "rar", "unrar":
		return []flags{{letters: "p", attached: true}}, true
	case "useradd", "usermod", "rabbitmqadmin", "rdesktop":
		return []flags{{letters: "p"}}, true
	case "xfreerdp", "wlfreerdp":
		return []flags{{start: "/p:"}, {start: "/gp:"}}, true
	case "openssl": // pass:secret, env:VARIABLE, file:path: openssl-passphrase-options(1)
		return []flags{{long: []string{"-passin", "-passout", "-pass", "-password", "-passcerts"}, from: after("pass:")}, {long: []string{"-k", "-K", "-psk", "-srppass"}}}, true
	case "dig", "nsupdate": // algorithm:name:secret
		return []flags{{letters: "y", from: func(s string) int { return strings.LastIndexByte(s, ':') + 1 }}}, true
	case "redis-cli", "redis-benchmark", "valkey-cli", "valkey-benchmark", "keydb-cli", "http", "https", "httpie":
		return []flags{{letters: "a"}}, true
	case "sqlcmd", "osql", "fisql", "tsql", "bcp", "ipmitool", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr":
		return []flags{{letters: "P"}}, true
	case "curl":
		return []flags{{letters: "uU", takes: curlTakes, long: []string{"--user", "--proxy-user"}}, {letters: "b", takes: curlTakes, long: []string{"--cookie"}, from: jar}}, true
	case "ldappasswd":
		return []flags{{letters: "was", takes: "dDeEfFhHIlnOopRSTUXyYZ"}}, true
	case "smbpasswd":
		return []flags{{letters: "U", from: after("%")}, {letters: "w"}}, true
	case "ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapwhoami", "ldapcompare", "ldapmodrdn", "ldapexop":
		return []flags{{letters: "w", takes: ldapTakes}}, true
	case "smbclient", "smbget", "smbtree", "smbcacls", "rpcclient", "net", "winexe":
		return []flags{{letters: "U", long: []string{"--user"}, from: after("%")}}, true
	case "snmpget", "snmpwalk", "snmpset", "snmpbulkwalk", "snmpgetnext":
		return []flags{{letters: "AXc"}}, true
	case "ab":
		return []flags{{letters: "APC"}}, true
	case "lftp":
		return []flags{{letters: "u", from: after(",")}}, true
	case "ttyd", "gotty":
		return []flags{{letters: "c", long: []string{"--credential"}, from: after(":")}}, true
	case "etcdctl":
		return []flags{{long: []string{"--user"}, from: after(":")}}, true
	case "docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oc", "cf", "az":
		if sub == "login" {
			return []flags{{letters: "p"}}, true
		}
		return nil, true
	case "kubectl", "docker-compose", "podman-compose", "ssh", "scp", "sftp", "rsync", "autossh", "psql", "ngrok":
		return nil, true
	}
	return nil, oracleTool(program) || placesOf(program) != nil
}

// after is a flags.from: the secret follows sep.
func after(sep string) func(string) int {
	return func(s string) int {
		if i := strings.Index(s, sep); i >= 0 {
			return i + len(sep)
		}
		return len(s)
	}
}

// jar is a flags.from: it tells a cookie from the name of a file that holds some
// (curl(1), -b).
func jar(s string) int {
	if strings.Contains(s, "=") {
		return 0
	}
	return len(s)
}

func (f *flags) hide(m masker, value string) string {
	i := 0
	if f.from != nil {
		i = f.from(value)
	}
	if i == len(value) {
		return value
	}
	return value[:i] + m.with(value[i:])
}

// split tells whether the argument is one of the flags, and what of it is the value; it
// follows if it is the next argument.
func (f *flags) split(a string) (before, value string, follows, ok bool) {
	if slices.Contains(f.long, a) {
		return a, "", true, true
	}
	if strings.HasPrefix(a, "--") {
		name, value, is := strings.Cut(a, "=")
		return name + "=", value, !is, slices.Contains(f.long, name)
	}
	if len(a) < 2 || a[0] != '-' {
		return
	}
	for i := 1; i < len(a); i++ {
		switch {
		case strings.IndexByte(f.letters, a[i]) >= 0:
			last := i+1 == len(a)
			return a[:i+1], a[i+1:], last, !last || !f.attached
		case f.takes == "" || strings.IndexByte(f.takes, a[i]) >= 0:
			return
		}
	}
	return
}

// oracleTool tells whether a program takes user/password@database as an argument.
func oracleTool(program string) bool {
	switch program {
	case "sqlplus", "sqlldr", "exp", "imp", "expdp", "impdp", "rman":
		return true
	}
	return false
}

// wrapper tells whether a program runs another, which its arguments name.
func wrapper(program string) bool {
	switch program {
	case "sudo", "doas", "env", "exec", "nohup", "nice", "ionice", "time", "timeout", "setsid", "stdbuf", "strace", "ltrace", "sshpass", "xargs", "watch",
		"chroot", "runuser", "gosu", "su-exec", "tini", "dumb-init", "command", "unshare", "nsenter":
		return true
	}
	return false
}

// command is what is known of a command line up to some argument.
type command struct {
	program string // "": it has not begun
	flags   []flags
	wraps   bool   // another program may follow
	sub     string // the subcommand
	before  string // the argument before, if it is read at all
	words   words  // the arguments that are no flags
}

func (c *command) begin(m masker, word string) {
	program := strings.TrimSuffix(path.Base(strings.ReplaceAll(word, `\`, "/")), ".exe")
	*c = command{program: program, wraps: wrapper(program)}
	c.flags, _ = flagsOf(program, "")
	if !m.line || !wordOfLanguage(program) {
		c.words.places = placesOf(program)
	}
}

// read goes on with the argument a and tells, if it is a flag or a word with a secret
// for this program, what becomes of it, and of the next one if that is the value.
func (c *command) read(m masker, a string) (to string, next func(string) string, ok bool) {
	before := c.before
	c.before = a
	switch {
	case c.program == "":
		c.begin(m, a)
		return "", nil, false
	case a == "&&" || a == "||" || a == "|" || a == ";":
		*c = command{}
		return "", nil, false
	case !strings.HasPrefix(a, "-"):
		for i := range c.flags {
			if f := &c.flags[i]; f.start != "" && strings.HasPrefix(a, f.start) {
				return f.start + m.with(a[len(f.start):]), nil, true
			}
		}
		return c.word(m, a, before)
	}
	c.words.flag(a)
	for i := range c.flags {
		f := &c.flags[i]
		before, value, follows, ok := f.split(a)
		switch {
		case !ok:
		case follows:
			return a, func(s string) string { return f.hide(m, s) }, true
		default:
			return before + f.hide(m, value), nil, true
		}
	}
	return "", nil, false
}

// asUser tells whether the argument is the name of a user for a wrapper, as mysql is in
// sudo -u mysql node -p8080 and in gosu mysql node -p8080.
func (c *command) asUser(before string) bool {
	switch c.program {
	case "gosu", "su-exec", "chroot":
		return c.words.n == 1
	}
	return before == "-u" || before == "--user" || before == "-g" || before == "--group"
}

// word reads an argument that is no flag.
func (c *command) word(m masker, a, before string) (to string, next func(string) string, ok bool) {
	if secret := c.words.word(c.program, a); secret {
		return m.with(a), nil, true
	}
	if c.wraps && len(a) < 256 && !strings.Contains(a, "://") && !c.asUser(before) {
		if _, known := flagsOf(path.Base(a), ""); known || wrapper(path.Base(a)) {
			c.begin(m, a)
			return "", nil, false
		}
	}
	switch {
	case c.program == "ngrok" && (a == "authtoken" || a == "add-authtoken"):
		return a, m.with, true
	case oracleTool(c.program):
		// userid=user/password@database, or without the name
		login, _ := strings.CutPrefix(a, "userid=")
		user, rest, ok := strings.Cut(login, "/")
		if !ok || user == "" || rest == "" || strings.ContainsAny(user, "=@.:") || c.program != "sqlplus" && login == a && !strings.Contains(rest, "@") {
			return "", nil, false
		}
		end := len(a)
		if at := strings.LastIndexByte(rest, '@'); at > 0 {
			end -= len(rest) - at
		}
		from := len(a) - len(rest)
		return a[:from] + m.with(a[from:end]) + a[end:], nil, true
	case c.sub == "":
		switch a {
		case "login", "run", "create", "build", "compose", "pod", "service":
			c.sub = a
			c.flags, _ = flagsOf(c.program, a)
		case "exec": // docker exec db mysql -psecret
			c.sub, c.wraps = a, c.program == "docker" || c.program == "podman" || c.program == "nerdctl" || c.program == "kubectl" || c.program == "oc"
		}
	}
	return "", nil, false
}
