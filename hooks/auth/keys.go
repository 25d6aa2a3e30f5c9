package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecret  = 32
	minRSABits = 2048
	maxRSABits = 8192
	maxKeyFile = 1 << 20
)

// methods is every algorithm a token may have. Each key verifies one of them, see algorithmOf; "none" and the others
// are not here, so there is nothing to switch off.
var methods = map[string]jwt.SigningMethod{
	"HS256": jwt.SigningMethodHS256,
	"RS256": jwt.SigningMethodRS256,
	"ES256": jwt.SigningMethodES256,
	"EdDSA": jwt.SigningMethodEdDSA,
}

// keyring holds the keys of auth.jwt that come from files, by the algorithm each verifies. It is immutable.
type keyring map[string][]any

// loadKeys reads the key files that are configured.
func loadKeys(cfg JWTConfig) (keyring, error) {
	ring := keyring{}
	if cfg.HMACSecretFile != "" {
		secret, err := ReadSecretFile(cfg.HMACSecretFile)
		if err != nil {
			return nil, fmt.Errorf("auth.jwt.hmac_secret_file: %w", err)
		}
		ring["HS256"] = []any{secret}
	}
	if cfg.PublicKeyFile != "" {
		keys, err := readPublicKeys(cfg.PublicKeyFile)
		if err != nil {
			return nil, fmt.Errorf("auth.jwt.public_key_file: %w", err)
		}
		for _, key := range keys {
			alg, err := algorithmOf(key)
			if err != nil {
				return nil, fmt.Errorf("auth.jwt.public_key_file: %s: %w", cfg.PublicKeyFile, err)
			}
			ring[alg] = append(ring[alg], key)
		}
	}
	return ring, nil
}

// ReadSecretFile reads an HMAC secret: the bytes of the file without one line end after them. ErrBadKey: they are
// fewer than 32, or a PEM file, which is no secret.
func ReadSecretFile(path string) ([]byte, error) {
	secret, err := readLimited(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	secret = bytes.TrimSuffix(secret, []byte("\n"))
	secret = bytes.TrimSuffix(secret, []byte("\r"))
	if err := checkSecret(secret); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}

func checkSecret(secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("%w: an HMAC secret needs at least %d bytes, this one has %d "+
			"(make one with: openssl rand -hex 32)", ErrBadKey, minSecret, len(secret))
	}
	if bytes.HasPrefix(secret, []byte("-----BEGIN ")) {
		return fmt.Errorf("%w: a PEM file is not an HMAC secret; use public_key_file", ErrBadKey)
	}
	return nil
}

// readPublicKeys reads all public keys and certificates of a PEM file; several of them serve a change of keys.
func readPublicKeys(path string) ([]crypto.PublicKey, error) {
	rest, err := readLimited(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	var keys []crypto.PublicKey
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w: no PEM block with a public key or certificate", path, ErrBadKey)
	}
	return keys, nil
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
		}
		return key, nil
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
		}
		return cert.PublicKey, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%w: it holds a private key; a broker needs only the public half "+
			"(openssl pkey -in KEY -pubout), and this key should be replaced", ErrBadKey)
	}
	return nil, fmt.Errorf("%w: PEM block %q is neither PUBLIC KEY nor CERTIFICATE", ErrBadKey, block.Type)
}

// algorithmOf returns the one algorithm a public key verifies here.
func algorithmOf(key crypto.PublicKey) (string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minRSABits || n > maxRSABits {
			return "", fmt.Errorf("%w: an RSA key of %d bits; %d to %d are accepted", ErrBadKey, n, minRSABits, maxRSABits)
		}
		return "RS256", nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", fmt.Errorf("%w: an elliptic curve other than P-256", ErrBadKey)
		}
		return "ES256", nil
	case ed25519.PublicKey:
		return "EdDSA", nil
	}
	return "", fmt.Errorf("%w: keys of type %T are not accepted (RSA, ECDSA P-256 and Ed25519 are)", ErrBadKey, key)
}
