package host

import (
	"bufio"
	"encoding/hex"
	"io"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/resolve"
)

// What loopdoctor is inside of: the formats that tell. Nothing of the kind is asked
// over the network, and no name is looked up.

// ciVariables are what the systems for continuous integration set in each job, in
// their documentation of predefined variables.
var ciVariables = []struct{ name, ci string }{
	{"GITHUB_ACTIONS", "github-actions"}, {"GITLAB_CI", "gitlab"}, {"CIRCLECI", "circleci"}, {"BITBUCKET_BUILD_NUMBER", "bitbucket"},
	{"TF_BUILD", "azure-pipelines"}, {"JENKINS_URL", "jenkins"}, {"BUILDKITE", "buildkite"}, {"DRONE", "drone"}, {"TRAVIS", "travis"},
	{"TEAMCITY_VERSION", "teamcity"}, {"CODEBUILD_BUILD_ID", "codebuild"}, {"FORGEJO_ACTIONS", "forgejo"}, {"GITEA_ACTIONS", "gitea"},
}

// ciOf names the system whose job has this environment. Forgejo and Gitea say that
// they are GitHub as well, and are asked first therefore.
func ciOf(environ []string) string {
	for _, v := range slices.Backward(ciVariables) {
		if value := variable(environ, v.name); value != "" && value != "false" && value != "0" {
			return v.ci
		}
	}
	return ""
}

// remoteOf tells how the person came to this machine.
func remoteOf(environ []string) string {
	switch {
	case variable(environ, "CODESPACES") == "true":
		return "codespaces"
	case variable(environ, "GITPOD_WORKSPACE_ID") != "":
		return "gitpod"
	case variable(environ, "SSH_CONNECTION") != "":
		return "ssh"
	}
	return ""
}

func variable(environ []string, name string) string {
	for _, kv := range environ {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// containerEnv reads /run/.containerenv of Podman; it may be empty:
//
//	engine="podman-4.3.1"
//	name="shop-web"
//	id="3f2a9c1b7d5e…"
//	image="docker.io/library/nginx:1.25"
func containerEnv(r io.Reader) facts.Room {
	room := facts.Room{Kind: "container", Engine: "podman"}
	s := bufio.NewScanner(io.LimitReader(r, 16<<10))
	for s.Scan() {
		name, value, ok := strings.Cut(s.Text(), "=")
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		if value = strings.ToValidUTF8(value, "\uFFFD"); !ok || len(value) > 200 {
			continue
		}
		switch name {
		case "name":
			room.Name = value
		case "image":
			room.Image = value
		case "id":
			if isContainerID(value) {
				room.ID = value[:12]
			}
		}
	}
	return room
}

// containerID finds the id of a container in the place from which an engine mounts a
// file: /docker/containers/<id>/hostname, …/overlay-containers/<id>/userdata/hosts.
func containerID(root string) string {
	for part := range strings.SplitSeq(path.Dir(root), "/") {
		if isContainerID(part) {
			return part[:12]
		}
	}
	return ""
}

func isContainerID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 64
}

// routeGateway reads /proc/net/route, where addresses are in the order of the
// machine's bytes, which is little-endian on amd64 and arm64:
//
//	Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
//	eth0	00000000	010011AC	0003	0	0	0	00000000	0	0	0
func routeGateway(r io.Reader) netip.Addr {
	var best netip.Addr
	metric := uint64(1 << 63)
	s := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || f[2] == "00000000" {
			continue
		}
		b, err := hex.DecodeString(f[2])
		m, err2 := strconv.ParseUint(f[6], 10, 32)
		if err == nil && err2 == nil && len(b) == 4 && m < metric {
			best, metric = netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), m
		}
	}
	return best
}

// outerNames are the names that engines write into the hosts file of a container for
// the machine around it.
var outerNames = []string{"host.docker.internal", "host.containers.internal", "host.lima.internal", "gateway.docker.internal"}

// outer finds the first of them that the hosts file has.
func outer(hosts []byte) netip.Addr {
	for _, name := range outerNames {
		for _, line := range resolve.Hosts(hosts, name) {
			if line.Addr.IsValid() && !line.Addr.IsLoopback() {
				return line.Addr
			}
		}
	}
	return netip.Addr{}
}

// hostsHas tells whether a line of the hosts file is about one of the addresses: engines
// write one for a container with a network of its own.
func hostsHas(hosts []byte, addrs []netip.Addr) bool {
	for line := range strings.Lines(string(hosts)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil && slices.Contains(addrs, a.Unmap()) {
			return true
		}
	}
	return false
}
