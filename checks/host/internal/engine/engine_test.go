package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// serve answers as an engine does, over its socket.
func serve(t *testing.T, answers map[string]string) Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.RequestURI()]
		switch {
		case r.Method != http.MethodGet:
			t.Errorf("%s %s: it is only to be read", r.Method, r.URL)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case text == "forbidden":
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprint(w, text)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return Engine{"docker", func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) }}
}

func TestPublishing(t *testing.T) {
	id := strings.Repeat("3f2a", 16)
	e := serve(t, map[string]string{
		"/containers/json?all=1": `[
			{"Id":"` + id + `","Names":["/shop-web-1"],"Image":"shop","State":"exited","Status":"Exited (1) 3 minutes ago","Ports":[],
			 "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web",
			  "com.docker.compose.project.config_files":"/srv/shop/compose.yaml,/srv/shop/dev.yaml","com.docker.compose.project.working_dir":"/srv/shop"}},
			{"Id":"b","Names":["/b"],"State":"running","Ports":[{"IP":"0.0.0.0","PrivatePort":62893,"PublicPort":80,"Type":"tcp"}]},
			{"Id":"c","Names":["/c"],"State":"exited","Ports":[]},
			{"Id":"d","Names":["/d"],"State":"running","Ports":[{"IP":"::","PrivatePort":80,"PublicPort":62893,"Type":"tcp"}]},
			{"Id":"gone","State":"exited"}]`,
		"/containers/" + id + "/json": `{"RestartCount":4,"State":{"ExitCode":1,"OOMKilled":false,"FinishedAt":"2026-11-22T09:00:00.5Z"},"Config":{"Tty":false},
			"HostConfig":{"NetworkMode":"shop_default","PortBindings":{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"62893"}]}}}`,
		"/containers/" + id + "/logs?stdout=1&stderr=1&tail=5": "\x01\x00\x00\x00\x00\x00\x00\x04one\n\x02\x00\x00\x00\x00\x00\x00\x09two\nthree",
		"/containers/c/json": `{"HostConfig":{"PortBindings":{"62893/tcp":[{"HostIp":"","HostPort":"80"}],"62893/udp":[{"HostPort":"62893"}]}}}`,
		"/containers/b/json": `{"NetworkSettings":{"Ports":{"62893/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"}]}}}`,
		"/containers/d/json": `{"State":{"Pid":4121,"StartedAt":"2026-11-22T09:00:00Z","FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"unhealthy","Log":[{"Output":"old"},{"Output":"wget: refused\n"}]}},
			"Config":{"ExposedPorts":{"80/tcp":{},"81/tcp":{}},"Healthcheck":{"Test":["CMD-SHELL","wget -q http://localhost:81/"]}},"HostConfig":{"NetworkMode":"shop_default"},
			"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"::","HostPort":"62893"}]},"Networks":{"shop_default":{"IPAddress":"172.18.0.2","GlobalIPv6Address":""}}}}`,
	})
	got, err := e.Containers(t.Context(), Query{Port: 62893})
	pub := func(host string, port uint16) facts.Publication {
		return facts.Publication{Host: netip.MustParseAddrPort(host), Port: port}
	}
	want := []facts.Container{
		{Engine: "docker", ID: "d", Name: "d", State: "running", Publish: "[::]:62893->80/tcp", Ports: []facts.Publication{pub("[::]:62893", 80), {Port: 81}},
			PID: 4121, Network: "shop_default", Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}, Health: "unhealthy", Checked: "wget: refused",
			Check: []string{"CMD-SHELL", "wget -q http://localhost:81/"}, Started: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)},
		{Engine: "docker", ID: "b", Name: "b", State: "running", Ports: []facts.Publication{pub("0.0.0.0:80", 62893)}},
		{Engine: "docker", ID: "3f2a3f2a3f2a", Name: "shop-web-1", Image: "shop", Project: "shop", Service: "web", State: "exited", Status: "Exited (1) 3 minutes ago",
			Files: []string{"/srv/shop/compose.yaml", "/srv/shop/dev.yaml"}, Dir: "/srv/shop", Network: "shop_default",
			Exit: 1, Ended: time.Date(2026, 11, 22, 9, 0, 0, 5e8, time.UTC), Restarts: 4, Publish: "127.0.0.1:62893->8080/tcp", Ports: []facts.Publication{pub("127.0.0.1:62893", 8080)}, Log: []string{"one", "two", "three"}},
	}
	if err != nil || !reflect.DeepEqual(got.Found, want) {
		t.Errorf("got\n\t%+v, %v\nwant\n\t%+v", got.Found, err, want)
	}
}

func TestForbidden(t *testing.T) {
	if _, err := serve(t, map[string]string{"/containers/json?all=1": "forbidden"}).Containers(t.Context(), Query{Port: 1}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

func TestInRange(t *testing.T) {
	for s, want := range map[string]bool{"62893": true, "62890-62900": true, "62893-": false, "": false, "628930": false, "80-90": false} {
		if got := inRange(s, 62893); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x04one\n\x02\x00\x00\x00\xff\xff\xff\xfftwo"))
	f.Add([]byte(`{"HostConfig":{"PortBindings":{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"62893-70000"}]}}}`))
	f.Add([]byte(`{"Id":"x","Names":[""],"Ports":[{"IP":"%","PublicPort":62893,"Type":"tcp"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(Unframe(data)) > len(data) {
			t.Error("more came out than went in")
		}
		var s summary
		if json.NewDecoder(bytes.NewReader(data)).Decode(&s) == nil {
			s.container("docker")
			s.rank(Query{Port: 62893})
		}
		var d detail
		if json.Unmarshal(data, &d) == nil {
			c := facts.Container{}
			d.add(&c, Query{Port: 62893})
			if c.Publish != "" && (len(c.Ports) == 0 || c.Ports[0].Host.Port() != 62893) {
				t.Errorf("it is published as %s, and %v", c.Publish, c.Ports)
			}
		}
	})
}

// A NodePort shows at no container: the node of the cluster is told if the port may be one.
func TestNodesOfClusters(t *testing.T) {
	for port, want := range map[uint16]int{30080: 1, 62893: 0} {
		e := serve(t, map[string]string{
			"/containers/json?all=1": `[{"Id":"a","Names":["/kind-control-plane"],"Image":"kindest/node:v1.29.2","State":"running","Ports":[]},
				{"Id":"b","Names":["/b"],"Image":"shop","State":"running","Ports":[]},{"Id":"c","Names":["/old"],"Image":"kindest/node:v1.20.0","State":"exited","Ports":[]}]`,
			"/containers/a/json": `{"State":{"Pid":4121}}`, "/containers/b/json": `{}`, "/containers/c/json": `{}`,
		})
		got, err := e.Containers(t.Context(), Query{Port: port})
		if err != nil || len(got.Found) != want || want > 0 && got.Found[0].Name != "kind-control-plane" {
			t.Errorf("port %d: %v, %+v", port, err, got.Found)
		}
	}
}
