package host

import (
	"crypto/x509"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/speak"
)

// How much is read of certificates: of all files together, and how many names of a
// directory. Those of systems have 250 KiB in 150 files, each under two names, and once
// more all in one.
const (
	maxAuthorities = 4 << 20
	maxInDirectory = 1000
)

// trust is what the client takes a certificate on: the authorities of the system, or
// those that its variables name instead, and what single programs add to them.
func (l *look) trust() speak.Trust {
	t := speak.Trust{Now: time.Now()}
	value := func(name string) string {
		if l.f.Environment != nil {
			for _, v := range l.f.Environment.Variables {
				if v.Name == name {
					return v.Value
				}
			}
		}
		return ""
	}
	l.readAs(l.f.Host.As[0], func() { readTrust(&t, value) })
	return t
}

// readTrust reads the files that the client's variables name.
func readTrust(t *speak.Trust, value func(string) string) {
	// OpenSSL and Go read these two; each takes the place of the system's own.
	if file, dir := value("SSL_CERT_FILE"), value("SSL_CERT_DIR"); file != "" || dir != "" {
		t.Roots = x509.NewCertPool()
		left := maxAuthorities - addAuthorities(t.Roots, file, maxAuthorities)
		for _, name := range namesIn(dir) {
			left -= addAuthorities(t.Roots, filepath.Join(dir, name), left)
		}
	} else {
		t.Roots, _ = x509.SystemCertPool()
	}
	for _, name := range []string{"NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"} {
		if file := value(name); file != "" {
			pool := x509.NewCertPool()
			addAuthorities(pool, file, maxAuthorities)
			t.Extra = append(t.Extra, speak.Extra{Name: name, Roots: pool})
		}
	}
}

// namesIn lists a directory, in the order of names, without reading all of one that has
// very many.
func namesIn(dir string) []string {
	if info, err := os.Stat(dir); dir == "" || err != nil || !info.IsDir() { // to open a pipe would wait
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxInDirectory)
	slices.Sort(names)
	return names
}

// addAuthorities reads a file of PEM, as far as is left, and returns how much that was.
// What is no file might never end.
func addAuthorities(pool *x509.CertPool, name string, left int) int {
	if left <= 0 {
		return 0
	}
	f, err := openRegular(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, int64(left)))
	pool.AppendCertsFromPEM(data)
	return len(data)
}
