package redact

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// words.txt is every word that stands in a string of loopdoctor itself: of rules,
// messages of servers, settings, and what its reports say. A user, a host or an
// organization called so is masked only where the place says that one is meant:
// otherwise the user "drop" would change what a rule does. Markup, style and script of
// the page need no entry (unsaid). A test keeps the list complete.
//
//go:embed words.txt
var wordList string

// ordinary tells whether a word (lower case) is one of loopdoctor's own.
var ordinary = sync.OnceValue(func() func(string) bool {
	all := map[string]bool{}
	for w := range strings.FieldsSeq(wordList) {
		all[w] = true
	}
	return func(w string) bool { return all[w] }
})

// commonUsers are accounts that systems, packages and images make: they tell nothing.
var commonUsers = lazySet(`root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup _apt messagebus sshd
	postgres mysql mariadb redis mongodb mongod rabbitmq memcache memcached elasticsearch opensearch kafka zookeeper cassandra couchdb influxdb etcd consul vault
	nginx apache apache2 httpd http caddy haproxy envoy traefik varnish squid tomcat jetty jenkins gitlab-runner gitea grafana prometheus loki
	docker podman containerd dockremap rootless dnsmasq unbound bind named ntp chrony _chrony syslog tss polkitd rtkit avahi colord geoclue pulse gdm lightdm sddm
	usbmux uuidd saned whoopsie kernoops speech-dispatcher hplip cups-pk-helper tcpdump landscape fwupd-refresh pollinate nm-openvpn openvpn strongswan stunnel4 tor debian-tor
	postfix dovecot exim exim4 debian-exim opendkim clamav amavis ftp vsftpd proftpd tftp rpc rpcuser statd nfsnobody dbus libvirt-qemu qemu libvirtdbus
	systemd-network systemd-resolve systemd-timesync systemd-coredump systemd-oom systemd-journal-remote
	ubuntu debian ec2-user centos fedora rocky almalinux alpine arch opc admin administrator azureuser core cloud-user vagrant pi
	node vscode codespace coder gitpod runner runneradmin circleci travis buildkite-agent buildbot git svn hg user users guest test tester dev developer
	app application web www service server deploy deployer ansible puppet nagios zabbix monitoring oracle operator linuxbrew homebrew shared public default
	localservice networkservice local_service network_service system trustedinstaller defaultuser0 wdagutilityaccount containeradministrator containeruser
	mailnull smmsp nologin toor www-run wwwrun nixbld lxd ollama python ruby rails django flask php-fpm php mkcert username me you all any none`)

// commonHosts are labels and names that many machines have.
var commonHosts = lazySet(`localhost localhost4 localhost6 localdomain localdomain4 localdomain6 ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix ip6-allnodes ip6-allrouters ip6-allhosts
	broadcasthost kubernetes docker-desktop minikube host gateway router www api app apps db database cache mail smtp imap ftp dns ns ns1 ns2 proxy cdn auth login admin web backend frontend
	server client service svc static assets img staging stage prod production dev development test testing qa demo internal intranet local corp lan home example invalid wpad ldap vpn git ci
	primary replica master worker node pod rabbitmq redis postgres postgresql mysql mariadb mongo mongodb kafka zookeeper elasticsearch memcached nginx traefik caddy envoy minio vault consul etcd
	hub docs status raw registry compute ec2 s3 eu us cluster default kube-system metadata localhost-only this-host hostname debian ubuntu fedora alpine arch kali raspberrypi buildkitsandbox dockerdesktop`)

// commonSites are domains that many machines name: registries, projects, makers. What
// stands before them is masked all the same.
var commonSites = lazySet(`docker.io docker.com docker.internal containers.internal lima.internal orb.internal rancher-desktop.internal minikube.internal k3d.internal google.internal azure.internal
	ghcr.io quay.io gcr.io pkg.dev k8s.io mcr.microsoft.com registry.k8s.io kubernetes.io cncf.io helm.sh
	github.com githubusercontent.com github.dev app.github.dev gitlab.com bitbucket.org npmjs.org npmjs.com yarnpkg.com nodejs.org deno.land pypi.org python.org pythonhosted.org golang.org go.dev rubygems.org crates.io
	rust-lang.org maven.org apache.org eclipse.org spring.io debian.org ubuntu.com canonical.com fedoraproject.org redhat.com centos.org alpinelinux.org archlinux.org opensuse.org kernel.org
	nginx.org nginx.com caddyserver.com haproxy.org haproxy.com mozilla.org letsencrypt.org mariadb.org mariadb.com mysql.com postgresql.org redis.io mongodb.com mongodb.org elastic.co grafana.com prometheus.io
	w3.org ietf.org iana.org rfc-editor.org icann.org google.com googleapis.com microsoft.com windows.com apple.com jetbrains.com visualstudio.com vscode.dev gitpod.io freedesktop.org gnome.org kde.org
	systemd.io man7.org netfilter.org wireguard.com tailscale.com openvpn.net schema.org example.com example.net example.org loopdoctor.dev`)

// Endings of names that are no public ones: what stands before them is masked, they stay.
var privateEndings = lazySet(`local localhost localdomain internal test example invalid lan home corp intranet private onion arpa home.arpa in-addr.arpa ip6.arpa svc.cluster.local cluster.local
	ec2.internal compute.internal`)

// fileEndings are endings of files, and of names in programs, that are top-level
// domains as well.
var fileEndings = lazySet(`py sh rs md pl so ps cc pub zip mov network link target pid java properties name host id is run call new map page data services java at in to me do app log`)

