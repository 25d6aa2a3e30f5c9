// Package certtest makes certificates for tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// Authority signs certificates for 127.0.0.1 that are valid for an hour.
type Authority struct {
	Pool *x509.CertPool // with the authority alone
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority that nobody else knows.
func New(t testing.TB) *Authority {
	t.Helper()
	tmpl := template("an authority of a test")
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	a := &Authority{Pool: x509.NewCertPool(), key: newKey(t)}
	a.cert = sign(t, tmpl, tmpl, a.key, a.key)
	a.Pool.AddCert(a.cert)
	return a
}

// Issue writes a certificate to path, and its key beside it as {name}.key, replacing what is there, as one who renews
// certificates does. The common name is the file's, without its ending; no use means that it is good for every one.
func (a *Authority) Issue(t testing.TB, path string, use ...x509.ExtKeyUsage) (certFile, keyFile string) {
	t.Helper()
	base := strings.TrimSuffix(path, filepath.Ext(path))
	tmpl := template(filepath.Base(base))
	tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, use
	key := newKey(t)
	cert := sign(t, tmpl, a.cert, key, a.key)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, path, "CERTIFICATE", cert.Raw)
	writePEM(t, base+".key", "PRIVATE KEY", keyDER)
	return path, base + ".key"
}

// File writes the authority's own certificate, for those who read files, to dir/ca.pem.
func (a *Authority) File(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ca.pem")
	writePEM(t, path, "CERTIFICATE", a.cert.Raw)
	return path
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: clock.Now().Add(-time.Hour), NotAfter: clock.Now().Add(time.Hour),
	}
}

func sign(t testing.TB, tmpl, parent *x509.Certificate, of, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, of.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
