// Package supervisor reads the configuration of supervisord and asks a running
// one for the state of its programs. It starts and stops nothing.
package supervisor

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxIncludes = 200
	maxAnswer   = 1 << 20 // of getAllProcessInfo; a program takes about 2 KiB
	maxPrograms = 500
)

// Config is what is read of a configuration.
type Config struct {
	Socket         string // of [unix_http_server]
	User, Password string
	Programs       []Program
}

// Program is a [program:x] section.
type Program struct {
	Name        string
	File        string
	Command     string
	Environment string
}

// Process is what supervisord says of a program.
type Process struct {
	Name, Group string
	State       string // "RUNNING", "BACKOFF", "FATAL", "EXITED", "STOPPED", "STARTING"
	Exit, PID   int
	Since       time.Time
	Because     string // "Exited too quickly (process log may have details)"
	Stderr      string // its log files
	Stdout      string
}

// Read reads a configuration and what it includes: files below its own folder,
// nothing else.
func Read(file string, read func(string) ([]byte, error), glob func(string) ([]string, error)) (Config, error) {
	var c Config
	data, err := read(file)
	if err != nil {
		return c, err
	}
	dir := filepath.Dir(file)
	var includes []string
	c.parse(file, data, &includes)
	included := 0
	for _, pattern := range includes {
		pattern = strings.ReplaceAll(pattern, "%(here)s", dir)
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		if pattern = filepath.Clean(pattern); !strings.HasPrefix(pattern, strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		names, _ := glob(pattern)
		slices.Sort(names)
		for _, name := range names {
			if included++; included > maxIncludes {
				return c, nil
			}
			data, e := read(name)
			if e != nil {
				err = errors.Join(err, e)
				continue
			}
			c.parse(name, data, nil) // an included file includes no more
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return c, err
	}
	return c, nil
}

// parse reads the INI format of Python's configparser:
//
//	[program:app]
//	command=/usr/bin/app --port 62893 ; a comment
//	environment=PORT="62893",
//	    DEBUG="1"
func (c *Config) parse(file string, data []byte, includes *[]string) {
	section, key := "", ""
	var program *Program
	for line := range strings.Lines(strings.ToValidUTF8(string(data), "\uFFFD")) {
		text := strings.TrimRight(line, " \t\r\n")
		if text == "" || strings.HasPrefix(text, ";") || strings.HasPrefix(text, "#") {
			continue
		}
		if i := strings.Index(text, " ;"); i >= 0 {
			text = strings.TrimRight(text[:i], " \t")
		}
		value, goesOn := "", text != "" && (text[0] == ' ' || text[0] == '\t')
		switch {
		case goesOn:
			value = strings.TrimSpace(text)
		case strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
			section, key, program = text[1:len(text)-1], "", nil
			if name, ok := strings.CutPrefix(section, "program:"); ok && len(c.Programs) < maxPrograms {
				c.Programs = append(c.Programs, Program{Name: strings.TrimSpace(name), File: file})
				program = &c.Programs[len(c.Programs)-1]
			}
			continue
		default:
			i := strings.IndexAny(text, "=:")
			if i < 0 {
				continue
			}
			key, value = strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])
		}
		switch {
		case program != nil && key == "command":
			program.Command = strings.TrimSpace(program.Command + " " + value)
		case program != nil && key == "environment":
			program.Environment = strings.TrimSpace(program.Environment + " " + value)
		case section == "unix_http_server" && key == "file":
			c.Socket = strings.ReplaceAll(value, "%(here)s", filepath.Dir(file))
		case section == "unix_http_server" && key == "username":
			c.User = value
		case section == "unix_http_server" && key == "password":
			c.Password = value
		case section == "include" && key == "files" && includes != nil:
			*includes = append(*includes, strings.Fields(value)...)
		}
	}
}

// Ask asks the supervisord behind the socket for the state of all programs.
func Ask(ctx context.Context, c Config, dial func(ctx context.Context, socket string) (net.Conn, error)) ([]Process, error) {
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, c.Socket) }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	body := `<?xml version="1.0"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName><params></params></methodCall>`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://supervisor/RPC2", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/xml")
	if c.User != "" { // what supervisorctl does with the same file
		req.SetBasicAuth(c.User, c.Password)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask supervisord: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("ask supervisord: %w", fs.ErrPermission)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask supervisord: %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask supervisord: %w", err)
	}
	return Parse(data)
}

// Parse reads the answer to getAllProcessInfo, an array of structs:
//
//	<member><name>statename</name><value><string>FATAL</string></value></member>
func Parse(data []byte) ([]Process, error) {
	var answer struct {
		Fault   *struct{} `xml:"fault"`
		Structs []struct {
			Members []struct {
				Name  string `xml:"name"`
				Value struct {
					Text   string `xml:",chardata"`
					String string `xml:"string"`
					Int    string `xml:"int"`
				} `xml:"value"`
			} `xml:"member"`
		} `xml:"params>param>value>array>data>value>struct"`
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&answer); err != nil {
		return nil, fmt.Errorf("parse supervisord's answer: %w", err)
	}
	if answer.Fault != nil {
		return nil, errors.New("parse supervisord's answer: a fault")
	}
	var all []Process
	for _, s := range answer.Structs[:min(len(answer.Structs), maxPrograms)] {
		var p Process
		var began, ended int
		for _, m := range s.Members {
			text := m.Value.String
			n, _ := strconv.Atoi(strings.TrimSpace(m.Value.Int))
			switch m.Name {
			case "name":
				p.Name = text
			case "group":
				p.Group = text
			case "statename":
				p.State = text
			case "exitstatus":
				p.Exit = n
			case "pid":
				p.PID = n
			case "start":
				began = n
			case "stop":
				ended = n
			case "spawnerr":
				p.Because = text
			case "stderr_logfile":
				p.Stderr = text
			case "stdout_logfile":
				p.Stdout = text
			}
		}
		if at := max(began, ended); at > 0 {
			p.Since = time.Unix(int64(at), 0).UTC()
		}
		all = append(all, p)
	}
	return all, nil
}
