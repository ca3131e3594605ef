package secret

import "strings"

// place is where a program that is given a password as a word of its own has it: a word
// that is no flag and no value of one.
type place struct {
	after string // a word before it, in lower case; "": it is counted from the first one
	skip  int    // words in between
	hide  int    // how many words it has; 0: one
	with  byte   // only with this flag, which may be in a cluster
	less  byte   // with this flag there is one word less before it
	takes string // letters of flags with a value
	below string // the word before that one, or the program if there is none; "": any
}

// placesOf are those of a program. Source: their manual pages.
func placesOf(program string) []place {
	switch program {
	case "htpasswd":
		return []place{{skip: 2, with: 'b', less: 'n', takes: "Cr"}}
	case "mosquitto_passwd":
		return []place{{skip: 2, with: 'b', takes: "H"}}
	case "mysqladmin", "mariadb-admin":
		return []place{{after: "password"}, {after: "old-password"}}
	case "redis-cli", "valkey-cli", "keydb-cli":
		return []place{{after: "auth", hide: 2}, {after: "requirepass"}, {after: "masterauth"}}
	case "rabbitmqctl":
		return []place{{after: "add_user", skip: 1}, {after: "change_password", skip: 1}, {after: "authenticate_user", skip: 1}}
	case "nmcli":
		return []place{{after: "password"}, {after: "wifi-sec.psk"}, {after: "802-11-wireless-security.psk"}}
	case "wpa_passphrase":
		return []place{{skip: 1}}
	case "mc", "mcli":
		return []place{{after: "set", skip: 3, below: "alias"}, {after: "add", skip: 3, below: "host"}}
	case "db2":
		return []place{{after: "using"}}
	case "isql":
		return []place{{skip: 2}}
	case "openssl":
		return []place{{after: "passwd", hide: 3}} // -salt has one, too
	case "smbclient":
		return []place{{skip: 1, takes: "RmtLIpsiDdcTbWnOA"}}
	case "net": // net use X: \\server\share password, and net user name password: of Windows
		return []place{{after: "use", skip: 1, below: "net"}, {after: "user", skip: 1, below: "net"}}
	}
	return nil
}

// wordOfLanguage tells whether the name of a program may begin a line that is no command.
func wordOfLanguage(program string) bool {
	switch program {
	case "net", "mc", "db2", "isql":
		return true
	}
	return false
}

// words counts the words of a command line that are no flags.
type words struct {
	places  []place
	n       int    // how many there were
	letters string // of the flags
	last    string // the word before, in lower case
	value   bool   // the next argument is the value of a flag
	hiding  int    // of the next words: how many are skipped, and then hidden
	skip    int
}

// flag notes a flag.
func (w *words) flag(a string) {
	w.value = false
	if len(a) < 2 || a[1] == '-' || len(w.letters) > 64 {
		return
	}
	w.letters += a[1:min(len(a), 16)]
	for i := range w.places {
		w.value = w.value || strings.IndexByte(w.places[i].takes, a[len(a)-1]) >= 0
	}
}

// word tells whether the next word is a secret.
func (w *words) word(program, a string) bool {
	if w.value {
		w.value = false
		return false
	}
	low := a
	if len(a) < 64 {
		low = strings.ToLower(a)
	}
	before := w.last
	w.last = low
	w.n++
	switch {
	case program == "net" && (strings.HasPrefix(a, "/") || w.hiding > 0 && (a == "*" || strings.HasSuffix(a, ":") || low == "add")): // a flag; what is to be asked for; a drive; Samba's way
		return false
	case w.skip > 0:
		w.skip--
		return false
	case w.hiding > 0:
		w.hiding--
		return true
	}
	for i := range w.places {
		p := &w.places[i]
		switch {
		case p.after == "":
			skip := p.skip
			if p.less != 0 && strings.IndexByte(w.letters, p.less) >= 0 {
				skip--
			}
			if w.n == skip+1 && (p.with == 0 || strings.IndexByte(w.letters, p.with) >= 0) {
				return true
			}
		case p.after == low && (p.below == "" || p.below == before || p.below == program && w.n == 1):
			w.skip, w.hiding = p.skip, max(p.hide, 1)
			return false
		}
	}
	return false
}
