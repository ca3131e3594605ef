package speak

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// beginnings are those of protocols whose server says what it is, unasked or when it
// is asked something else.
var beginnings = []struct{ with, protocol string }{
	{"SSH-", "ssh"},                 // RFC 4253 section 4.2: SSH-2.0-OpenSSH_9.2p1
	{"Exceeded MaxStartups", "ssh"}, // what OpenSSH's server says at its limit, instead
	{"RFB 00", "vnc"},               // RFC 6143 section 7.1.1: RFB 003.008
	{"AMQP", "amqp"},                // AMQP 0-9-1 section 4.2.2: AMQP 0 0 9 1
	{"RTSP/", "rtsp"},               // RFC 2326 section 7
	{"SIP/2.0 ", "sip"},             // RFC 3261 section 7.2
	{"* OK", "imap"},                // RFC 9051 section 7.1.1
	{"* PREAUTH", "imap"},           //
	{"+OK", "pop3"},                 // RFC 1939 section 4
	{"@RSYNCD:", "rsync"},           //
	{"INFO {", "nats"},              //
	{"+PONG", "redis"},              // Redis serialization protocol
	{"-NOAUTH", "redis"},            //
	{"-DENIED", "redis"},            //
	{"-LOADING", "redis"},           //
	{"-MISCONF", "redis"},           //
	{"-NOPERM", "redis"},            //
	{"-ERR", "redis"},               //
	{"ERROR\r\n", "memcached"},      // memcached, doc/protocol.txt
	{"CLIENT_ERROR", "memcached"},   //
	{"SERVER_ERROR", "memcached"},   //
	{"\xff\xfd", "telnet"},          // RFC 854: IAC DO
	{"\xff\xfb", "telnet"},          //
}

// Recognise tells the protocol of an answer by its first bytes, and what it says in
// words; both may be empty. What was asked decides where an answer is a single letter.
func Recognise(b []byte, asked facts.Question) (protocol, says string) {
	for _, x := range beginnings {
		if bytes.HasPrefix(b, []byte(x.with)) {
			return x.protocol, Line(b)
		}
	}
	switch {
	case len(b) == 0:
		return "", ""
	case mayBeHTTP(b) && len(b) >= 8:
		return "http/" + Line(b[5:8]), Line(b)
	case isSettings(b):
		return "h2", ""
	case isRecord(b):
		return "tls", alertOf(b)
	case isReply(b):
		upper := strings.ToUpper(Line(b))
		switch {
		case strings.Contains(upper, "FTP"):
			return "ftp", Line(b)
		case b[0] == '2' && (b[1] != '2' || strings.Contains(upper, "NNTP")):
			return "nntp", Line(b)
		}
		return "smtp", Line(b)
	}
	if _, says, ok := mysqlGreeting(b); ok {
		return "mysql", says
	}
	if says, ok := postgresError(b); ok {
		return "postgresql", says
	}
	if asked == facts.AskRedis && isRedisError(b) {
		return "redis", Line(b)
	}
	if asked == facts.AskPostgreSQL && len(b) == 1 && (b[0] == 'S' || b[0] == 'N') {
		return "postgresql", map[byte]string{'S': "takes TLS", 'N': "takes no TLS"}[b[0]]
	}
	if asked == facts.AskPostgreSQL && len(b) >= 9 && b[0] == 'R' && b[1] == 0 && b[2] == 0 {
		// AuthenticationOk is 0, and everything else wants to know more.
		if binary.BigEndian.Uint32(b[5:9]) == 0 {
			return "postgresql", "asks for no password"
		}
		return "postgresql", "asks who the client is"
	}
	// HTTP before it had a head; Python's http.server answers so to what it cannot read.
	begin := strings.ToLower(string(bytes.TrimSpace(b[:min(len(b), 64)])))
	if strings.HasPrefix(begin, "<!doctype html") || strings.HasPrefix(begin, "<html") {
		return "http/0.9", firstLine(b, &facts.HTTPAnswer{})
	}
	return "", text(b)
}

