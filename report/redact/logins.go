package redact

import (
	"path"
	"slices"
	"strings"
	"sync"
)

// client says how a program takes who logs in where.
type client struct {
	user, host string // flags whose value is a user, or a host; the value may stick to one of one letter
	valued     string // further letters of flags that take a value
	first      bool   // the first argument that is no flag is a host, or user@host
	shares     bool   // an argument may be //server/share or server:/directory
}

// clients by the name of their program.
var clients = sync.OnceValue(func() map[string]client {
	ssh := client{user: "-l", host: "-J", valued: "BbcDEeFIiLmOopQRSWw", first: true}
	copying := client{host: "-J", valued: "cFiloPS"}
	my := client{user: "-u", host: "-h"}
	pg := client{user: "-U", host: "-h"}
	share := client{user: "-U", shares: true}
	engine := client{user: "-u"} // of login; of run and exec it is a user of the container
	return map[string]client{
		"ssh": ssh, "autossh": ssh, "mosh": ssh, "mosh-client": ssh, "ssh-copy-id": ssh, "scp": copying, "sftp": copying, "sshfs": copying, "rsync": copying,
		"mysql": my, "mysqldump": my, "mysqladmin": my, "mysqlimport": my, "mariadb": my, "mariadb-dump": my, "mariadb-admin": my, "mongosh": {user: "-u", host: "--host"},
		"psql": pg, "pg_dump": pg, "pg_restore": pg, "pg_isready": pg, "createdb": pg, "pgbench": pg, "redis-cli": {host: "-h"}, "valkey-cli": {host: "-h"},
		"sqlcmd": {user: "-U", host: "-S"}, "smbclient": share, "smbcacls": share, "mount": share, "mount.cifs": share, "mount.smb3": share, "mount.nfs": share, "mount.nfs4": share, "rpcclient": {user: "-U", first: true}, "ldapsearch": {host: "-h"}, "sudo": {user: "-u", valued: "gCDhpRrTt"}, "runuser": {user: "-u"}, "kubectl": {user: "--context"},
		"docker": engine, "podman": engine, "skopeo": engine, "helm": engine,
	}
})

// hostFlag is a flag whose value is a host, of any program.
var hostFlag = lazyExp(`^(?:-h|-H|--?[\w.-]*host(?:name)?)$`)

var loginWord = lazyExp(`^(?:ssh://)?([A-Za-z_][\w.-]*@[A-Za-z0-9][\w.-]*)(?::|$)`)

// commands learns from the arguments of a process, and from those of the commands that a
// shell's -c or a rewritten title holds in one of them.
func (m *masker) commands(program string, args []string) {
	if len(args) == 0 {
		return
	}
	m.logins(program, args)
	for _, a := range args {
		words := strings.Fields(a)
		for i, w := range words {
			if _, ok := clients()[path.Base(w)]; ok && i+1 < len(words) && len(words) > 1 {
				m.logins("", words[i:])
			}
		}
	}
}

// logins learns from the arguments of one command: users and hosts of programs that are
// known, and flags for hosts.
func (m *masker) logins(program string, args []string) {
	c, known := clients()[program]
	if !known {
		c, known = clients()[path.Base(args[0])]
	}
	ssh := known && strings.Contains(c.host, "-J")
	first := c.first
	skip := false // the value of a flag
	for i, a := range args[1:] {
		flag := args[i]
		isFlag := len(a) > 1 && a[0] == '-'
		if hostFlag().MatchString(flag) && !isFlag {
			m.host(a)
		}
		if !known {
			continue
		}
		if ssh {
			m.sshArgument(flag, a)
		}
		if c.shares && !isFlag {
			m.share(a)
		}
		switch {
		case skip:
			skip = false
			m.valueOf(c, flag, a)
		case a == "--":
		case isFlag && (a == c.user || a == c.host):
			skip = true
		case isFlag && len(a) > 2 && a[1] != '-' && (a[:2] == c.user || a[:2] == c.host):
			m.valueOf(c, a[:2], a[2:])
		case isFlag:
			skip = a[1] != '-' && strings.IndexByte(c.valued, a[len(a)-1]) >= 0 && (len(a) == 2 || strings.Trim(a[1:len(a)-1], "46AaCfGgKkMNnqsTtVvXxYy") == "")
		case first:
			first = false
			name, _, _ := strings.Cut(strings.TrimPrefix(a, "ssh://"), ":")
			m.login(name)
		}
	}
}

// share learns from //server/share of SMB and server:/directory of NFS.
func (m *masker) share(a string) {
	if rest, ok := strings.CutPrefix(a, "//"); ok {
		host, _, _ := strings.Cut(rest, "/")
		m.host(host)
	} else if host, rest, ok := strings.Cut(a, ":"); ok && strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, "//") {
		m.host(host)
	}
}

// valueOf learns from the value of a flag.
func (m *masker) valueOf(c client, flag, value string) {
	switch {
	case flag == "--context" || strings.Contains(value, "@"):
		if strings.Contains(value, "@") {
			m.login(value)
		}
	case flag == c.user:
		name, _, _ := strings.Cut(value, "%") // smbclient -U ann%password
		name, _, _ = strings.Cut(name, ":")   // docker run -u 1000:1000
		m.user(name)
	case flag == c.host:
		for h := range strings.SplitSeq(value, ",") {
			if !strings.HasPrefix(h, "/") { // the directory of a socket
				m.host(h)
			}
		}
	}
}

// sshArgument learns from one argument of ssh and its kind.
func (m *masker) sshArgument(flag, a string) {
	for part := range strings.SplitSeq(a, ",") { // -J takes several
		if x := loginWord().FindStringSubmatch(part); x != nil {
			m.login(x[1])
		}
	}
	spec := strings.Split(a, ":")
	if len(spec) > 2 && slices.ContainsFunc([]string{"-L", "-R"}, func(f string) bool { return flag == f || strings.HasPrefix(a, f) }) {
		m.host(spec[len(spec)-2])
	}
}
