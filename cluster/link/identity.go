package link

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// MinSecret is the length, in bytes, below which a shared secret is refused: it is a key, not a password.
const MinSecret = 16

// derivation names what is made of a secret, so that the same secret never gives the same key for another purpose.
const (
	derivationSalt = "madang cluster"
	derivationInfo = "certificate authority, ed25519, 1"
)

// What certificates made here are valid for. A node's wall clock may be wrong by days and the cluster must go on; what
// ends a certificate's life is the end of the process that made its key.
var (
	validFrom  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// Identity is what a node proves itself with, and how it judges others. It may be used by any number of goroutines.
type Identity struct {
	id   string
	cert tls.Certificate
	pool *x509.CertPool
}

// ID is the node's id.
func (i *Identity) ID() string { return i.id }

// FromSecret makes an identity of a secret that all nodes of the cluster share. Every node derives the same authority from
// it (HKDF-SHA256, Ed25519) and signs a certificate for its own id, with a key that lives as long as the process. Whoever
// has the secret can be any node.
func FromSecret(id string, secret []byte) (*Identity, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("the cluster secret has %d bytes, at least %d are needed: make one with `openssl rand -hex 32`",
			len(secret), MinSecret)
	}
	seed, err := hkdf.Key(sha256.New, secret, []byte(derivationSalt), derivationInfo, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the cluster's authority: %w", err)
	}
	authority := ed25519.NewKeyFromSeed(seed)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "madang cluster"}, NotBefore: validFrom, NotAfter: validUntil,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, authority.Public(), authority)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	if root, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make the node's certificate: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id}, NotBefore: validFrom, NotAfter: validUntil,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, public, authority); err != nil {
		return nil, fmt.Errorf("make the node's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &Identity{id: id, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, pool: pool}, nil
}

// FromFiles makes an identity of a certificate that an authority of the operator's signed. Its common name must be id.
func FromFiles(id, certFile, keyFile, caFile string) (*Identity, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.cert_file %s with cluster.key_file %s: %w", certFile, keyFile, err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("cluster.cert_file %s: %w", certFile, err)
	}
	if leaf.Subject.CommonName != id {
		return nil, fmt.Errorf("cluster.cert_file %s is for node %q, this node is %q: node.name and the certificate's common "+
			"name must be equal", certFile, leaf.Subject.CommonName, id)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cluster.ca_file %s: no certificate in it", caFile)
	}
	i := &Identity{id: id, cert: cert, pool: pool}
	if err := i.judge(leaf, nil); err != nil {
		return nil, fmt.Errorf("cluster.cert_file %s: %w", certFile, err)
	}
	return i, nil
}

// errNoCertificate cannot come with the server side's settings; a client side sees it from something that is no node.
var errNoCertificate = errors.New("no certificate was shown")

// judge verifies a certificate against the cluster's authority.
func (i *Identity) judge(leaf *x509.Certificate, between []*x509.Certificate) error {
	o := x509.VerifyOptions{
		Roots: i.pool, Intermediates: x509.NewCertPool(), CurrentTime: clock.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range between {
		o.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(o)
	return err
}

// peer verifies what the other side showed and returns its id.
func (i *Identity) peer(s *tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 {
		return "", errNoCertificate
	}
	if err := i.judge(s.PeerCertificates[0], s.PeerCertificates[1:]); err != nil {
		return "", err
	}
	id := s.PeerCertificates[0].Subject.CommonName
	if id == "" {
		return "", errors.New("the certificate names no node")
	}
	return id, nil
}

// config returns the TLS settings of either side. Verification is ours on both, since names here are node ids; it runs on
// every connection, resumed ones would be too, and there are none.
func (i *Identity) config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{i.cert}, NextProtos: protocols,
		ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true, SessionTicketsDisabled: true, //nolint:gosec // see VerifyConnection
		Time: clock.Now,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := i.peer(&s)
			return err
		},
	}
}