// text is the first line of what is written in letters, and nothing of what is not.
func text(b []byte) string {
	b = b[:min(len(b), maxLine)]
	for _, c := range b {
		if c < ' ' && c != '\r' && c != '\n' && c != '\t' || c >= 0x7f {
			return ""
		}
	}
	return Line(b)
}

// isReply tells whether a line is a reply of SMTP's family at the start of a session:
// "220 mail ESMTP" (RFC 5321 section 4.3.2).
func isReply(b []byte) bool {
	if len(b) < 4 || b[3] != ' ' && b[3] != '-' {
		return false
	}
	switch string(b[:3]) {
	case "220", "421", "500", "502", "554", "200", "201":
		return true
	}
	return false
}

// isRecord tells whether the bytes begin a TLS record that a server sends at first: an
// alert or a handshake (RFC 8446 section 5.1). A ClientHello (type 1) is what we sent
// ourselves: an echo server, or a program that talks to itself, says it back.
func isRecord(b []byte) bool {
	return len(b) >= 3 && (b[0] == 0x15 || b[0] == 0x16) && b[1] == 3 && b[2] <= 4 && (b[0] == 0x15 || len(b) < 6 || b[5] != 1)
}

// mayBecomeRecord tells whether the bytes are the first of such a record, and too few to
// tell: a server that is slow sends them one by one.
func mayBecomeRecord(b []byte) bool {
	return len(b) > 0 && len(b) < 3 && isRecord(append(slices.Clip(b), []byte{0x16, 3, 3}[len(b):]...))
}

// isRedisError tells whether a line is an error of Redis' protocol, which begins with a
// word in capitals: "-BUSY Redis is busy running a script." Modules have words of their own.
func isRedisError(b []byte) bool {
	word, _, spaced := bytes.Cut(b, []byte(" "))
	return spaced && len(word) >= 3 && word[0] == '-' && len(bytes.Trim(word[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ")) == 0
}

// alertOf names the alert of a record that is in plain: 15 03 01 00 02 02 46.
func alertOf(b []byte) string {
	if len(b) >= 7 && b[0] == 0x15 && b[3] == 0 && b[4] == 2 {
		return "alert " + alertName(b[6])
	}
	return ""
}

// mysqlGreeting reads the first packet of a MySQL server: a length of three bytes,
// number 0, then protocol 10 and the version up to a zero, or 0xff and an error
// (MySQL, Protocol::HandshakeV10).
func mysqlGreeting(b []byte) (whole bool, says string, ok bool) {
	if len(b) < 7 || b[3] != 0 {
		return false, "", false
	}
	n := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	whole = len(b) >= n+4
	switch body := b[4:]; {
	case n < 5 || n > 1<<10:
	case body[0] == 10:
		if version, _, ended := bytes.Cut(body[1:], []byte{0}); ended && len(version) > 0 && version[0] >= '0' && version[0] <= '9' {
			return whole, Line(version), true
		}
	case body[0] == 0xff:
		// "\xffj\x04Host '…' is not allowed to connect to this MariaDB server"
		if code := binary.LittleEndian.Uint16(body[1:]); code >= 1000 && code < 4000 {
			return whole, Line(body[3:]), true
		}
	}
	return false, "", false
}

// postgresError reads an ErrorResponse: 'E', a length, then fields that begin with a
// letter and end with a zero: "SFATAL\0C57P03\0Mthe database system is starting up\0".
// The message is in the server's language, so the code (SQLSTATE) is kept, too.
func postgresError(b []byte) (string, bool) {
	if len(b) < 7 || b[0] != 'E' || b[1] != 0 || b[2] != 0 || b[5] != 'S' {
		return "", false
	}
	says, code := "", ""
	for f := range bytes.SplitSeq(b[5:], []byte{0}) {
		switch {
		case len(f) == 6 && f[0] == 'C' && len(bytes.Trim(f[1:], "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")) == 0:
			code = " (SQLSTATE " + string(f[1:]) + ")"
		case len(f) > 1 && f[0] == 'M' && says == "":
			says = Line(f[1:])
		}
	}
	return strings.TrimSpace(says + code), true
}