// newer are the most used of the newer endings. In a text they need three labels.
var newer = lazySet(`xyz online site shop club vip store icu digital agency solutions space website life global company systems gmbh berlin hamburg koeln bayern wien tirol swiss london paris
	nyc tokyo amsterdam brussels moscow africa asia lat cat eus gal scot wales museum aero coop jobs travel mobi name pro tel xxx agency studio design academy consulting ventures capital engineering`)

// unitTypes end names of systemd's units, which may hold an @.
var unitTypes = lazySet(`service socket timer mount automount target slice scope path device swap`)

// strong are the endings that make two words with a dot between them a host's name
// wherever they stand: most people who have a domain have one of these.
var strong = lazySet(`com net org edu gov mil biz info eu de uk fr nl ch at be dk se no cz it es pt ru ua jp cn kr br mx ar au nz ca us za il ir tr fi ie hu ro gr io dev cloud tech ai co`)

// lazyExp is an expression that is compiled when it is first used: most runs redact nothing.
func lazyExp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// lazySet is a set of words that is made when it is first asked for.
func lazySet(s string) func() map[string]bool {
	return sync.OnceValue(func() map[string]bool { return set(s) })
}

func set(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

// keptUser tells whether an account's name stays: it is one that many machines have, or
// a pseudonym.
func keptUser(name string) bool {
	low := strings.ToLower(name)
	return commonUsers()[low] || strings.HasPrefix(low, "systemd-") || strings.HasPrefix(low, "_") && len(low) > 3 || pseudonymous(low) || strings.Trim(low, "0123456789") == ""
}

// numbered tells whether s is the prefix and a number.
func numbered(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && rest != "" && len(rest) < 8 && strings.Trim(rest, "0123456789") == ""
}

// pseudonymous tells whether a word (lower case) is one that Redact gives.
func pseudonymous(word string) bool {
	return slices.ContainsFunc([]string{"user", "host", "domain", "masked", "organization", hidden}, func(p string) bool { return numbered(word, p) })
}

// perhapsLike tells whether there may be a word in a text that looks like a pseudonym: to
// see that there is none takes less than to seek one.
func perhapsLike(s string) bool {
	for i := 1; i < len(s); i++ {
		if digit(s[i]) && (strings.IndexByte("rtndRTND", s[i-1]) >= 0 || s[i] == '0' && i+1 < len(s) && s[i+1] == '2') {
			return true
		}
	}
	return strings.HasPrefix(s, "02")
}

// domain splits a dotted name into the labels that are its owner's and the ending that
// stays or becomes .example. Not ok: the text is no host's name, as far as one can tell
// without asking. sure says that its place makes it one.
func domain(text string, sure bool) (labels []string, ending string, public, ok bool) {
	low := strings.ToLower(strings.TrimSuffix(text, "."))
	all := strings.Split(low, ".")
	if len(all) < 2 || len(low) > 253 {
		return nil, "", false, false
	}
	for _, l := range all {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return nil, "", false, false
		}
	}
	for n := min(3, len(all)-1); n > 0; n-- { // the longest ending first
		if e := strings.Join(all[len(all)-n:], "."); privateEndings()[e] {
			return all[:len(all)-n], e, false, true
		}
	}
	for n := min(3, len(all)); n > 1; n-- {
		if e := strings.Join(all[len(all)-n:], "."); commonSites()[e] {
			return all[:len(all)-n], e, false, true
		}
	}
	last := all[len(all)-1]
	suffix, icann := publicsuffix.PublicSuffix(low)
	known := icann || strings.Contains(suffix, ".") // a private one of the list: "github.io"
	switch {
	case strings.Trim(last, "0123456789") == "", unitTypes()[last]: // getty@tty1.service
		return nil, "", false, false
	case !known && sure: // an ending of one's own: "db.prod", "shop.acmecorp"
		return all, "", false, true
	case !known:
		return nil, "", false, false
	case sure:
	case reversed()[all[0]] && len(all) > 2: // com.docker.backend, org.apache.kafka, java.net.URL
		return nil, "", false, false
	case strong()[last]:
	case len(all) == 2, fileEndings()[last], len(last) > 2 && !newer()[last]: // django.core.management
		return nil, "", false, false
	}
	if programs()[low] && !sure {
		return nil, "", false, false
	}
	n := strings.Count(suffix, ".") + 1
	if n >= len(all) {
		return nil, "", false, false
	}
	return all[:len(all)-n], suffix, true, true
}

// reversed begins names of packages and settings, which read from left to right.
var reversed = lazySet(`com org net io java javax jakarta sun kotlin scala android dev de vm kernel fs self this os sys std core system microsoft`)

// programs are names of programs and libraries with a dot.
var programs = lazySet(`socket.io node.js asp.net ado.net system.net java.io java.net std.io draw.io ml.net`)

// localName tells whether a name means this machine, or the one around it, everywhere.
func localName(name string) bool {
	low := strings.ToLower(strings.TrimSuffix(name, "."))
	return facts.IsLocalhost(low) && (low == "localhost" || low == "localhost.localdomain" || strings.HasSuffix(low, ".localhost.localdomain")) ||
		slices.Contains([]string{"host.docker.internal", "gateway.docker.internal", "kubernetes.docker.internal", "host.containers.internal", "host.lima.internal", "host.orb.internal",
			"host.rancher-desktop.internal", "host.minikube.internal", "host.k3d.internal", "metadata.google.internal", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}, low)
}

// variants are other ways to write a name of several words: blue-whale, blue_whale,
// blue.whale, "blue whale", and bluewhale.
func variants(s string) []string {
	words := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("-_. ", r) })
	if len(words) < 2 || strings.Trim(s, "0123456789-_. ") == "" {
		return nil
	}
	var all []string
	for _, sep := range []string{"-", "_", ".", " ", ""} {
		if v := strings.Join(words, sep); v != s {
			all = append(all, v)
		}
	}
	return all
}
