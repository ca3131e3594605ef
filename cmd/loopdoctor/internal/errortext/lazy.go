package errortext

import (
	"regexp"
	"sync"
)

// lazy is a regular expression that is compiled when it is first used: most runs
// have no error to read, and to compile all of them takes milliseconds.
type lazy struct {
	expr string
	once sync.Once
	re   *regexp.Regexp
}

func re(expr string) *lazy { return &lazy{expr: expr} }

func (l *lazy) compiled() *regexp.Regexp {
	l.once.Do(func() { l.re = regexp.MustCompile(l.expr) })
	return l.re
}

func (l *lazy) MatchString(s string) bool              { return l.compiled().MatchString(s) }
func (l *lazy) FindStringSubmatch(s string) []string   { return l.compiled().FindStringSubmatch(s) }
func (l *lazy) ReplaceAllString(s, with string) string { return l.compiled().ReplaceAllString(s, with) }
func (l *lazy) SubexpNames() []string                  { return l.compiled().SubexpNames() }
func (l *lazy) FindAllStringSubmatch(s string, n int) [][]string {
	return l.compiled().FindAllStringSubmatch(s, n)
}
