package secret

import (
	"strings"
	"testing"
)

// TestHeadersCutIntoArguments: nobody quoted them. Arguments are separated by |.
func TestHeadersCutIntoArguments(t *testing.T) {
	for in, want := range map[string]string{
		"curl|-H|Authorization:|Basic|aGk6aGk=|http://localhost/":                          "curl|-H|Authorization:|Basic|***|http://localhost/",
		"curl|-H|AuthoriZation:|bEARER|abc":                                                "curl|-H|AuthoriZation:|bEARER|***",
		"curl|-H|Authorization:Bearer|abcSecretQQ|http://h/":                               "curl|-H|Authorization:Bearer|***|http://h/",
		"curl|-HAuthorization:|Negotiate|YII":                                              "curl|-HAuthorization:|Negotiate|***",
		"curl|-sSHAuthorization:|s3cr3t":                                                   "curl|-sSHAuthorization:|***",
		"curl|-HCookie:|a=s3cr3t":                                                          "curl|-HCookie:|***",
		"curl|--header=Proxy-Authorization:|s3cr3t|-v":                                     "curl|--header=Proxy-Authorization:|***|-v",
		"curl|-H|X-Api-Key:|s3cr3t|http://localhost:80/":                                   "curl|-H|X-Api-Key:|***|http://localhost:80/",
		"curl|-H|X-Api-Key:|-s3cr3t":                                                       "curl|-H|X-Api-Key:|***",
		"curl|--header|Private-Token:|s3cr3t":                                              "curl|--header|Private-Token:|***",
		"curl|-H|Cookie:|sid=s3cr3t|http://localhost/":                                     "curl|-H|Cookie:|***|http://localhost/",
		"curl|-H|Cookie:|a=s3cr3t;|b=s3cr3t;|c=s3cr3t|http://h/?q=1":                       "curl|-H|Cookie:|***|***|***|http://h/?q=1",
		"curl|-H|Cookie:a=s3cr3t;|b=s3cr3t|x":                                              "curl|-H|Cookie:***|***|x",
		`wget|--header|Authorization:|Digest|username="ann",|response="s3cr3t"|http://h/`:  `wget|--header|Authorization:|Digest|***|***|http://h/`,
		"http|GET|localhost:80|Authorization:Token|s3cr3t":                                 "http|GET|localhost:80|Authorization:Token|***",
		"sudo|curl|-H|Authorization:|Bearer|s3cr3t|-H|X-Auth-Token:|s3cr3t|-o|/dev/null|x": "sudo|curl|-H|Authorization:|Bearer|***|-H|X-Auth-Token:|***|-o|/dev/null|x",
		"curl|-H|Authorization: Bearer|s3cr3t":                                             "curl|-H|Authorization: Bearer|***",
		"curl|-H|Authorization:|Basic|Basic|x":                                             "curl|-H|Authorization:|Basic|***|x",
	} {
		masks(t, in, want)
	}
	for _, in := range []string{
		// curl(1): a header without a value is left out.
		"curl|-H|Authorization:|http://localhost:80/", "curl|-H|Cookie:|localhost:8080/x", "curl|-H|Cookie:|-v|http://h/", "curl|-H|X-Api-Key:|--max-time|5", "curl|-H|Cookie:|db7.acme.com:80", "curl|-H|Cookie:|[::1]:80", "curl|-H|Cookie:",
		"curl|-H|Authorization:|Bearer", "curl|-H|Authorization: Basic", "curl|-H|Authorization:Basic|http://localhost/", "curl|-H|Authorization:|Basic|http://localhost/",
		"curl|-H|Host:|localhost", "curl|-H|Accept:|text/html", "curl|-H|Content-Type:|application/json", "curl|-H|Public-Key:|x",
		"app|auth:|x", "sshd:|ann|[priv]", "nginx:|master|process", "app|a:|b", "app|:|b", "app|Basic|abc", "bearer|x", "app|X-Request-Id:|abc",
	} {
		masks(t, in, in)
	}
}

// masks checks what becomes of a command line, its arguments with | between them, and
// that it stays so.
func masks(t *testing.T, in, want string) {
	t.Helper()
	got := Mask(strings.Split(in, "|"))
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\n got %s\nwant %s", in, s, want)
	} else if again := strings.Join(Mask(got), "|"); again != s {
		t.Errorf("%s\nmasked again %s", s, again)
	}
}
