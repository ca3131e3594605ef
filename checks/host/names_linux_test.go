package host

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TestNamesLikeGetent compares with what glibc itself says, in namespaces of
// its own: the files are ours, port 53 is ours, nothing leaves.
func TestNamesLikeGetent(t *testing.T) {
	if os.Getenv("LOOPDOCTOR_TEST_NAMES") == "" {
		inNamespaces(t, "LOOPDOCTOR_TEST_NAMES")
		return
	}
	loopbackUp(t)
	dir := t.TempDir()
	files := map[string]string{"hosts": "/etc/hosts", "nss": "/etc/nsswitch.conf", "hostconf": "/etc/host.conf",
		"resolv": "/etc/resolv.conf", "gai": "/etc/gai.conf"}
	for name, over := range files {
		mine := filepath.Join(dir, name)
		if err := os.WriteFile(mine, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(mine, over, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("no %s to mount over: %v", over, err)
		}
	}
	const both = "127.0.0.1 localhost\n::1 localhost\n"
	const multi = "multi on\n"
	for name, c := range map[string]struct{ ask, hosts, nss, hostconf, server, gai, resolv string }{
		"both":                    {hosts: both, nss: "hosts: files\n"},
		"both, IPv4 preferred":    {hosts: both, nss: "hosts: files\n", gai: "precedence ::ffff:0:0/96 100\n"},
		"without multi":           {hosts: both, nss: "hosts: files\n", hostconf: "# multi on\n"},
		"ipv6 alone":              {hosts: "::1 localhost\n", nss: "hosts: files\n"},
		"mapped":                  {hosts: "::ffff:127.0.0.1 localhost\n", nss: "hosts: files\n"},
		"wrong":                   {hosts: "10.0.0.9 localhost\n127.0.0.2 localhost\n", nss: "hosts: files\n"},
		"zone":                    {hosts: "fe80::1%lo localhost\n127.0.0.1 localhost\n", nss: "hosts: files\n"},
		"case and alias":          {hosts: "127.0.0.1 me LocalHost # ::1 localhost\n", nss: "hosts: files\n"},
		"from Windows":            {hosts: "127.0.0.1\tlocalhost\r\n::1 ip6 localhost\r\n", nss: "hosts: files\r\n"},
		"doubled":                 {hosts: "127.0.0.1 localhost\n127.0.0.1 localhost\n", nss: "hosts: files\n"},
		"short form":              {hosts: "127.1 localhost\n", nss: "hosts: files\n"},
		"missing":                 {hosts: "127.0.0.1 other\n", nss: "hosts: files\n"},
		"subdomain":               {hosts: both, nss: "hosts: files\n", ask: "app.localhost"},
		"no line":                 {hosts: both, nss: "passwd: files\n", server: "127.0.0.9"},
		"no line, then dns":       {nss: "passwd: files\n", server: "127.0.0.9"},
		"no sources":              {hosts: both, nss: "hosts:\n"},
		"no colon":                {hosts: both, nss: "hosts files\n"},
		"the last line counts":    {hosts: both, nss: "hosts: files\nhosts: dns\n", server: "NXDOMAIN"},
		"upper case":              {hosts: both, nss: "HOSTS: nosuch\n"},
		"not a status":            {hosts: both, nss: "hosts: files [FOO=return] dns\n"},
		"not an action":           {hosts: both, nss: "hosts: files [NOTFOUND=retur]\n"},
		"open bracket":            {hosts: both, nss: "hosts: files [NOTFOUND=return\n"},
		"another line is broken":  {hosts: both, nss: "passwd: files [FOO=return]\nhosts: files\n"},
		"unknown line is broken":  {hosts: both, nss: "hosts: files\nsudoers: [FOO\n"},
		"comment behind":          {hosts: both, nss: "hosts: files # dns\n"},
		"comment with a bracket":  {hosts: both, nss: "hosts: files # see [1]\n"},
		"unknown source":          {hosts: both, nss: "hosts: nosuch files\n"},
		"unknown source ends":     {hosts: both, nss: "hosts: nosuch [UNAVAIL=return] files\n"},
		"bracket first":           {hosts: both, nss: "hosts: [NOTFOUND=return] files\n"},
		"two brackets":            {nss: "hosts: files [NOTFOUND=return] [NOTFOUND=continue] dns\n", server: "127.0.0.9"},
		"success goes on":         {hosts: both, nss: "hosts: files [SUCCESS=continue] dns\n", server: "127.0.0.9"},
		"success goes on to none": {hosts: both, nss: "hosts: files [SUCCESS=continue] dns\n", server: "NXDOMAIN"},
		"merge":                   {hosts: both, nss: "hosts: files [SUCCESS=merge] dns\n", server: "127.0.0.9"},
		"dns alone":               {hosts: both, nss: "hosts: dns\n", server: "127.0.0.9"},
		"dns alone, both":         {nss: "hosts: dns\n", server: "127.0.0.9 ::1"},
		"dns knows it not":        {hosts: both, nss: "hosts: dns\n", server: "NXDOMAIN"},
		"dns returns":             {hosts: both, nss: "hosts: dns [!UNAVAIL=return] files\n", server: "NXDOMAIN"},
		"dns has none, returns":   {hosts: both, nss: "hosts: dns [NOTFOUND=return] files\n", server: "NOERROR"},
		"dns is lame":             {hosts: both, nss: "hosts: dns [NOTFOUND=return] files\n", server: "lame"},
		"dns fails":               {hosts: both, nss: "hosts: dns [NOTFOUND=return] files\n", server: "SERVFAIL"},
		"dns fails, returns":      {hosts: both, nss: "hosts: dns [UNAVAIL=return] files\n", server: "REFUSED"},
		"dns is not there":        {hosts: both, nss: "hosts: dns [!UNAVAIL=return] files\n"},
		"dns is silent":           {hosts: both, nss: "hosts: dns files\n", server: "silence", resolv: "options timeout:1 attempts:1\n"},
		"spaces":                  {hosts: both, nss: " hosts :dns[ !UNAVAIL = Return\ttryagain=continue ]files\n"},
	} {
		t.Run(name, func(t *testing.T) {
			write := func(file, text string) {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write("hosts", c.hosts)
			write("nss", c.nss)
			write("hostconf", cmp.Or(c.hostconf, multi))
			write("gai", c.gai)
			write("resolv", c.resolv)
			if c.server != "" {
				serveDNS(t, "127.0.0.1:53", c.server)
			}
			ask := cmp.Or(c.ask, "localhost")
			want := getent(t, ask)
			n, err := lookNames(t.Context(), ask, facts.Identity{}, false)
			if err != nil {
				t.Fatal(err)
			}
			var got []netip.Addr
			found := n.Addresses
			if c.server == "silence" { // getent had the patience
				found = n.Later
				if n.WaitMS != 1000 || n.Addresses != nil {
					t.Errorf("it waits %.0f ms for %v, want 1000", n.WaitMS, n.Addresses)
				}
			}
			for _, a := range found {
				got = append(got, a.Addr)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, getent says %v\nfacts: %+v", got, want, n)
			}
			if (len(want) == 0) == (n.Error == "") && c.server != "silence" {
				t.Errorf("%d addresses and the error %q", len(want), n.Error)
			}
		})
	}
}

// getent is getaddrinfo(AF_UNSPEC) without AI_ADDRCONFIG; a doubled address
// counts once.
func getent(t *testing.T, name string) []netip.Addr {
	t.Helper()
	out, err := exec.Command("getent", "-A", "ahosts", name).Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 2) {
		t.Fatal(err)
	}
	var list []netip.Addr
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "STREAM" {
			if a := netip.MustParseAddr(f[0]); !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}

// inNamespaces runs this very test again where user, mounts and network are
// its own.
func inNamespaces(t *testing.T, env string) {
	t.Helper()
	if _, err := exec.LookPath("getent"); err != nil {
		t.Skip("getent is not installed")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
}

func loopbackUp(t *testing.T) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	ifr, _ := unix.NewIfreq("lo")
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
}

func TestReadingAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hosts")
	if err := os.WriteFile(path, []byte("127.0.0.1 localhost\n"), 0o640); err != nil { // group root, too
		t.Fatal(err)
	}
	var info fs.FileInfo
	var err error
	if became := readingAs(UID(65534), func() { _, info, err = readFile(path) }); became != nil {
		t.Skip(became)
	}
	if fileError(err) != "permission denied" || info == nil || info.Mode().Perm() != 0o640 {
		t.Errorf("uid 65534 read it: %v, %v", info, err)
	}
	// The others kept their identity.
	for range 20 {
		if _, _, err := readFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	readingAs(UID(65534), func() { _, _, err = readFile(path) })
	if err != nil {
		t.Error(err)
	}
}

func TestNamesAreCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lookNames(ctx, "localhost", UID(uint32(os.Getuid())), false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
