package proxyconf

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func say(ss []facts.ProxySetting) string {
	var out []string
	for _, s := range ss {
		out = append(out, fmt.Sprintf("%s %s=%s :%d", s.Program, s.Name, s.Value, s.Line))
	}
	return strings.Join(out, "; ")
}

func TestFormats(t *testing.T) {
	for _, test := range []struct {
		name   string
		format Format
		text   string
		want   string
	}{
		{"curl", Curl, "# proxy = a\n\nproxy = \"http://127.0.0.1:3128\" # x\n-x b:1\n--noproxy localhost\nuser-agent = x", "curl proxy=http://127.0.0.1:3128 :3; curl proxy=b:1 :4; curl noproxy=localhost :5"},
		{"curl: a colon", Curl, "proxy: http://c:1\nnoproxy = \"\"", "curl proxy=http://c:1 :1; curl noproxy= :2"},
		{"git", Git, "[user]\n\tproxy = no\n[http]\n\tproxy = http://a:1\n[http \"http://localhost:3000\"] proxy = \"\"\n[HTTP]\n;proxy = b\n[https]\nproxy = c", "git http.proxy=http://a:1 :4; git http.http://localhost:3000.proxy= :5"},
		{"npm", NPM, "registry=http://localhost:4873\nproxy=http://a:1\nhttps-proxy = http://b:2\n//registry/:_authToken=x\nnoproxy=localhost", "npm proxy=http://a:1 :2; npm https-proxy=http://b:2 :3; npm noproxy=localhost :5"},
		{"wget", Wget, "#http_proxy = a\nhttps-proxy = http://b:2\nUse_Proxy = off\ntries = 3", "wget https_proxy=http://b:2 :2; wget use_proxy=off :3"},
		{"pip", Pip, "[global]\nproxy = http://a:1\nindex-url = x", "pip proxy=http://a:1 :2"},
		{"docker", Docker, `{"auths":{"x":{"auth":"secret"}},"proxies":{"default":{"httpProxy":"http://a:1","noProxy":"localhost"}}}`, "docker httpProxy=http://a:1 :0; docker noProxy=localhost :0"},
		{"docker: none", Docker, `{"proxies":[]}`, ""},
		{"KDE", KDE, "[Other]\nProxyType=9\n[Proxy Settings]\nProxyType=1\nhttpProxy=http://a 3128\nNoProxyFor=intranet\n", "KDE mode=1 :4; KDE http=http://a 3128 :5; KDE ignore-hosts=intranet :6"},
		{"dconf", DConf, "[system/proxy]\nmode='manual'\nignore-hosts=['a', 'b']\n[system/proxy/http]\nhost='proxy'\nport=3128\n[system/other]\nmode='x'", "GNOME mode=manual :2; GNOME ignore-hosts=['a', 'b'] :3; GNOME http-host=proxy :5; GNOME http-port=3128 :6"},
		{"shell", Variables, "# export http_proxy=x\nexport http_proxy=http://a:1 https_proxy=\"http://b:2\"\nunset http_proxy\nalias p='export NO_PROXY=c'\necho $http_proxy", "shell http_proxy=http://a:1 :2; shell https_proxy=http://b:2 :2; shell NO_PROXY=c :4"},
		{"fish", Variables, "set -gx http_proxy http://a:1", "shell http_proxy=http://a:1 :1"},
		{"unit", Variables, "[Service]\nEnvironment=\"HTTP_PROXY=http://a:1\" NO_PROXY=b,c", "shell HTTP_PROXY=http://a:1 :2; shell NO_PROXY=b,c :2"},
		{"proxychains", Proxychains, "strict_chain\n# localnet 127.0.0.0/255.0.0.0\nlocalnet 10.0.0.0/255.0.0.0\n[ProxyList]\nsocks5 127.0.0.1 1080 ann secret", "proxychains localnet=10.0.0.0/255.0.0.0 :3; proxychains proxy=socks5://127.0.0.1:1080 :5"},
		{"torsocks", Torsocks, "TorAddress 127.0.0.1\nTorPort 9050\n#AllowOutboundLocalhost 1\nAllowInbound 1", "torsocks toraddress=127.0.0.1 :1; torsocks torport=9050 :2"},
		{"tsocks", Tsocks, "local = 127.0.0.0/255.0.0.0\nserver = 127.0.0.1", "tsocks local=127.0.0.0/255.0.0.0 :1; tsocks server=127.0.0.1 :2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := say(test.format([]byte(test.text))); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestMuchIsCut(t *testing.T) {
	if n := len(Curl([]byte(strings.Repeat("proxy = x\n", 1000)))); n != maxFound {
		t.Errorf("%d settings are kept", n)
	}
	if got := Curl([]byte("proxy = " + strings.Repeat("x", maxLine))); len(got) != 0 {
		t.Errorf("a line of %d bytes is kept", maxLine)
	}
}

// The database was written by dconf itself (dconf compile).
func TestGNOME(t *testing.T) {
	data, err := os.ReadFile("testdata/dconf-user")
	if err != nil {
		t.Fatal(err)
	}
	got := GNOME(data)
	slices.SortFunc(got, func(a, b facts.ProxySetting) int { return strings.Compare(a.Name, b.Name) })
	if want := "GNOME autoconfig-url=file:///home/ann/proxy.pac :0; GNOME http-host=proxy.example :0; GNOME http-port=3128 :0; GNOME ignore-hosts=intranet,10.0.0.0/8 :0; GNOME mode=manual :0"; say(got) != want {
		t.Errorf("got  %s\nwant %s", say(got), want)
	}
	for i := range data {
		GNOME(data[:i])
	}
}

func FuzzFormats(f *testing.F) {
	formats := []Format{Curl, Git, NPM, Wget, Pip, Docker, KDE, DConf, Variables, Proxychains, Torsocks, Tsocks, GNOME}
	if data, err := os.ReadFile("testdata/dconf-user"); err == nil {
		f.Add(data)
	}
	f.Add([]byte("[http]\nproxy = \"x\nexport http_proxy='y"))
	f.Add([]byte("[x] = y\n[\n]\n=\n- "))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range formats {
			if got := format(data); len(got) > maxFound {
				t.Errorf("%d settings", len(got))
			}
		}
	})
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"curl -s -x http://a:1 http://b":                     "curl proxy=http://a:1 :0",
		"/usr/bin/curl --noproxy * http://b":                 "curl noproxy=* :0",
		"curl -xa:1 --proxy":                                 "curl proxy=a:1 :0; curl proxy= :0",
		"git -c http.proxy=http://a:1 fetch":                 "git http.proxy=http://a:1 :0",
		"wget --no-proxy http://b":                           "wget use_proxy=off :0",
		"wget -e http_proxy=a:1 -e":                          "wget http_proxy=a:1 :0",
		"java -Dhttp.proxyHost=a -Dx=y -jar b.jar":           "java http.proxyHost=a :0",
		"java \"-Dhttp.nonProxyHosts=\" -DsocksProxyPort=1":  "java http.nonProxyHosts= :0; java socksProxyPort=1 :0",
		"python3 -x http://a:1 -Dhttp.proxyHost=a --noproxy": "",
		"": "",
	} {
		if got := say(Arguments(strings.Fields(args), "")); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}
