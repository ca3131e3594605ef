package speak

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// clean fails for a string that is too long or not to be printed.
func clean(t *testing.T, what, s string) {
	t.Helper()
	if len(s) > maxLine+len("…") || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%s: %q", what, s)
	}
}

func FuzzRecognise(f *testing.F) {
	for _, s := range []string{"", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x\r\n", "220 mail ESMTP\r\n", "\x15\x03\x01\x00\x02\x02\x46", "\x00\x00\x06\x04\x00\x00\x00\x00\x00abcdef", "\x0d\x00\x00\x00\x0a8.0.36\x00\x01\x00\x00\x00ab",
		"\x0a\x00\x00\x00\xffj\x04Host no", "E\x00\x00\x00\x10SFATAL\x00Mno\x00\x00", "<!doctype html><title>x", "N", "-NOAUTH x\r\n", "\xff\xfd\x18", "AMQP\x00\x00\x09\x01", "\x1b[31m"} {
		f.Add([]byte(s), "http")
		f.Add([]byte(s), "postgresql")
	}
	f.Fuzz(func(t *testing.T, b []byte, asked string) {
		protocol, says := Recognise(b, facts.Question(asked))
		clean(t, "protocol", protocol)
		clean(t, "says", says)
		clean(t, "quoted", Quote(b)[:min(len(Quote(b)), maxLine)])
		whole(facts.Question(asked), b)
	})
}

func FuzzHTTPHead(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nbody", "HTTP/1.0 404\n\n", "HTTP/1.1 500 No\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\n<h1>no\r\n", "HTTP/1.1 200 OK\r\n: x\r\nServer\r\n\r\n", "HTTP/9.9 999 \x1b\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		head, body, ok := cutHead(b)
		if !ok {
			return
		}
		if len(head)+len(body) > len(b) {
			t.Errorf("%d and %d of %d bytes", len(head), len(body), len(b))
		}
		h := parseHead(head)
		if h == nil {
			return
		}
		if h.Status < 100 || h.Status > 999 || len(h.Headers) > 2*len(keptFields) {
			t.Errorf("%+v", h)
		}
		clean(t, "reason", h.Reason)
		for _, x := range h.Headers {
			clean(t, x.Name, x.Value)
		}
		clean(t, "body", firstLine(unchunk(body, h), h))
	})
}

func FuzzH2(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x02\x00\x01\x00\x00\x00\x01hi"))
	f.Add([]byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x07"))
	f.Add([]byte("\x00\x00\x02\x01\x0c\x00\x00\x00\x01\x05\x88"))
	f.Fuzz(func(t *testing.T, b []byte) {
		isSettings(b)
		var a facts.Answer
		readH2(bytes.NewReader(b), &a, func() {}, func() {})
		clean(t, "says", a.Says)
		if a.HTTP != nil {
			clean(t, "body", a.HTTP.Body)
			if a.HTTP.Status < 200 || a.HTTP.Status > 999 {
				t.Errorf("%+v", a.HTTP)
			}
		}
	})
}
