package process

import "github.com/loopdoctor/loopdoctor/checks/facts/secret"

// Mask returns the command line with its secrets replaced by ***.
func Mask(args []string) []string { return secret.Mask(args) }
