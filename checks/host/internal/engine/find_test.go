package engine

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const threeOfThem = `[
	{"Id":"3f2aAAAA","Names":["/shop-web","/other/alias"],"Image":"shop","State":"running","Labels":{"com.docker.compose.service":"web","com.docker.compose.project":"shop"}},
	{"Id":"3f2aBBBB","Names":["/shop-db"],"Image":"db","State":"running","Labels":{"com.docker.compose.service":"db"}},
	{"Id":"9c1bCCCC","Names":["/blog-web"],"Image":"blog","State":"exited","Labels":{"com.docker.compose.service":"web"}},
	{"Id":"9c1bDDDD","Names":["/k8s_web"],"State":"running","Labels":{"io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-1","io.kubernetes.container.name":"web"}},
	{"Id":"9c1bEEEE","Names":["/k8s_log"],"State":"running","Labels":{"io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-1","io.kubernetes.container.name":"log"}},
	{"Id":"9c1bFFFF","Names":["/k8s_POD"],"State":"running","Labels":{"io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-1","io.kubernetes.container.name":"POD"}},
	{"Id":"9c1b0000","Names":["/k8s_box"],"State":"running","Labels":{"io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-1","io.kubernetes.docker.type":"podsandbox"}}]`

func findable(t *testing.T) Engine {
	t.Helper()
	answers := map[string]string{"/containers/json?all=1": threeOfThem}
	for _, id := range []string{"3f2aBBBB", "9c1bCCCC", "9c1bDDDD", "9c1bEEEE", "9c1bFFFF", "9c1b0000"} {
		answers["/containers/"+id+"/json"] = `{}`
	}
	answers["/containers/3f2aAAAA/json"] = `{"State":{"Pid":4121,"Health":{"Status":"healthy"}},"Config":{"Healthcheck":{"Test":["CMD","wget","http://localhost/"]}},
		"HostConfig":{"NetworkMode":"shop_default"},"NetworkSettings":{"Networks":{"shop_default":{},"back":{}}}}`
	return serve(t, answers)
}

// A name means what the engine's own commands take it for.
func TestFind(t *testing.T) {
	for name, want := range map[string][]string{
		"shop-web":             {"shop-web"},
		"/shop-web":            {"shop-web"},
		"other/alias":          {"shop-web"},
		"3f2aA":                {"shop-web"},
		"3f2a":                 {"shop-web", "shop-db"}, // two ids begin so
		"web":                  {"shop-web", "blog-web"},
		"db":                   {"shop-db"},
		"":                     nil,
		"/":                    nil,
		"nobody":               nil,
		"3f2aAAAA/../3f2aBBBB": nil,
	} {
		got, err := findable(t).Find(t.Context(), name)
		var names []string
		for _, m := range got {
			names = append(names, m.Name)
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%q: %v, %v; want %v", name, names, err, want)
		}
	}
	got, err := findable(t).Find(t.Context(), "shop-web")
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	m := got[0]
	if m.PID != 4121 || m.FullID != "3f2aAAAA" || m.Health != "healthy" || m.Network != "shop_default" || m.Service != "web" || m.Project != "shop" ||
		!slices.Equal(m.Networks, []string{"back", "shop_default"}) || !slices.Equal(m.Check, []string{"CMD", "wget", "http://localhost/"}) {
		t.Errorf("%+v", m)
	}
}

func TestFindPod(t *testing.T) {
	for asked, want := range map[[3]string][]string{
		{"shop", "web-1", ""}:    {"web", "log"}, // not what only keeps the namespaces
		{"shop", "web-1", "log"}: {"log"},
		{"shop", "web-1", "POD"}: nil,
		{"shop", "web-2", ""}:    nil,
		{"default", "web-1", ""}: nil,
	} {
		got, err := findable(t).FindPod(t.Context(), asked[0], asked[1], asked[2])
		var names []string
		for _, m := range got {
			names = append(names, m.Name)
			if m.Pod != "shop/web-1" {
				t.Errorf("%v: pod %q", asked, m.Pod)
			}
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%v: %v, %v; want %v", asked, names, err, want)
		}
	}
}

