package errortext

import "regexp"

// clients is who speaks so. What is built with another comes before it: Docker
// and kubectl speak Go, Deno Rust, npm Node.
var clients = []struct {
	name  string
	words *regexp.Regexp
}{
	{"PHP", regexp.MustCompile(`cURL error \d+|SQLSTATE\[|PDOException|mysqli|stream_socket_client\(|fsockopen\(|file_get_contents\(|php_network|PHP (?:Warning|Fatal)|Failed to listen on .*\(reason: `)},
	{"curl", regexp.MustCompile(`^\s*curl: \(\d+\)`)},
	{"git", regexp.MustCompile(`fatal: unable to access`)},
	{"nginx", regexp.MustCompile(`\bnginx\b|\[(?:emerg|error|alert|crit)\] \d+#\d+: `)},
	{"Apache", regexp.MustCompile(`\bAH\d{5}: `)},
	{"HAProxy", regexp.MustCompile(`haproxy|cannot bind socket \(|cannot bind socket \[|Layer4 connection problem`)},
	{"Caddy", regexp.MustCompile(`http app module|caddy`)},
	{"kubectl", regexp.MustCompile(`did you specify the right host or port|memcache\.go`)},
	{"Docker", regexp.MustCompile(`Error response from daemon|driver failed programming external|port is already allocated|Docker daemon|userland proxy|failed to bind host port|Ports are not available`)},
	{"psql", regexp.MustCompile(`\bpsql: `)},
	{"libpq", regexp.MustCompile(`connection to server (?:at|on socket) "|psycopg|Is the server running (?:on that host|on host|locally)`)},
	{"mysql", regexp.MustCompile(`ERROR 20\d\d \(HY000\)|Can't connect to (?:local )?(?:MySQL |MariaDB )?server`)},
	{"redis-cli", regexp.MustCompile(`^\s*Could not connect to Redis`)},
	{"Redis", regexp.MustCompile(`Could not create server TCP listening socket|Failed listening on port \d+ \(TCP\)`)},
	{"MongoDB", regexp.MustCompile(`Mongo\w*Error|pymongo`)},
	{"ssh", regexp.MustCompile(`\bssh: |channel \d+: open failed|^\s*bind \[[^\]]+\]:\d+: |channel_setup_fwd_listener`)},
	{"socat", regexp.MustCompile(`\bsocat\[\d+\]`)},
	{"systemd", regexp.MustCompile(`systemd\[\d+\]|\.socket: Failed to`)},
	{"BusyBox wget", regexp.MustCompile(`\bwget: (?:can't connect|bad address|server returned|error getting)|^Connecting to \S+ \([^)]*:\d+\)`)},
	{"wget", regexp.MustCompile(`Connecting to .*\.\.\. failed|wget: unable|^failed: Connection|^No data received`)},
	{"nc", regexp.MustCompile(`\b(?:nc|ncat|Ncat): `)},
	{"telnet", regexp.MustCompile(`\btelnet: `)},
	{"Bun", regexp.MustCompile(`Failed to start server\. Is port|\bbun\b|Is the computer able to access the url`)},
	{"Deno", regexp.MustCompile(`Uncaught (?:\(in promise\) )?(?:AddrInUse|ConnectionRefused|PermissionDenied|AddrNotAvailable)|\bdeno\b|ext:deno`)},
	{"Chrome", regexp.MustCompile(`\bnet::ERR_|^\s*ERR_[A-Z_]+\s*$|refused to connect\b|This site can't be reached|didn't send any data|took too long to respond|ERR_(?:CONNECTION|EMPTY|UNSAFE|SSL|ADDRESS|NAME|TIMED)_`)},
	{"Firefox", regexp.MustCompile(`(?i)firefox|can't establish a connection to the server at|This address is restricted|PR_\w+_ERROR|SSL_ERROR_|NetworkError when attempting`)},
	{"Safari", regexp.MustCompile(`Safari`)},
	{"Flask", regexp.MustCompile(`is in use by another program\. Either`)},
	{"Django", regexp.MustCompile(`That port is already in use|permission to access that port|That IP address can't be assigned`)},
	{"gunicorn", regexp.MustCompile(`\[ERROR\] (?:Connection in use|Can't connect to \()|gunicorn`)},
	{"Next", regexp.MustCompile(`Port \d+ is in use(?: by [^,]*)?, (?:trying|using available port) \d+`)},
	{"Vite", regexp.MustCompile(`Port \d+ is in use, trying another one|\bvite\b`)},
	{"Angular", regexp.MustCompile(`Use '--port' to specify a different port`)},
	{"Create React App", regexp.MustCompile(`Something is already running on port`)},
	{"Spring", regexp.MustCompile(`Web server failed to start|PortInUseException`)},
	{".NET", regexp.MustCompile(`System\.(?:Net|IO|Aggregate)|SocketException \(\d+\)|Microsoft\.|Hosting failed to start|Unable to bind to http|target machine actively refused it\. \(|AddressInUseException`)},
	{"Ruby", regexp.MustCompile(`Errno::E|(?:connect|bind)\(2\)|Net::(?:Open|Read)Timeout|TCPServer`)},
	{"Elixir", regexp.MustCompile(`:econnrefused|:eaddrinuse|:eacces|:nxdomain|DBConnection\.|Mint\.|\*\* \(|with (?:Bandit|cowboy)|Ranch listener \S+\.HTTP`)},
	{"Erlang", regexp.MustCompile(`ranch_tcp|[{,]econnrefused|[{,]eaddrinuse|\beaddrinuse \(address`)},
	{"Dart", regexp.MustCompile(`OS Error: .*errno = \d+`)},
	{"Go", regexp.MustCompile(`\b(?:dial|listen|read|write|lookup) (?:tcp|udp)[46]?\b|connectex: |lookup \S+(?: on \S+)?: no such host|Client\.Timeout exceeded|proxyconnect tcp|: EOF$|context deadline exceeded`)},
	{"Python", regexp.MustCompile(`\[Errno -?\d+\]|\[WinError \d+\]|^Traceback|urllib3|HTTPS?ConnectionPool|aiohttp|requests\.exceptions|ConnectionRefusedError|RemoteDisconnected|error while attempting to bind|Cannot connect to host \S+ ssl:|httpx|httpcore|Connect call failed`)},
	{"Rust", regexp.MustCompile(`\(os error \d+\)|Os \{ code: \d+|error sending request for url|hyper|reqwest`)},
	{"npm", regexp.MustCompile(`npm (?:error|ERR!)`)},
	{"Java", regexp.MustCompile(`\bjavax?\.|Exception in thread|org\.(?:apache|springframework|eclipse)|io\.netty|okhttp|Connect to \S+ \[[^\]]*/|JVM_Bind|^\s*Caused by: |could not be established\. Broker`)},
	{"Node", regexp.MustCompile(`\b(?:connect|listen|bind|read|write|getaddrinfo|queryA) E[A-Z_]{3,}|node:|ERR_SOCKET_BAD_PORT|AggregateError|internalConnectMultiple|socket hang up|fetch failed|\bUND_ERR|FetchError|AxiosError|other side closed`)},
	{"Windows", regexp.MustCompile(`WSAE|Only one usage of each socket`)},
	{"wget", regexp.MustCompile(`failed: Connection refused\.`)},
}
