package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Headers of Standard Webhooks.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

const (
	secretPrefix = "whsec_"
	minSecret    = 24 // bytes, as Standard Webhooks says
	maxSecret    = 64
	maxSecrets   = 8
)

// ErrSecret is returned for secrets that cannot be used. It never quotes them.
var ErrSecret = errors.New("no secret of Standard Webhooks (whsec_ and 24 to 64 bytes in base64, one a line)")

// Signer signs with every one of its secrets, so that a receiver may know the old one or the new.
type Signer struct{ keys [][]byte }

// String keeps secrets out of logs.
func (s Signer) String() string { return fmt.Sprintf("%d secrets", len(s.keys)) }

// ReadSecrets reads a file of secrets.
func ReadSecrets(file string) (Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Signer{}, fmt.Errorf("read the secret: %w", err)
	}
	s, err := ParseSecrets(string(b))
	if err != nil {
		return Signer{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// ParseSecrets reads secrets, one a line. Empty lines and those that begin with # are left out.
func ParseSecrets(text string) (Signer, error) {
	var s Signer
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		coded, ok := strings.CutPrefix(line, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(coded)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret || len(s.keys) == maxSecrets {
			return Signer{}, ErrSecret
		}
		s.keys = append(s.keys, key)
	}
	if len(s.keys) == 0 {
		return Signer{}, ErrSecret
	}
	return s, nil
}

// Sign returns the value of the header webhook-signature: of each secret v1 and the HMAC of id, time and body.
func (s Signer) Sign(id string, seconds int64, body []byte) string {
	var out []byte
	for _, key := range s.keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(id + "." + strconv.FormatInt(seconds, 10) + "."))
		h.Write(body)
		if out != nil {
			out = append(out, ' ')
		}
		out = base64.StdEncoding.AppendEncode(append(out, "v1,"...), h.Sum(nil))
	}
	return string(out)
}
