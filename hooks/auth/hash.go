package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Stored hashes, one text form each; a users file may mix them:
//
//	$7$ITERATIONS$SALT$HASH                      PBKDF2-HMAC-SHA512, mosquitto_passwd since 2.0
//	$6$SALT$HASH                                 SHA512(password, salt), mosquitto_passwd before; weak
//	$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH   what HashPassword makes
//
// Salt and hash are base64: standard with padding in the first two, without padding in the third.
type hashKind uint8

const (
	kindSHA512 hashKind = iota + 1
	kindPBKDF2
	kindArgon2id
)

// What a stored hash may cost. A typing error, or a line from somebody else, must not take a node's memory or minutes
// of its processors: beyond these bounds a users file is refused when it is loaded. The largest allowed hash takes
// about one second.
const (
	maxPBKDF2Iterations = 2_000_000
	maxArgon2Memory     = 256 << 10 // KiB
	maxArgon2Passes     = 64
	maxArgon2Lanes      = 16
	maxArgon2Work       = 1 << 20 // KiB x passes
	minSalt, maxSalt    = 1, 64
	minArgon2Sum        = 16
	maxArgon2Sum        = 64
)

// What new hashes cost: the second of the settings OWASP recommends for argon2id, 19 MiB and two passes.
const (
	newArgon2Memory = 19456
	newArgon2Passes = 2
	newArgon2Lanes  = 1
	newSalt         = 16
	newSum          = 32
)

// maxPassword bounds what is hashed; a longer password can neither be set nor match.
const maxPassword = 4096

// cost is everything about a hash that decides how long a verification takes.
type cost struct {
	kind   hashKind
	memory uint32 // argon2id: KiB
	passes uint32 // argon2id: passes, PBKDF2: iterations
	lanes  uint8
	sum    int // bytes
}

// passwordHash is one parsed hash. It is immutable.
type passwordHash struct {
	cost
	salt, sum []byte
}

// HashPassword returns a new argon2id hash of the password in the form the users file holds. ErrBadPassword: empty, or
// longer than 4096 bytes.
func HashPassword(password []byte) (string, error) {
	if len(password) == 0 {
		return "", fmt.Errorf("%w: it is empty", ErrBadPassword)
	}
	if len(password) > maxPassword {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrBadPassword, maxPassword)
	}
	salt := make([]byte, newSalt)
	rand.Read(salt) // never fails
	sum := argon2.IDKey(password, salt, newArgon2Passes, newArgon2Memory, newArgon2Lanes, newSum)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, newArgon2Memory, newArgon2Passes,
		newArgon2Lanes, base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), nil
}

// parseHash reads one stored hash. The error, ErrBadHash, says what is wrong and quotes nothing of the hash.
func parseHash(s string) (*passwordHash, error) {
	fields := strings.Split(s, "$")
	if len(fields) < 2 || fields[0] != "" {
		return nil, badHash("not hashed; use mosquitto_passwd -U or madang user passwd")
	}
	switch kind := fields[1]; {
	case kind == "6" && len(fields) == 4:
		return parseMosquitto(cost{kind: kindSHA512}, fields[2:])
	case kind == "7" && len(fields) == 5:
		n, err := parseCost("iterations", fields[2], maxPBKDF2Iterations)
		if err != nil {
			return nil, err
		}
		return parseMosquitto(cost{kind: kindPBKDF2, passes: n}, fields[3:])
	case kind == "argon2id" && len(fields) == 6:
		return parseArgon2(fields[2:])
	case kind == "6", kind == "7", kind == "argon2id":
		return nil, badHash("wrong number of $ fields")
	}
	return nil, badHash("unknown kind (known: $7$, $6$, $argon2id$)")
}

// knownKind reports whether s begins as a hash of one of the known kinds does.
func knownKind(s string) bool {
	return strings.HasPrefix(s, "$6$") || strings.HasPrefix(s, "$7$") || strings.HasPrefix(s, "$argon2id$")
}

