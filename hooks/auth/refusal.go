package auth

import (
	"errors"
	"time"
)

// Codes of a Refusal, as the wire contract names them.
const (
	CodeUnauthenticated = "unauthenticated" // wrong or missing credentials; do not try again unchanged
	CodeTokenExpired    = "token_expired"   // get a new token
	CodeRateLimited     = "rate_limited"    // try again after RetryAfter
	CodeNoQuorum        = "no_quorum"       // this node cannot check it yet; try again after RetryAfter
	CodeForbidden       = "forbidden"       // switched off by configuration
	CodeBadPayload      = "bad_payload"     // an argument breaks a rule
)

var (
	// ErrBadName means that a login, user or namespace breaks the grammar.
	ErrBadName = errors.New("invalid name")
	// ErrBadHash means that a stored password hash is of no known form or asks for more than it may cost.
	ErrBadHash = errors.New("invalid password hash")
	// ErrBadPassword means that a password cannot be stored: empty or too long.
	ErrBadPassword = errors.New("invalid password")
	// ErrChanged means that a users file changed on disk between Load and Save. Nothing was written; load it again.
	ErrChanged = errors.New("the file was changed by somebody else meanwhile")
	// ErrNoUser means that the users file has no such user.
	ErrNoUser = errors.New("no such user")
	// ErrBadKey means that a key file or key set cannot be used.
	ErrBadKey = errors.New("invalid key")
	// ErrBadConfig means that the configuration contradicts itself.
	ErrBadConfig = errors.New("invalid configuration")
)

// Refusal is the error for everybody who is not let in. Title is one sentence that may be shown to the client: it says
// what is wrong and holds no secret. RetryAfter, when set, is when the same credentials may be tried again.
type Refusal struct {
	Code       string
	Title      string
	RetryAfter time.Duration
}

// Error returns code and title.
func (r *Refusal) Error() string { return r.Code + ": " + r.Title }

func refuse(code, title string) *Refusal { return &Refusal{Code: code, Title: title} }

func unauthenticated(title string) *Refusal { return refuse(CodeUnauthenticated, title) }

// errWrongPassword is the one answer to a wrong password, an unknown user and a password no user can have.
func errWrongPassword() *Refusal { return unauthenticated("unknown user or wrong password") }
