package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker: -X main.release=1.2.3. A "go install" of a
// tagged version knows its version without.
var release string

// number is the version that reports and recordings carry.
func number() string {
	if info, ok := debug.ReadBuildInfo(); ok && release == "" && info.Main.Version != "(devel)" {
		return cmp.Or(info.Main.Version, "devel")
	}
	return cmp.Or(release, "devel")
}

// version is one line: "loopdoctor 1.2.3 go1.26 linux/amd64".
func version() string {
	return fmt.Sprintf("loopdoctor %s %s %s/%s", number(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.stdout, version())
			return fail(err)
		},
	}
}
