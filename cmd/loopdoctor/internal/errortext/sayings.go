package errortext

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// saying is one way to say what went wrong.
type saying struct {
	words   *lazy
	errno   string       // the errno that it stands for
	intent  facts.Intent // empty: what stands around it tells
	symptom string       // empty with an errno: the errno and the intent tell
	means   string
	answer  bool   // it comes after the connection
	failed  bool   // no connection was made, for a reason that is not said
	weak    bool   // another line of the text says more
	cause   string // the one cause that these words belong to, where there is one alone
}

// code is the errno in the spelling of the system that it came from.
func (s *saying) code(text string) string {
	if s.errno != "" && windows.MatchString(text) {
		return "WSA" + s.errno
	}
	return s.errno
}

// windows is how Winsock speaks: "[WinError 10061]", "(10048)", "actively refused".
var windows = re(`(?i)WSAE|WinError|\b100[1-6]\d\b|actively refused|forbidden by its access permissions|Only one usage of each socket|connectex: `)

// felt is the symptom that the machine would show, and what to call it.
func felt(errno string, intent facts.Intent) (symptom, means string) {
	if intent == facts.ToBind {
		return "cannot-bind", map[string]string{
			"EADDRINUSE":    "the address is in use already",
			"EACCES":        "the permission to take the port is denied",
			"EPERM":         "the permission to take the port is denied",
			"EADDRNOTAVAIL": "the address is not on this machine",
			"EAFNOSUPPORT":  "the address family is not supported",
		}[errno]
	}
	switch errno {
	case "ECONNREFUSED":
		return "refused", "the connection is refused"
	case "ETIMEDOUT":
		return "no-reply", "the connection gets no reply"
	case "ECONNRESET":
		return "closed-at-once", "the connection is reset"
	case "EACCES", "EPERM":
		return "denied", "the connection is forbidden"
	case "ENETUNREACH", "EHOSTUNREACH":
		return "unreachable", "the address is unreachable"
	case "EADDRNOTAVAIL":
		return "unreachable", "no source address is available"
	case "EAFNOSUPPORT":
		return "unreachable", "the address family is not supported"
	}
	return "", ""
}

func say(words string, s saying) saying {
	s.words = re(`(?i)` + words)
	return s
}

// number is how an errno stands in a text as a number: Python's [Errno 111],
// Rust's (os error 111), nginx's (111: …), .NET's SocketException (111).
func number(ns string) string {
	return `\[(?:win)?(?:errno|error) (?:` + ns + `)\]|os error (?:` + ns + `)\)|Os \{ code: (?:` + ns + `)\b|^\((?:` + ns + `)\)|\((?:` + ns + `): |SocketException \((?:` + ns + `)\)|errno ?[:=] ?-?(?:` + ns + `)\b|\(errno (?:` + ns + `)\)|server on '[^']*' \((?:` + ns + `)\)|\bWSA\w* (?:` + ns + `)\b`
}

const (
	connect = facts.Connect
	bind    = facts.ToBind
)

