package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
)

// realClients are the programs with which the table of clients is compared: each
// prints the addresses of the name $1 in the order in which it tries them.
// Those of a kind that takes the first one alone print that one.
var realClients = map[string]struct {
	first bool
	args  []string
}{
	"Python":            {args: []string{"/usr/bin/python3", "-c", "import socket, sys\nfor a in socket.getaddrinfo(sys.argv[1], 9, type=socket.SOCK_STREAM): print(a[4][0])"}},
	"Node 16 and older": {args: []string{"node", "--dns-result-order=ipv4first", "-e", lookupInNode}, first: true},
	"Node 17 to 19":     {args: []string{"node", "--dns-result-order=verbatim", "-e", lookupInNode}, first: true},
	"Node 20 and newer": {args: []string{"node", "-e", lookupInNode}},
	"Go":                {args: []string{"go-own"}},
	"Go with cgo":       {args: []string{"go-cgo"}},
	"C library (musl)":  {args: []string{"with-musl"}},
	"C library (glibc)": {args: []string{"with-glibc"}},
	"Java":              {args: []string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", ".", "Names"}, first: true},
	"curl":              {args: []string{"sh", "-c", `curl -sv --max-time 3 "http://$0:9/"`}},
	"BusyBox wget":      {args: []string{"sh", "-c", `busybox wget -O - "http://$0:9/"`}, first: true},
}

// lookupInNode is what net.connect asks for (lib/net.js, lookupAndConnect).
const lookupInNode = `const dns = require("dns");
dns.lookup(process.argv[1], {all: true, hints: dns.ADDRCONFIG}, (e, all) => { for (const a of all || []) console.log(a.address) })`

// lookupInGo is what net.Dial asks for: LookupHost would not sort.
const lookupInGo = `package main
import ("fmt"; "net"; "os")
func main() { addrs, _ := net.LookupIP(os.Args[1]); for _, a := range addrs { fmt.Println(a) } }
`

const lookupInC = `#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
int main(int n, char **args) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
	char text[64];
	if (n < 2 || getaddrinfo(args[1], "9", &hints, &all)) return 0;
	for (; all; all = all->ai_next)
		if (!getnameinfo(all->ai_addr, all->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST)) puts(text);
	return 0;
}
`

const lookupInJava = `import java.net.InetAddress;
class Names { public static void main(String[] args) throws Exception {
	try { for (InetAddress a : InetAddress.getAllByName(args[0])) System.out.println(a.getHostAddress()); }
	catch (java.net.UnknownHostException e) {}
} }
`

// TestClientsLikeTheRealOnes compares what the table says of each kind of client
// with what that program does, under many hosts files and orders of sources, in
// namespaces of its own.
func TestClientsLikeTheRealOnes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a few hundred programs")
	}
	dir := os.Getenv("LOOPDOCTOR_TEST_CLIENTS")
	if dir == "" {
		dir = t.TempDir()
		buildClients(t, dir)
		inOwnNamespaces(t, "LOOPDOCTOR_TEST_CLIENTS="+dir)
		return
	}
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"hosts": "/etc/hosts", "nss": "/etc/nsswitch.conf", "hostconf": "/etc/host.conf", "resolv": "/etc/resolv.conf"}
	for name, over := range files {
		mine := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(mine, nil, 0o644), unix.Mount(mine, over, "", unix.MS_BIND, "")); err != nil {
			t.Skipf("no %s to mount over: %v", over, err)
		}
	}
	compared := map[string]int{}
	const both, multi, usual = "127.0.0.1 localhost\n::1 localhost\n", "multi on\n", "hosts: files dns\n"
	for name, c := range map[string]struct{ ask, hosts, nss, hostconf, server, net string }{
		"both":                         {hosts: both},
		"both, without multi":          {hosts: both, hostconf: "# nothing\n"},
		"IPv6 first":                   {hosts: "::1 localhost\n127.0.0.1 localhost\n"},
		"IPv4 alone":                   {hosts: "127.0.0.1 localhost\n"},
		"IPv6 alone":                   {hosts: "::1 localhost\n"},
		"nothing":                      {hosts: "127.0.0.1 other\n"},
		"another address":              {hosts: "10.0.0.9 localhost\n"},
		"another address, too":         {hosts: "127.0.0.1 localhost\n10.0.0.9 localhost\n"},
		"another loopback address":     {hosts: "127.0.1.1 localhost\n::1 localhost\n"},
		"capitals":                     {hosts: "127.0.0.1 LocalHost\n"},
		"a mapped address":             {hosts: "::ffff:127.0.0.1 localhost\n"},
		"subdomain":                    {hosts: both, ask: "app.localhost"},
		"subdomain with a line":        {hosts: both + "127.0.0.1 app.localhost\n", ask: "app.localhost"},
		"the host's name":              {hosts: both + "127.0.1.1 shop\n", ask: "shop"},
		"no line":                      {hosts: both, nss: "passwd: files\n"},
		"files alone":                  {hosts: both, nss: "hosts: files\n"},
		"files alone, nothing":         {nss: "hosts: files\n", server: "127.0.0.9"},
		"dns alone":                    {hosts: both, nss: "hosts: dns\n", server: "127.0.0.9"},
		"dns first":                    {hosts: both, nss: "hosts: dns files\n", server: "127.0.0.9"},
		"dns first knows it not":       {hosts: both, nss: "hosts: dns files\n", server: "NXDOMAIN"},
		"dns knows it not":             {nss: usual, server: "NXDOMAIN"},
		"dns knows it not and ends":    {hosts: both, nss: "hosts: dns [NOTFOUND=return] files\n", server: "NXDOMAIN"},
		"files end":                    {hosts: both, nss: "hosts: files [NOTFOUND=return] dns\n", server: "127.0.0.9"},
		"success goes on":              {hosts: both, nss: "hosts: files [SUCCESS=continue] dns\n", server: "127.0.0.9"},
		"negated":                      {hosts: both, nss: "hosts: dns [!UNAVAIL=return] files\n", server: "NXDOMAIN"},
		"an unknown source":            {hosts: both, nss: "hosts: nosuch files\n"},
		"an unknown source alone":      {hosts: both, nss: "hosts: nosuch\n", server: "127.0.0.9"},
		"myhostname that is not there": {nss: "hosts: files myhostname\n", server: "127.0.0.9"},
		"mdns":                         {hosts: both, nss: "hosts: files mdns4_minimal [NOTFOUND=return] dns\n"},
		"machine of IPv4":              {hosts: both, net: "10.1.1.1/24"},
		"machine of IPv4, one line":    {hosts: "::1 localhost\n", net: "10.1.1.1/24"},
		"machine of IPv4, no multi":    {hosts: "::1 localhost\n127.0.0.1 localhost\n", hostconf: "#\n", net: "10.1.1.1/24"},
		"machine of IPv6":              {hosts: both, net: "fd00::1/64"},
		"lo without ::1":               {hosts: both, net: "del ::1/128"},
	} {
		t.Run(name, func(t *testing.T) {
			for file, text := range map[string]string{"hosts": c.hosts, "nss": or(c.nss, usual), "hostconf": or(c.hostconf, multi), "resolv": "options timeout:1 attempts:1\nnameserver 127.0.0.1\n"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			settle(t, c.net)
			if c.server != "" {
				answerDNS(t, c.server)
			}
			ask := or(c.ask, "localhost")
			fs, err := host.Gather(t.Context(), []facts.Target{{Raw: ask + ":9", Host: ask, Named: true, Network: "tcp", Port: 9, Intent: facts.Connect}}, host.Options{NoCapture: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, is := range checks.Clients(fs[0]) {
				real, ok := realClients[is.Name]
				if !ok || !present(dir, real.args[0]) || is.Unknown != "" {
					continue
				}
				want, got := addressesOf(t, dir, append(slices.Clone(real.args), ask)), texts(is.Addresses)
				compared[is.Name]++
				if real.first {
					want, got = want[:min(1, len(want))], got[:min(1, len(got))]
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: the table says %v, the real one %v", is.Name, got, want)
				}
			}
		})
	}
	t.Logf("compared: %v", compared)
	if compared["Python"] == 0 {
		t.Error("not even Python was compared")
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func texts(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// present tells whether a client is there: built, or installed.
func present(dir, name string) bool {
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return true
	}
	_, err := exec.LookPath(name)
	if name == "java" {
		_, err = os.Stat(filepath.Join(dir, "Names.class"))
	}
	return err == nil
}

// anAddress finds addresses in what curl, wget and the others print.
var anAddress = regexp.MustCompile(`(?m)^(?:\*\s+Trying \[?([0-9a-f:.]+?)\]?:9\.\.\.|Connecting to \S+ \(\[?([0-9a-f:.]+?)\]?:9\)|([0-9a-f:.]+))$`)

func addressesOf(t *testing.T, dir string, args []string) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, args[0])); err == nil {
		args[0] = filepath.Join(dir, args[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "http_proxy=", "all_proxy=", "GODEBUG=", "NODE_OPTIONS=")
	out, _ := cmd.CombinedOutput() // a client that is refused fails
	var list []string
	for _, m := range anAddress.FindAllStringSubmatch(string(out), -1) {
		if a, err := netip.ParseAddr(m[1] + m[2] + m[3]); err == nil && !slices.Contains(list, a.Unmap().String()) {
			list = append(list, a.Unmap().String())
		}
	}
	return list
}

// buildClients builds what can be built here; what cannot is not compared.
func buildClients(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{"go.mod": "module names\n", "names.go": lookupInGo, "names.c": lookupInC, "Names.java": lookupInJava} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"env", "CGO_ENABLED=0", "go", "build", "-o", "go-own", "."},
		{"env", "CGO_ENABLED=1", "go", "build", "-o", "go-cgo", "names.go"},
		{"gcc", "-o", "with-glibc", "names.c"},
		{"musl-gcc", "-static", "-o", "with-musl", "names.c"},
		{"javac", "Names.java"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("not compared, %v: %v %s", args, err, out)
		}
	}
}

// inOwnNamespaces runs this very test again where mounts and network are its own.
func inOwnNamespaces(t *testing.T, env string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil || strings.Contains(string(out), "--- SKIP") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// settle gives the machine an address beside loopback's, or takes one away.
func settle(t *testing.T, what string) {
	t.Helper()
	ip := func(args string) {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v %s", args, err, out)
		}
	}
	if addr, ok := strings.CutPrefix(what, "del "); ok {
		ip("addr del " + addr + " dev lo")
		t.Cleanup(func() { exec.Command("ip", "addr", "add", addr, "dev", "lo").Run() })
	} else if what != "" {
		ip("addr add " + what + " dev lo")
		t.Cleanup(func() { exec.Command("ip", "addr", "del", what, "dev", "lo").Run() })
	}
}

// answerDNS is a name server on 127.0.0.1 that answers every question for IPv4
// with the address, or with NXDOMAIN.
func answerDNS(t *testing.T, say string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := buf[:n]
			end := 12 // RFC 1035 section 4.1: header, then labels, type and class
			for end < n && q[end] != 0 {
				end += int(q[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			m := slices.Clone(q[:end])
			copy(m[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}) // an answer, recursion available
			a, err := netip.ParseAddr(say)
			switch {
			case err != nil:
				m[3] |= 3 // NXDOMAIN
			case q[end-3] == 1: // type A
				m[7] = 1
				m = append(m, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
				m = append(m, a.AsSlice()...)
			}
			pc.WriteTo(m, from)
		}
	}()
}
