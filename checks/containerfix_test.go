package checks

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// fixedContainer is one that docker run made; ofCompose makes it one of a compose project.
func fixedContainer(more ...func(*facts.Container)) *facts.Container {
	c := &facts.Container{Engine: "docker", ID: "3f2a5b6c7d8e", Name: "web", Image: "shop:1.2", State: "running", Network: "bridge", Addresses: []netip.Addr{netip.MustParseAddr("172.17.0.2")},
		Inside: &facts.Indoors{Listeners: []facts.Socket{{Local: netip.MustParseAddrPort("0.0.0.0:8080")}}}}
	for _, m := range more {
		m(c)
	}
	return c
}

func ofCompose(c *facts.Container) {
	c.Project, c.Service, c.Dir, c.Files = "shop", "web", "/srv/shop", []string{"/srv/shop/compose.yaml"}
}

func fixPublished(host string, inner uint16) func(*facts.Container) {
	return func(c *facts.Container) {
		c.Ports = append(c.Ports, facts.Publication{Host: netip.MustParseAddrPort(host), Port: inner})
	}
}

func fixText(fixes []Fix) string {
	var b strings.Builder
	for _, x := range fixes {
		b.WriteString(x.Do + " | " + x.Paste + " | " + x.Risk + " | " + x.Interrupts + "\n")
	}
	return b.String()
}

func TestWhatToWriteToPublish(t *testing.T) {
	with := func(change func(*facts.Container)) *facts.Container { return fixedContainer(change) }
	for _, test := range []struct {
		name   string
		target string
		c      *facts.Container
		want   []string
		not    string
	}{
		{"docker run", "127.0.0.1", fixedContainer(), []string{"docker run -p 127.0.0.1:62893:8080 … shop:1.2`", "use 172.17.0.2:8080", "in none of its volumes is lost"}, "compose"},
		{"IPv6 was asked for", "::1", fixedContainer(), []string{"-p [::1]:62893:8080"}, "127.0.0.1"},
		{"podman run", "127.0.0.1", with(func(c *facts.Container) { c.Engine, c.Rootless = "podman", true }), []string{"podman run -p 127.0.0.1:62893:8080 … shop:1.2`"}, "172.17.0.2"},
		{"the wrong port is published", "127.0.0.1", fixedContainer(fixPublished("127.0.0.1:62893", 80)), []string{"`-p 127.0.0.1:62893:8080` instead of `-p 127.0.0.1:62893:80`"}, ""},
		{"another one is published too", "127.0.0.1", fixedContainer(fixPublished("127.0.0.1:443", 8443)), []string{"with `-p 127.0.0.1:62893:8080`:"}, "instead"},
		{"compose", "127.0.0.1", fixedContainer(ofCompose), []string{"In /srv/shop/compose.yaml, under services: web: ports: write `- \"127.0.0.1:62893:8080\"`, then `docker compose -f /srv/shop/compose.yaml up -d web`"}, "docker run"},
		{"compose, the wrong port", "127.0.0.1", fixedContainer(ofCompose, fixPublished("0.0.0.0:62893", 80)), []string{`write ` + "`- \"127.0.0.1:62893:8080\"` instead of \"0.0.0.0:62893:80\""}, ""},
		{"compose, two files and a name of its own", "127.0.0.1", fixedContainer(ofCompose, func(c *facts.Container) { c.Project, c.Files = "blue", append(c.Files, "/srv/shop/dev.yaml") }),
			[]string{"`docker compose -p blue -f /srv/shop/compose.yaml -f /srv/shop/dev.yaml up -d web`"}, ""},
		{"compose, of which no file is known", "127.0.0.1", fixedContainer(ofCompose, func(c *facts.Container) { c.Files = nil }), []string{"In the compose file of the project shop, under services: web:", "`docker compose up -d web`"}, ""},
		{"compose of a rootless podman", "127.0.0.1", fixedContainer(ofCompose, func(c *facts.Container) {
			c.Engine, c.Rootless, c.Socket = "podman", true, "/run/user/1000/podman/podman.sock"
		}), []string{"`podman --url unix:///run/user/1000/podman/podman.sock compose -f"}, "172.17"},
		{"the host's network", "127.0.0.1", with(func(c *facts.Container) { c.Network = "host" }), []string{"listen on port 62893 itself"}, "-p"},
		{"the network of another container", "127.0.0.1", with(func(c *facts.Container) { c.Network = "container:db" }), []string{"Give `-p 127.0.0.1:62893:8080` to the container db"}, ""},
		{"a pod of Podman", "127.0.0.1", with(func(c *facts.Container) { c.Engine, c.Pod = "podman", "shop" }), []string{"the pod shop again with `-p 127.0.0.1:62893:8080` at podman pod create", "every container of the pod"}, "run -p"},
		{"a pod of Kubernetes", "127.0.0.1", with(func(c *facts.Container) { c.Engine, c.Pod = "containerd", "shop/web-1" }), []string{"kubectl port-forward -n shop pod/web-1 62893:8080", "targetPort: 8080", "hostPort: 62893", "containerPort: 8080 is a remark"}, "docker"},
		{"nobody listens there yet", "127.0.0.1", with(func(c *facts.Container) { c.Inside = nil }), []string{"docker run -p"}, "172.17"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := machine(test.target)
			f.Host.OS = "linux"
			got := fixText(publishFixes(f, test.c, port, 8080))
			for _, w := range test.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is missing in\n%s", w, got)
				}
			}
			if test.not != "" && strings.Contains(got, test.not) {
				t.Errorf("%q is in\n%s", test.not, got)
			}
		})
	}
}

