package errortext

import "testing"

// What does not compile is seen here, not by who needs it.
func TestExpressionsCompile(t *testing.T) {
	for _, p := range patterns {
		p.expression()
	}
	for _, c := range clients {
		c.words()
	}
	for _, s := range sayings {
		s.words()
	}
}
