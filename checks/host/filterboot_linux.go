package host

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How much of what restores rules is read, and kept.
const (
	bootFiles = 64
	bootDepth = 4
	bootKept  = 32
)

// bootFile is a file at a known place.
type bootFile struct {
	path   string
	format bootFormat
	by     string // what reads it at boot, as systemd or OpenRC calls it
}

// bootPlaces are those of Debian, Fedora, Arch, Alpine and Gentoo, and of ufw.
var bootPlaces = []bootFile{
	{"/etc/nftables.conf", nftScript, "nftables.service"},
	{"/etc/sysconfig/nftables.conf", nftScript, "nftables.service"},
	{"/etc/nftables.nft", nftScript, "nftables.service"},
	{"/var/lib/nftables/rules-save", nftScript, "nftables.service"},
	{"/etc/iptables/rules.v4", savedIPv4, "netfilter-persistent.service"},
	{"/etc/iptables/rules.v6", savedIPv6, "netfilter-persistent.service"},
	{"/etc/sysconfig/iptables", savedIPv4, "iptables.service"},
	{"/etc/sysconfig/ip6tables", savedIPv6, "ip6tables.service"},
	{"/etc/iptables/iptables.rules", savedIPv4, "iptables.service"},
	{"/etc/iptables/ip6tables.rules", savedIPv6, "ip6tables.service"},
	{"/etc/iptables/rules-save", savedIPv4, "iptables.service"},
	{"/etc/iptables/rules6-save", savedIPv6, "ip6tables.service"},
	{"/var/lib/iptables/rules-save", savedIPv4, "iptables.service"},
	{"/var/lib/ip6tables/rules-save", savedIPv6, "ip6tables.service"},
	{"/etc/ufw/before.rules", savedIPv4, "ufw.service"},
	{"/etc/ufw/user.rules", savedIPv4, "ufw.service"},
	{"/etc/ufw/after.rules", savedIPv4, "ufw.service"},
	{"/etc/ufw/before6.rules", savedIPv6, "ufw.service"},
	{"/etc/ufw/user6.rules", savedIPv6, "ufw.service"},
	{"/etc/ufw/after6.rules", savedIPv6, "ufw.service"},
}

// included is where nft scripts may lead, by include.
var included = []string{"/etc/nftables", "/etc/nftables.d", "/etc/nftables.conf.d", "/etc/sysconfig", "/var/lib/nftables"}

// bootLook reads the files below a root directory.
type bootLook struct {
	bootUnits
	ctx   context.Context
	rules []facts.FilterRule
	seen  map[string]bool
	lines []facts.BootLine
}

// bootLines returns the lines of files that restore rules at boot and say what one
// of these rules says.
func bootLines(ctx context.Context, rules []facts.FilterRule) []facts.BootLine {
	l := &bootLook{ctx: ctx, rules: rules, seen: map[string]bool{}}
	return l.all()
}

func (l *bootLook) all() []facts.BootLine {
	for _, b := range bootPlaces {
		// The others' lines cannot be those of any rule.
		wanted := func(r facts.FilterRule) bool {
			return (b.format == nftScript) == (r.Engine == facts.NFTables && !r.IPTables)
		}
		if slices.ContainsFunc(l.rules, wanted) {
			l.file(b, b.path, 0)
		}
	}
	return l.lines[:min(len(l.lines), bootKept)]
}

func (l *bootLook) file(b bootFile, path string, depth int) {
	if l.seen[path] || len(l.seen) == bootFiles || depth == bootDepth || l.ctx.Err() != nil {
		return
	}
	l.seen[path] = true
	data, err := readRegular(l.root+path, []string{l.root + "/etc", l.root + "/var/lib"})
	if err != nil {
		return // most are not there; and what is not read, no line is of
	}
	lines, include := bootLinesIn(data, b.format, l.rules)
	for _, line := range lines {
		line.Path, line.By, line.On = path, b.by, l.switchedOn(b.by)
		l.lines = append(l.lines, line)
	}
	for _, pattern := range include {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join("/etc", pattern) // the default of nft --includepath
		}
		pattern = filepath.Clean(pattern)
		fixed, _, _ := strings.Cut(strings.NewReplacer("?", "*", "[", "*", `\`, "*").Replace(pattern), "*")
		if !slices.ContainsFunc(included, func(p string) bool { return inside(fixed, p) }) {
			continue
		}
		names, _ := filepath.Glob(l.root + pattern)
		for _, n := range names {
			l.file(b, strings.TrimPrefix(n, l.root), depth+1)
		}
	}
}

// bootUnits knows which units are started at boot, below a root directory.
type bootUnits struct {
	root   string   // "" but in tests
	wants  []string // folders of links
	listed bool     // they have been looked for
}

// unitFolders are systemd's own folders of units.
var unitFolders = []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"}

// switchedOn tells whether a unit is started at boot: by the links that systemctl
// enable makes, or those of OpenRC's runlevels. A preset link below /usr/lib counts
// as well.
func (u *bootUnits) switchedOn(unit string) bool {
	if names, _ := filepath.Glob(u.root + "/etc/runlevels/*/" + strings.TrimSuffix(unit, ".service")); len(names) > 0 {
		return true
	}
	// A link may be left of one that is not installed any more; most are not there.
	return slices.ContainsFunc(u.folders(installed(u.root, unit)), func(folder string) bool {
		_, err := os.Lstat(folder + "/" + unit) // the link counts: it leads out of a root that is not ours
		return err == nil
	})
}

// folders are those with links to what is started: all of them, or the common ones, for
// to look through what lies beside them takes a part of a millisecond.
func (u *bootUnits) folders(all bool) []string {
	if !all {
		var common []string
		for _, folder := range unitFolders {
			for _, target := range []string{"multi-user", "sysinit", "basic", "network-pre", "network", "default"} {
				common = append(common, u.root+folder+target+".target.wants")
			}
		}
		return common
	}
	for i := 0; i < len(unitFolders) && !u.listed; i++ {
		folder := u.root + unitFolders[i]
		if usr, err := os.Stat(u.root + "/usr" + unitFolders[i]); err == nil {
			if info, err := os.Stat(folder); err == nil && os.SameFile(usr, info) {
				continue // /lib leads to /usr/lib
			}
		}
		d, err := os.Open(folder)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(-1)
		d.Close()
		for _, n := range names {
			if strings.HasSuffix(n, ".wants") || strings.HasSuffix(n, ".requires") {
				u.wants = append(u.wants, folder+n)
			}
		}
	}
	u.listed = true
	return u.wants
}

// installed tells whether there is such a unit of systemd.
func installed(root, unit string) bool {
	return present(root+"/usr/lib/systemd/system/"+unit) || present(root+"/lib/systemd/system/"+unit) || present(root+"/etc/systemd/system/"+unit)
}