// Each program is told in its own words, and the command that has it listen on
// loopback is quoted.
func TestHowToListenInAContainer(t *testing.T) {
	for _, test := range []struct{ name, exe, args, want string }{
		{"flask", "/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/flask run -p 8080", "flask run --host 0.0.0.0"},
		{"flask", "/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/flask run -p 8080", "-e FLASK_RUN_HOST=0.0.0.0"},
		{"python3", "", "python3 -m flask run --host=127.0.0.1", "write `--host=0.0.0.0` instead of `--host=127.0.0.1`"},
		{"python3", "", "python3 -m flask run -h 127.0.0.1", "The command"},
		{"python3", "", "python3 manage.py runserver 8080", "manage.py runserver 0.0.0.0:8080"},
		{"python3", "", "python3 manage.py runserver localhost:8080", "write `0.0.0.0:8080` instead of `localhost:8080`"},
		{"uvicorn", "", "/usr/bin/python3 /usr/bin/uvicorn shop:app --port 8080", "-e UVICORN_HOST=0.0.0.0"},
		{"python3", "", "python3 -m uvicorn shop:app --host localhost --port 8080", "write `--host 0.0.0.0` instead of `--host localhost`"},
		{"fastapi", "", "/usr/bin/python3 /usr/bin/fastapi dev --port 8080", "--host 0.0.0.0"},
		{"gunicorn", "", "/usr/bin/python3 /usr/bin/gunicorn -b 127.0.0.1:8080 shop:app", "write `-b 0.0.0.0:8080` instead of `-b 127.0.0.1:8080`"},
		{"gunicorn", "", "gunicorn: master [shop:app]", "-e GUNICORN_CMD_ARGS=--bind=0.0.0.0:8080"},
		{"node", "", "node /app/node_modules/.bin/vite --port 8080", "vite --host 0.0.0.0"},
		{"next-server (v1", "", "next-server (v15.1)", "-e HOSTNAME=0.0.0.0"},
		{"node", "", "node /app/node_modules/.bin/webpack-dev-server", "devServer.host: '0.0.0.0'"},
		{"node", "", "node /app/node_modules/.bin/ng serve", "ng serve --host 0.0.0.0"},
		{"node", "", "node server.js", "server.listen(8080, '0.0.0.0')"},
		{"deno", "", "deno run -A main.ts", "hostname: '0.0.0.0'"},
		{"bun", "", "bun run index.ts", "hostname: '0.0.0.0'"},
		{"puma", "", "puma 6.4.2 (tcp://127.0.0.1:8080) [shop]", "rails server -b 0.0.0.0"},
		{"ruby", "", "ruby app.rb", "set :bind, '0.0.0.0'"},
		{"java", "", "java -jar shop.jar", "-e SERVER_ADDRESS=0.0.0.0"},
		{"java", "", "java -jar shop.jar --server.address=127.0.0.1", "write `--server.address=0.0.0.0`"},
		{"nginx", "", "nginx: master process nginx -g daemon off;", "listen 8080; in the server block"},
		{"httpd", "", "", "Listen 8080"},
		{"redis-server", "", "redis-server 127.0.0.1:8080", "requirepass"},
		{"postgres", "", "postgres", "listen_addresses = '*'"},
		{"mariadbd", "", "", "bind-address = 0.0.0.0"},
		{"php", "", "php -S localhost:8080 -t public", "write `-S 0.0.0.0:8080` instead of `-S localhost:8080`"},
		{"python3", "", "python3 -m http.server --bind 127.0.0.1 8080", "write `--bind 0.0.0.0` instead of `--bind 127.0.0.1`"},
		{"jupyter-lab", "", "/usr/bin/python3 /usr/bin/jupyter-lab", "--ip 0.0.0.0"},
		{"dotnet", "", "dotnet Shop.dll", "-e ASPNETCORE_URLS=http://+:8080"},
		{"dotnet", "", "dotnet Shop.dll --urls http://localhost:8080", "write `http://0.0.0.0:8080` instead of `http://localhost:8080`"},
		{"shop", "/app/shop", "/app/shop", `(Go: ":8080")`},
		{"shop", "/app/shop", "/app/shop --db-host localhost --cache 127.0.0.1:6379", `(Go: ":8080")`},
		{"docker-proxy", "", "", `(Go: ":8080")`},
	} {
		p := facts.Process{Name: test.name, Exe: test.exe, Args: strings.Fields(test.args)}
		got := fixText(listenFixes(machine("127.0.0.1"), fixedContainer(), []facts.Process{p}, 8080))
		if want := strings.Replace(test.want, "The command", "write `-h 0.0.0.0` instead of `-h 127.0.0.1`", 1); !strings.Contains(got, want) {
			t.Errorf("%s (%s): %q is missing in\n%s", test.name, test.args, want, got)
		}
	}
}