// sayings, the more telling ones first: what an application says of its answer
// may hold the words of an errno.
var sayings = []saying{
	// A proxy that answers, and says so.
	say(`CONNECT tunnel failed|Tunnel connection failed|Proxy tunneling failed|from proxy after CONNECT|X-Squid-Error|\bVia: .*\bsquid\b`,
		saying{intent: connect, symptom: "sent-to-proxy", means: "a proxy of the client answers, and refuses"}),

	// What comes after the connection.
	say(`no pg_hba\.conf entry for|pg_hba\.conf rejects|protected mode|is not allowed to connect to this M`,
		saying{intent: connect, answer: true, cause: "server-acl-or-auth", means: "the server answers, and its own rules of access turn the client away"}),
	say(`too many clients already|remaining connection slots are reserved|too many connections|no more connections allowed|max number of clients reached|Exceeded MaxStartups`,
		saying{intent: connect, answer: true, cause: "server-acl-or-auth", means: "the server answers, and has as many clients as it takes"}),
	say(`Permission denied \(publickey|password authentication failed|Access denied for user|NOAUTH|authentication failed`,
		saying{intent: connect, answer: true, means: "the application answers and refuses the login"}),
	say("address space `?(?:loopback|local|private)|(?:loopback|local|private)`? address space|more-private address space|Access-Control-Allow-(?:Private|Local)-Network|private network request|Local Network Access|LocalNetworkAccess",
		saying{intent: connect, answer: true, cause: "browser-local-network-access", means: "the browser forbids the page to reach this address (Local Network Access)"}),
	say(`lost connection to pod`, saying{intent: connect, symptom: "refused", means: "kubectl has lost its connection to the pod, and ended"}),
	say(`blocked by CORS policy|CORS error`, saying{intent: connect, answer: true, means: "the browser withholds the application's answer (CORS)"}),
	say(`HTTP/0\.9|ERR_INVALID_HTTP_RESPONSE|HPE_INVALID_|Parse Error: Expected HTTP|BadStatusLine|malformed HTTP response|Invalid HTTP (?:response|version)`,
		saying{intent: connect, answer: true, means: "the application's answer is not HTTP"}),
	say(`Invalid Host header|Blocked request\. This host|Invalid HTTP_HOST header|DisallowedHost|Blocked hosts?: |\b421 Misdirected`,
		saying{intent: connect, answer: true, cause: "host-header-check", means: "the server does not know the host name that the client used"}),
	say(`\b431 \(?Request|(?:HTTP|status|code)\D{0,12}\b431\b|Request Header Fields Too Large|Request Header Or Cookie Too Large|HPE_HEADER_OVERFLOW|Header overflow|UND_ERR_HEADERS_OVERFLOW`,
		saying{intent: connect, answer: true, cause: "headers-too-large", means: "the server says that the header fields are too large"}),
	say(`wrong.version.number|ERR_SSL_PROTOCOL_ERROR|packet length too long|record layer failure|server gave HTTP response to HTTPS client|SSL_ERROR_RX_RECORD_TOO_LONG|first record does not look like a TLS handshake|Unsupported or unrecognized SSL message|InvalidContentType`,
		saying{intent: connect, answer: true, cause: "https-to-plain-http", means: "the TLS handshake with the application fails"}),
	say(`HTTP request (?:was sent )?to an? HTTPS (?:server|port)`,
		saying{intent: connect, answer: true, cause: "http-to-https-port", means: "the server wants TLS, and the client speaks plain HTTP"}),
	say(`ERR_CERT_|CERTIFICATE_VERIFY_FAILED|self.signed certificate|SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|MOZILLA_PKIX|SEC_ERROR_|certificate (?:has expired|signed by unknown|verify failed|is not trusted)|curl: \((?:60|51)\)|PartialChain|unable to find valid certification path|ERR_TLS_CERT_ALTNAME_INVALID`,
		saying{intent: connect, answer: true, cause: "untrusted-localhost-cert", means: "the client refuses the server's certificate"}),
	say(`curl: \((?:35|60|58|77|83)\)|ERR_SSL_|ERR_CERT_|SSL_ERROR_|MOZILLA_PKIX|SEC_ERROR_|wrong.version.number|SSL routines|PR_END_OF_FILE_ERROR|SSLHandshakeException|SSLException|ssl\.SSLError|CERTIFICATE_VERIFY_FAILED|certificate (?:has expired|signed by unknown|verify failed)|self.signed certificate|TLS handshake|EPROTO\b|server gave HTTP response to HTTPS client|HTTP request to an HTTPS server|packet length too long|record layer failure|The SSL connection could not be established|InvalidContentType`,
		saying{intent: connect, answer: true, means: "the TLS handshake with the application fails"}),
	say(`curl: \(22\)|\bHTTP(?:/[\d.]+)? (?:error:? |status:? |status code:? )?[45]\d\d\b|status(?: |_)?code:? (?:is )?[45]\d\d\b|\b50[234] (?:Bad Gateway|Service (?:Temporarily )?Unavailable|Gateway Time-?out)|server returned error: HTTP|requested URL returned error: [45]\d\d\b`,
		saying{intent: connect, answer: true, means: "the application answers with an HTTP error", weak: true}),

	// What comes before it.
	say(`ERR_UNSAFE_PORT|This address is restricted|restricted network port|bad port\b`, saying{intent: connect, cause: "browser-unsafe-port", means: "the client does not allow itself this port"}),
	say(`ERR_ADDRESS_INVALID`, saying{intent: connect, means: "the browser does not take this address as a destination"}),
	say(`ERR_SOCKET_BAD_PORT|port (?:number )?(?:must be|should be) |: invalid port\b|port out of range|Port number out of range|port must be 0-65535`,
		saying{means: "the program was given a port that is none"}),
	say(`curl: \((?:5|97)\)|ERR_PROXY_CONNECTION_FAILED|ERR_TUNNEL_CONNECTION_FAILED|resolve proxy|ProxyError|proxyconnect|proxy server (?:is )?refusing`,
		saying{intent: connect, symptom: "sent-to-proxy", means: "the proxy of the client cannot be reached"}),
	say(`\bENOTFOUND\b`, saying{errno: "ENOTFOUND", intent: connect, symptom: "name-not-resolved", means: "the name does not resolve"}),
	say(`\bEAI_AGAIN\b|Temporary failure in name resolution`, saying{errno: "EAI_AGAIN", intent: connect, symptom: "name-not-resolved", means: "the name does not resolve"}),
	say(`curl: \(6\)|Could not resolve|Name or service not known|nodename nor servname|no such host|No such host is known|UnknownHostException|failed to lookup address|php_network_getaddresses|unable to resolve host|ERR_NAME_NOT_RESOLVED|:nxdomain|bad address '|Name does not resolve|Host not found|having trouble finding that site|EAI_NONAME|11001\b`,
		saying{intent: connect, symptom: "name-not-resolved", means: "the name does not resolve"}),

	// A server that cannot listen.
	say(`EADDRINUSE|AddrInUse|address(?: is)? already in use|port is already allocated|\bport(?: \d+)? (?:is|was) (?:already )?(?:in use|taken|used)|port \d+ already in use|port (?:may )?already (?:be )?in use|Is port \d+ in use|Connection in use: \(|already running on port|only one usage of each socket|ERR_ADDRESS_IN_USE|`+number(`98|48|10048`),
		saying{errno: "EADDRINUSE", intent: bind}),
	say(`don't have permission to access that port|Port \d+ requires elevated privileges|forbidden by its access permissions`, saying{errno: "EACCES", intent: bind}),
	say(`IP address can't be assigned to`, saying{errno: "EADDRNOTAVAIL", intent: bind}),

	// A client that gets no connection.
	say(`ECONNREFUSED|ConnectionRefused|connection (?:was )?refused|actively refused|refused to connect|\bwas refused\b|Connection to \S+:\d+ refused|ERR_CONNECTION_REFUSED|`+number(`111|61|10061`),
		saying{errno: "ECONNREFUSED", intent: connect}),
	say(`(?:Operation|Request) timed out after \d+ milliseconds with|Read timed out|ReadTimeout|read timeout|headers timeout|ERR_HTTP_REQUEST_TIMEOUT|Client\.Timeout exceeded while awaiting headers|upstream timed out .* while reading|Receive timed out`,
		saying{intent: connect, answer: true, symptom: "not-accepted", means: "no answer comes on the connection"}),
	say(`ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT|Connect Timeout Error|ConnectTimeout|connection timed out|connect timed out|connection timeout|i/o timeout|Timeout was reached|curl: \(28\)|ERR_(?:CONNECTION_)?TIMED_OUT|connection has timed out|took too long to respond|SocketTimeoutException|TimedOut|operation timed out|timeout expired|:timeout\b|context deadline exceeded|TimeoutError|`+number(`110|60|10060`),
		saying{errno: "ETIMEDOUT", intent: connect}),
	say(`ECONNRESET|ConnectionReset|connection (?:was )?reset|forcibly closed by the remote|ERR_CONNECTION_RESET|upstream prematurely closed|`+number(`104|54|10054`),
		saying{errno: "ECONNRESET", intent: connect, answer: true}),
	say(`Empty reply from server|socket hang up|RemoteDisconnected|Remote end closed connection|No data received|ERR_EMPTY_RESPONSE|ERR_CONNECTION_CLOSED|didn't send any data|unexpected end of file from server|Server disconnected|failed to respond|response ended prematurely|other side closed|end of file reached|unexpectedly dropped the connection|closed the connection unexpectedly|Connection closed by |error getting response|:\s(?:unexpected )?EOF\b`,
		saying{intent: connect, answer: true, symptom: "closed-at-once", means: "the server closes the connection without an answer"}),
	say(`EHOSTUNREACH|no route to host|ERR_ADDRESS_UNREACHABLE|HostUnreachable|`+number(`113|65|10065`), saying{errno: "EHOSTUNREACH", intent: connect}),
	say(`ENETUNREACH|network is unreachable|NetworkUnreachable|`+number(`101|51|10051`), saying{errno: "ENETUNREACH", intent: connect}),
	say(`ERR_NETWORK_ACCESS_DENIED|ERR_BLOCKED_BY_`, saying{intent: connect, symptom: "denied", means: "the connection is forbidden"}),

	// Either of both.
	say(`EADDRNOTAVAIL|AddrNotAvailable|can(?:not|'t) assign requested address|address not available|not valid in its context|`+number(`99|49|10049`), saying{errno: "EADDRNOTAVAIL"}),
	say(`EAFNOSUPPORT|address family (?:not|for hostname not) supported|AddressFamilyNotSupported|`+number(`97|47|10047`), saying{errno: "EAFNOSUPPORT"}),
	say(`\bW?S?A?EACCES\b|Unix\.EACCES|:eacces|permission denied|PermissionDenied|`+number(`13|10013`), saying{errno: "EACCES"}),
	say(`\bEPERM\b|:eperm|operation not permitted|`+number(`1`), saying{errno: "EPERM"}),

	// Those that do not say why. MariaDB says 115, EINPROGRESS, whatever it was.
	say(`curl: \(7\)|Couldn't connect to server|Can't connect to (?:local )?(?:MySQL |MariaDB )?server|can't (?:establish a connection|connect) to the server|Unable to connect|Could not connect|Cannot connect to|can't connect to|Failed to connect|ERR_CONNECTION_FAILED|ERR_INTERNET_DISCONNECTED|could not be established|connection to server .*failed|failed to establish a new connection|Connect call failed|Can't reach database server|java\.net\.ConnectException|HttpHostConnectException|connect error|Layer4 connection problem`,
		saying{intent: connect, failed: true, means: "no connection is made", weak: true}),
	say(`(?:Failed|Unable|Could not|Cannot|Can't|couldn't) (?:to )?(?:bind|listen|create (?:server TCP )?listening socket)|cannot bind socket|could not bind|Failed listening on|java\.net\.BindException|failed to start: .*listen`,
		saying{intent: bind, symptom: "cannot-bind", means: "the server cannot take the address", weak: true}),
	say(`fetch failed|error sending request|Failed to fetch|NetworkError when attempting|Network Error|Max retries exceeded|ConnectionError|AggregateError|internalConnectMultiple|ConnectError|TransportError|network request .*failed`,
		saying{intent: connect, failed: true, means: "no connection is made", weak: true}),
	say(`No such file or directory|\bENOENT\b|through socket`, saying{errno: "ENOENT", intent: connect, weak: true, means: "there is no such file"}),
}

// understand finds the first saying that fits; one that is weak gives way to
// one that is not.
func understand(text string) *saying {
	var weak *saying
	for i := range sayings {
		s := &sayings[i]
		switch {
		case !s.words.MatchString(text):
		case !s.weak:
			return s
		case weak == nil:
			weak = s
		}
	}
	return weak
}

// usualPort is where a client connects to that was told no port, and the TCP
// port of the service whose UNIX socket was used.
func usualPort(text, unix string) uint16 {
	for _, u := range []struct {
		words *lazy
		unix  string
		port  uint16
	}{
		{re(`(?i)Can't connect to (?:local )?(?:MySQL |MariaDB )?server|SQLSTATE\[HY000\] \[200[23]\]`), "mysql", 3306},
		{re(`\bdnsmasq: `), "dnsmasq", 53},
		{nil, "mariadb", 3306},
		{re(`Could not connect to Redis`), "redis", 6379},
		{nil, "PGSQL.5432", 5432},
		{nil, "memcached", 11211},
		{nil, "mongodb", 27017},
	} {
		if u.words != nil && u.words.MatchString(text) || unix != "" && strings.Contains(unix, u.unix) {
			return u.port
		}
	}
	return 0
}
