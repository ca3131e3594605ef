package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// BenchmarkRun holds clients that loopdoctor runs against the same ones alone, side by
// side, and prints the table of docs/performance.md. All of them fare well: no
// diagnosis is in these times.
//
//	go test ./cmd/loopdoctor -run '^$' -bench Run -benchtime 1x
func BenchmarkRun(b *testing.B) {
	rounds := 21
	if testing.Short() {
		rounds = 1
	}
	program := released(b)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") }))
	url := "http://" + l.Addr().String() + "/"
	connects := "import socket\nfor _ in range(2000): socket.create_connection(" + fmt.Sprintf("('127.0.0.1', %d)", l.Addr().(*net.TCPAddr).Port) + ").close()"
	var table strings.Builder
	table.WriteString("\n| client | alone ms | with `loopdoctor run` ms | more ms |\n|---|--:|--:|--:|\n")
	for _, client := range []struct {
		name string
		argv []string
	}{
		{"`true`", []string{"true"}},
		{"`curl` gets a page", []string{"curl", "-s", url}},
		{"Python gets a page", []string{"/usr/bin/python3", "-c", "import sys, urllib.request as u; u.urlopen(sys.argv[1])", url}},
		{"Node gets a page", []string{"node", "-e", "fetch(process.argv[1])", url}},
		{"Python connects 2,000 times", []string{"/usr/bin/python3", "-c", connects}},
		{"`sh` starts 200 programs", []string{"sh", "-c", "for i in $(seq 200); do /bin/true; done"}},
		{"`dd` makes 40,000 system calls", []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=512", "count=20000"}},
	} {
		b.Run(strings.ReplaceAll(client.name, "`", ""), func(b *testing.B) {
			if _, err := exec.LookPath(client.argv[0]); err != nil {
				b.Skip("NOT RUN: ", err)
			}
			for b.Loop() {
				var alone, watched sample
				for i := range rounds + 1 {
					for s, argv := range map[*sample][]string{&alone: client.argv, &watched: append([]string{program, "run", "--"}, client.argv...)} {
						begin := time.Now()
						if err := exec.Command(argv[0], argv[1:]...).Run(); err != nil {
							b.Fatalf("%q: %v", argv, err)
						}
						if i > 0 { // the first round does not count
							s.MS = append(s.MS, float64(time.Since(begin).Microseconds())/1000)
						}
					}
				}
				b.ReportMetric(watched.median()-alone.median(), "more-ms")
				fmt.Fprintf(&table, "| %s | %.1f | %.1f | %.1f |\n", client.name, alone.median(), watched.median(), watched.median()-alone.median())
			}
		})
	}
	fmt.Printf("%s\nload %s\n", table.String(), load())
}