// Whoever opens a port is told to whom, and where it is written.
func TestWhereToWriteIt(t *testing.T) {
	flask := []facts.Process{{Name: "flask", Args: []string{"flask", "run"}}}
	for _, test := range []struct {
		name string
		c    *facts.Container
		ps   []facts.Process
		want string
	}{
		{"published on loopback", fixedContainer(fixPublished("127.0.0.1:62893", 8080)), flask, "others through what is published alone"},
		{"published on all addresses", fixedContainer(fixPublished("0.0.0.0:62893", 8080)), flask, "other machines can reach it then: `127.0.0.1:62893:8080` keeps those out"},
		{"debug mode", fixedContainer(), flask, "whoever reaches it can run code"},
		{"docker", fixedContainer(), flask, "`docker restart -t 5 web` does if what changed lies in a volume"},
		{"compose", fixedContainer(ofCompose), flask, "`docker compose -f /srv/shop/compose.yaml up -d --build web`"},
		{"compose, a variable", fixedContainer(ofCompose), flask, "In /srv/shop/compose.yaml, under services: web: environment: write `- FLASK_RUN_HOST=0.0.0.0`, then `docker compose -f /srv/shop/compose.yaml up -d web`"},
		{"compose, the command", fixedContainer(ofCompose), []facts.Process{{Name: "flask", Args: []string{"flask", "run", "--host", "localhost"}}}, "services: web: command:"},
		{"a pod", fixedContainer(func(c *facts.Container) { c.Engine, c.Pod = "cri-o", "shop/web-1" }), flask, "- {name: FLASK_RUN_HOST, value: \"0.0.0.0\"}"},
	} {
		if got := fixText(listenFixes(machine("127.0.0.1"), test.c, test.ps, 8080)); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q is missing in\n%s", test.name, test.want, got)
		}
	}
}

// Nothing that somebody else has named gets into a command as anything but a word.
func TestNoCommandFromOutside(t *testing.T) {
	const evil = "x;touch /tmp/pwned"
	c := fixedContainer(ofCompose, func(c *facts.Container) {
		c.Name, c.Image, c.Service, c.Project, c.Socket = evil, "$(id)", "`id`", "-p", "/run/a b.sock"
		c.Files = []string{"/srv/$(id)/compose.yaml"}
	})
	if words := onContainer(c, "restart"); words != nil {
		t.Errorf("got %q", words)
	}
	c.Socket = ""
	if got := strings.Join(onContainer(c, "restart"), " "); got != "docker restart 3f2a5b6c7d8e" {
		t.Errorf("got %q", got)
	}
	if got := composeUp(c, true); got != "`docker compose up -d --build`" {
		t.Errorf("got %s", got)
	}
	if got := imageWord(c); got != "IMAGE" {
		t.Errorf("got %s", got)
	}
	for _, x := range publishFixes(machine("127.0.0.1"), fixedContainer(func(c *facts.Container) { c.Engine, c.Pod = "containerd", "shop/"+evil }), port, 80) {
		if x.Paste != "" {
			t.Errorf("got %q", x.Paste)
		}
	}
	for _, c := range []*facts.Container{fixedContainer(func(c *facts.Container) { c.Engine = "containerd" }), fixedContainer(func(c *facts.Container) { c.Engine = "sh -c id" })} {
		if words := engineCmd(c); words != nil {
			t.Errorf("%s: got %q", c.Engine, words)
		}
	}
}

// The other way round too: each server that is not a forwarder can be told to listen on
// all addresses.
func TestEveryServerCanBeOpened(t *testing.T) {
	for _, s := range append(servers, unknownServer) {
		if forwards := len(s.names) > 0 && (facts.Process{Name: s.names[0]}).Forwards(); s.open == "" {
			if !forwards {
				t.Errorf("%v %s cannot", s.names, s.word)
			}
			continue
		}
		for _, got := range []string{s.fill(s.open, v4Loopback, port), s.fill(s.env, v4Loopback, port) + "."} {
			if strings.Contains(got, "{port}") || strings.Contains(got, "{ip}") || strings.Contains(got, "127.0.0.1") && !strings.Contains(got, "instead") || !strings.HasSuffix(got, ".") {
				t.Errorf("%v %s: %q", s.names, s.word, got)
			}
		}
	}
}
