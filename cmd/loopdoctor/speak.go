package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// spoken are the protocols in which a server can be asked, by the schemes of URLs; the
// first of several names is the one that is listed.
var spoken = []struct {
	schemes []string
	ask     facts.Question
	tls     bool
}{
	{[]string{"http"}, facts.AskHTTP, false},
	{[]string{"https"}, facts.AskHTTP, true},
	{[]string{"h2c", "grpc"}, facts.AskH2, false},
	{[]string{"h2", "grpcs"}, facts.AskH2, true},
	{[]string{"ws"}, facts.AskWebSocket, false},
	{[]string{"wss"}, facts.AskWebSocket, true},
	{[]string{"tls", "ssl"}, facts.AskTLS, false},
	{[]string{"redis", "valkey"}, facts.AskRedis, false},
	{[]string{"rediss", "valkeys"}, facts.AskRedis, true},
	{[]string{"postgresql", "postgres"}, facts.AskPostgreSQL, false},
	{[]string{"mysql", "mariadb"}, facts.AskMySQL, false},
	{[]string{"smtp"}, facts.AskSMTP, false},
	{[]string{"smtps"}, facts.AskSMTP, true},
	{[]string{"ssh", "sftp"}, facts.AskSSH, false},
	{[]string{"dns"}, facts.AskDNS, false},
}

// protocols lists the words that --speak takes.
func protocols() []string {
	words := []string{string(facts.AskGuess)}
	for _, s := range spoken {
		words = append(words, s.schemes[0])
	}
	return words
}

// speakAs sets what the server is asked; it returns false for a word that is no protocol.
func speakAs(t *facts.Target, word string) bool {
	if word == string(facts.AskGuess) {
		if t.Speak == "" {
			t.Speak = facts.AskGuess
			if t.Network == "udp" {
				t.Speak = facts.AskDNS // the only one of UDP that is known here
			}
		}
		return true
	}
	for _, s := range spoken {
		if slices.Contains(s.schemes, word) {
			t.Speak, t.TLS = s.ask, s.tls
			return true
		}
	}
	return false
}

// checkSpeak finds bad usage of --speak and --patience, before there are targets.
func (o *options) checkSpeak(args []string, given func(string) bool) error {
	if given("patience") && o.patience <= 0 {
		return fmt.Errorf("--patience %v: it has to be more than nothing", o.patience)
	}
	if given("patience") && given("timeout") && o.patience >= o.timeout {
		return fmt.Errorf("--patience %v does not fit into --timeout %v: give the run more time", o.patience, o.timeout)
	}
	if !given("speak") {
		return nil
	}
	var any facts.Target
	switch {
	case !speakAs(&any, o.speak):
		return fmt.Errorf("--speak=%s: it is one of %s", o.speak, strings.Join(protocols(), ", "))
	case o.noConnect:
		return errors.New("--speak and --no-connect contradict each other")
	case o.bind:
		return errors.New("--speak asks a server, and --bind is about one that does not run: leave out one of them")
	case len(args) == 0 && !given("error"):
		return errors.New("--speak needs a target: the port of the server to ask")
	}
	for _, arg := range args {
		if len(args) > 1 && o.speak == string(facts.AskGuess) && slices.Contains(protocols(), arg) {
			return fmt.Errorf("%s is read as a target: write --speak=%s", arg, arg)
		}
	}
	return nil
}

// ask sets what each target is asked, and how much time that takes at most.
func (o *options) ask(targets []facts.Target, given func(string) bool) error {
	asked := false
	for i := range targets {
		t := &targets[i]
		if given("speak") {
			speakAs(t, o.speak)
		}
		if t.Intent == facts.ToBind {
			t.Speak, t.TLS = "", false
		}
		if t.Network == "udp" && t.Speak != "" && t.Speak != facts.AskDNS {
			return fmt.Errorf("--speak=%s: over UDP it can be dns alone", o.speak)
		}
		asked = asked || t.Speak != ""
	}
	if given("patience") && !asked {
		return errors.New("--patience is how long an answer is waited for, and nothing is asked: give a URL, or add --speak")
	}
	// Two addresses, each with a second question.
	if more := 4 * (o.patience - time.Second); asked && more > 0 && !given("timeout") {
		o.timeout += more
	}
	return nil
}
