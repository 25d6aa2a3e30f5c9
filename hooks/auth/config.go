package auth

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// Values of Config.Guest.
const (
	GuestOff  = "off"
	GuestRead = "read"
)

// JWTConfig names the keys that tokens from outside are checked with, and what those tokens must say.
type JWTConfig struct {
	HMACSecretFile string // HS256; at least 32 bytes, one line end after them is not part of it
	PublicKeyFile  string // PEM, public keys or certificates: RSA (RS256), P-256 (ES256), Ed25519 (EdDSA)
	JWKSURL        string // https, or http to a loopback address
	Issuer         string // when set, "iss" must be this
	Audience       string // when set, "aud" must be or hold this
}

func (c JWTConfig) keys() bool {
	return c.HMACSecretFile != "" || c.PublicKeyFile != "" || c.JWKSURL != ""
}

// Config is what New needs to know. The zero value lets nobody in.
type Config struct {
	Trust            bool     // any username with any password is that user; "admin" is admin
	UsersFile        string   // users and passwords; "" = none
	Accounts         Accounts // users who registered; nil = there are none
	ServiceKeysFile  string   // "" = there are none
	Guest            string   // GuestOff (default) or GuestRead
	JWT              JWTConfig
	DefaultNamespace string   // default "chat"
	Admins           []string // logins that are admin of their namespace, whatever way they log in but by a JWT
	Auditors         []string // logins that are auditor of their namespace, likewise
	BackOff          bool     // slow down guessing; off in --dev

	HashConcurrency int           // password hashes at once; default half of the processors, at least 1
	CacheTTL        time.Duration // how long a right password is remembered; default 5 min, negative = not at all
	LoginTTL        time.Duration // life of tokens issued by Login; default 12 h
	GuestTTL        time.Duration // life of tokens issued by GuestToken without a ttl; default 30 days

	Logger *slog.Logger // default: nothing is logged
}

// withDefaults fills in what is not set and refuses what contradicts itself.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Guest, GuestOff)
	setDefault(&c.DefaultNamespace, defaultNamespace)
	setDefault(&c.HashConcurrency, max(1, runtime.GOMAXPROCS(0)/2))
	setDefault(&c.CacheTTL, 5*time.Minute)
	setDefault(&c.LoginTTL, 12*time.Hour)
	setDefault(&c.GuestTTL, 30*24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Guest != GuestOff && c.Guest != GuestRead:
		return c, fmt.Errorf("%w: auth.guest is %q; it may be off or read", ErrBadConfig, c.Guest)
	case !ValidNamespace(c.DefaultNamespace):
		return c, fmt.Errorf("%w: the default namespace %q is not 1-%d of A-Z a-z 0-9 . _ : -",
			ErrBadConfig, c.DefaultNamespace, maxNamespace)
	case c.HashConcurrency < 1:
		return c, fmt.Errorf("%w: the number of password hashes at once is below 1", ErrBadConfig)
	case c.LoginTTL < time.Second || c.GuestTTL < time.Second:
		return c, fmt.Errorf("%w: tokens must live for a second at least", ErrBadConfig)
	case !c.JWT.keys() && (c.JWT.Issuer != "" || c.JWT.Audience != ""):
		return c, fmt.Errorf("%w: auth.jwt.issuer and audience have no effect without a key; set one of "+
			"auth.jwt.hmac_secret_file, public_key_file and jwks_url", ErrBadConfig)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// loginSet makes a set of "ns/user" from a list of logins.
func loginSet(key string, logins []string, def string) (map[string]bool, error) {
	set := make(map[string]bool, len(logins))
	for _, login := range logins {
		ns, user, err := SplitLogin(login, def)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %q: %w", ErrBadConfig, key, login, err)
		}
		set[ns+"/"+user] = true
	}
	return set, nil
}