func TestFindIsBounded(t *testing.T) {
	var list []string
	for range 100 {
		list = append(list, `{"Id":"3f2a","Names":["/shop-web"],"State":"running"}`)
	}
	e := serve(t, map[string]string{"/containers/json?all=1": "[" + strings.Join(list, ",") + "]", "/containers/3f2a/json": `{}`})
	if got, err := e.Find(t.Context(), "shop-web"); err != nil || len(got) != maxMeant {
		t.Errorf("%d, %v", len(got), err)
	}
	if _, err := serve(t, map[string]string{"/containers/json?all=1": "forbidden"}).Find(t.Context(), "x"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// Podman's own interface keeps the command that made a container on the host's network.
func TestDiscarded(t *testing.T) {
	e := serve(t, map[string]string{
		"/containers/json?all=1": `[{"Id":"a","Names":["/shop-web"],"Image":"localhost/shop:latest","State":"running","Ports":[],"NetworkSettings":{"Networks":null}},
			{"Id":"b","Names":["/other"],"Image":"localhost/shop:latest","State":"running","Ports":[],"NetworkSettings":{"Networks":null}}]`,
		"/containers/a/json":               `{"State":{"Pid":4121},"HostConfig":{"NetworkMode":"host","PortBindings":{}}}`,
		"/containers/b/json":               `{"State":{"Pid":4122},"HostConfig":{"NetworkMode":"slirp4netns"}}`,
		"/v4.0.0/libpod/containers/a/json": `{"Config":{"CreateCommand":["podman","run","-d","--network","host","-p","62893:8080","shop","httpd","-p","80:90"]}}`,
	})
	e.Name = "podman"
	got, err := e.Containers(t.Context(), Query{Port: 62893})
	if err != nil || len(got.Found) != 1 || got.Partial != "" || len(got.Found[0].Ignored) != 1 || got.Found[0].Ignored[0].Host.String() != "0.0.0.0:62893" || got.Found[0].Ignored[0].Port != 8080 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPublishOptions(t *testing.T) {
	for line, want := range map[string]string{
		"podman run -p 62893:8080 shop":                        "0.0.0.0:62893->8080",
		"podman run -p127.0.0.1:62893:8080/tcp shop":           "127.0.0.1:62893->8080",
		"podman run --publish=[::1]:62893:8080 shop":           "[::1]:62893->8080",
		"podman run --publish 127.0.0.1:62890-62899:8080 shop": "127.0.0.1:62893->8080",
		"podman run -p 53:53/udp -p 8443:443 shop":             "0.0.0.0:53->53/udp 0.0.0.0:8443->443",
		"podman run --network host shop httpd -p 62893:8080":   "",
		"podman run docker.io/library/shop:latest -p 62893:80": "",
		"podman run -p": "",
		"podman run -p x:y -p ::: -p 62893:8080/sctp --publish": "",
		"": "",
	} {
		var got []string
		for _, p := range PublishOptions(strings.Fields(line), "docker.io/library/shop:latest", 62893) {
			text, _ := json.Marshal(p.Port)
			got = append(got, p.Host.String()+"->"+string(text)+cond(p.UDP, "/udp", ""))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// FuzzFind has an engine say anything about a container that is looked for.
func FuzzFind(f *testing.F) {
	f.Add(threeOfThem, "web", "-p 62893:80")
	f.Add(`[{"Id":"\u0000","Names":["/"],"Labels":{"io.kubernetes.pod.name":"x"}}]`, "\x00", "--publish=::")
	f.Fuzz(func(t *testing.T, data, name, words string) {
		ps := PublishOptions(strings.Fields(words), name, 62893)
		if len(ps) > maxPorts || slices.ContainsFunc(ps, func(p facts.Publication) bool { return p.Host.Addr().Zone() != "" }) {
			t.Errorf("%q: %v", words, ps)
		}
		var list []summary
		if json.Unmarshal([]byte(data), &list) != nil {
			return
		}
		for _, s := range which(list, func(s summary) bool { return strings.HasPrefix(s.ID, name) }) {
			if c := s.container("docker"); len(c.ID) > 12 || len(c.Name) > 100 {
				t.Errorf("%+v", c)
			}
		}
	})
}