func parseMosquitto(c cost, fields []string) (*passwordHash, error) {
	salt, err := base64.StdEncoding.DecodeString(fields[0])
	if err != nil || len(salt) < minSalt || len(salt) > maxSalt {
		return nil, badHash("the salt is not base64 of %d-%d bytes", minSalt, maxSalt)
	}
	sum, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(sum) != sha512.Size {
		return nil, badHash("the hash is not base64 of %d bytes", sha512.Size)
	}
	c.sum = len(sum)
	return &passwordHash{cost: c, salt: salt, sum: sum}, nil
}

func parseArgon2(fields []string) (*passwordHash, error) {
	if fields[0] != "v=19" {
		return nil, badHash("argon2id version other than v=19")
	}
	c := cost{kind: kindArgon2id}
	for i, p := range strings.Split(fields[1], ",") {
		name, value, _ := strings.Cut(p, "=")
		var err error
		var n uint32
		switch {
		case i == 0 && name == "m":
			c.memory, err = parseCost("m", value, maxArgon2Memory)
		case i == 1 && name == "t":
			c.passes, err = parseCost("t", value, maxArgon2Passes)
		case i == 2 && name == "p":
			n, err = parseCost("p", value, maxArgon2Lanes)
			c.lanes = uint8(n)
		default:
			err = badHash("parameters are not m=..,t=..,p=..")
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case c.lanes == 0:
		return nil, badHash("parameters are not m=..,t=..,p=..")
	case c.memory < 8*uint32(c.lanes):
		return nil, badHash("m is below 8 x p")
	case uint64(c.memory)*uint64(c.passes) > maxArgon2Work:
		return nil, badHash("m x t is above %d KiB", maxArgon2Work)
	}
	salt, err := base64.RawStdEncoding.DecodeString(fields[2])
	if err != nil || len(salt) < 8 || len(salt) > maxSalt {
		return nil, badHash("the salt is not unpadded base64 of 8-%d bytes", maxSalt)
	}
	sum, err := base64.RawStdEncoding.DecodeString(fields[3])
	if err != nil || len(sum) < minArgon2Sum || len(sum) > maxArgon2Sum {
		return nil, badHash("the hash is not unpadded base64 of %d-%d bytes", minArgon2Sum, maxArgon2Sum)
	}
	c.sum = len(sum)
	return &passwordHash{cost: c, salt: salt, sum: sum}, nil
}

// parseCost reads a decimal from 1 to limit, without sign, blank or leading zero.
func parseCost(name, s string, limit uint32) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || s[0] == '0' || s[0] == '+' {
		return 0, badHash("%s is not a number above 0", name)
	}
	if n > uint64(limit) {
		return 0, badHash("%s is above the limit of %d", name, limit)
	}
	return uint32(n), nil
}

func badHash(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadHash, fmt.Sprintf(format, args...))
}

// derive computes what the hash of password is under h's cost and salt. It takes h.cost of memory and time.
func (h *passwordHash) derive(password []byte) ([]byte, error) {
	switch h.kind {
	case kindPBKDF2:
		return pbkdf2.Key(sha512.New, string(password), h.salt, int(h.passes), h.cost.sum)
	case kindArgon2id:
		return argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, uint32(h.cost.sum)), nil
	default:
		d := sha512.New()
		d.Write(password)
		d.Write(h.salt)
		return d.Sum(nil), nil
	}
}

// verify reports whether password is the one h was made of, in a time that depends on h.cost alone.
func (h *passwordHash) verify(password []byte) bool {
	got, err := h.derive(password)
	return err == nil && subtle.ConstantTimeCompare(got, h.sum) == 1
}

// dummy returns a hash of the same cost that no password matches in practice: its sum is random.
func (c cost) dummy() *passwordHash {
	h := &passwordHash{cost: c, salt: make([]byte, newSalt), sum: make([]byte, c.sum)}
	rand.Read(h.salt)
	rand.Read(h.sum)
	return h
}

// weak reports whether a stolen file would give this password away quickly.
func (c cost) weak() bool {
	return c.kind == kindSHA512 || c.kind == kindPBKDF2 && c.passes < 10_000
}

// defaultCost is what HashPassword uses; unknown users cost this much while the users file is empty.
var defaultCost = cost{
	kind: kindArgon2id, memory: newArgon2Memory, passes: newArgon2Passes, lanes: newArgon2Lanes, sum: newSum,
}
