package main

import (
	"embed"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// engines starts each container engine, in the scenario's world and on data of its own.
//
//go:embed testdata/engine
var engines embed.FS

// engine starts a real container engine that has the lab's images: "engine docker",
// with further arguments for its daemon.
func (l *lab) engine(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || neg {
		ts.Fatalf("usage: engine NAME [ARGS OF ITS DAEMON...]")
	}
	files, err := engines.ReadDir("testdata/engine")
	ts.Check(err)
	for _, f := range files {
		data, err := engines.ReadFile("testdata/engine/" + f.Name())
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs("."), f.Name()), data, 0o644))
	}
	l.serve(ts, false, append([]string{"-as", "root", "ready", "sh", args[0] + ".sh"}, args[1:]...))
}
