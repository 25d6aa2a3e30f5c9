package calls

import (
	"errors"
	"net/http"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// Errors with which a Log answers for certain: the command is not in the log and never will be. Any other error means
// that its outcome is not known.
var (
	// ErrNoQuorum means that no leader is known and the caller asked not to wait for one.
	ErrNoQuorum = errors.New("no leader is known")
	// ErrStorageFull means that the disk is above its high-water mark.
	ErrStorageFull = errors.New("disk is nearly full")
	// ErrTooLarge means that the command does not fit in the log.
	ErrTooLarge = errors.New("command is too large")
	// ErrOverloaded means that too many commands wait already.
	ErrOverloaded = errors.New("too many commands are waiting")
	// ErrStopping means that this node takes no commands any more.
	ErrStopping = errors.New("this node is stopping")
)

// Internal is the code of a fault of the broker.
const Internal = problem.Internal

// Times to wait before another try, where nothing better is known.
const (
	retrySoon = time.Second
	retryFull = time.Minute
)

// ProblemOf returns the refusal in r, nil when the command was done. It is the one mapping from outcomes to problems.
func ProblemOf(r storage.Result) *problem.Problem {
	switch r.Outcome {
	case storage.Done:
		return nil
	case storage.Fenced:
		return problem.New(problem.Conflict, "A newer connection of this client has taken over.")
	}
	// The names of outcomes are wire codes. A name this build does not know comes from a newer node.
	code := problem.Code(r.Outcome.String())
	if !code.Known() {
		code = problem.Forbidden
	}
	p := problem.New(code, "%s", sentence(r.Detail))
	p.Limit = limit.In(r.Detail)
	switch r.Outcome {
	case storage.Muted, storage.Banned, storage.SlowMode:
		return p.After(time.Duration(r.TS) * time.Millisecond)
	}
	return p
}

// Refused returns the refusal for an error with which a Log says that the command is not in it and never will be, nil
// for any other error: then the outcome is not known.
//
// An overloaded node answers 503 and not 429: it is not this caller's doing, and a balancer may try another node.
func Refused(err error) *problem.Problem {
	switch {
	case errors.Is(err, ErrNoQuorum):
		return problem.New(problem.NoQuorum, "").After(retrySoon)
	case errors.Is(err, ErrStopping):
		return stopping()
	case errors.Is(err, ErrStorageFull):
		return problem.Over(problem.StorageFull, limit.DiskFree, "").After(retryFull)
	case errors.Is(err, ErrTooLarge):
		return problem.New(problem.TooLarge, "With what JSON adds to it this does not fit in an entry of the log; send less.")
	case errors.Is(err, ErrOverloaded):
		p := problem.Over(problem.RateLimited, limit.PendingBytes, "This node has too much to write at the moment; try again.").After(retrySoon)
		p.Status = http.StatusServiceUnavailable
		return p
	}
	return nil
}

// RefusedPublish is Refused for an MQTT publish, where no leader, a node that stops and, for v3.1.1, a full disk are no
// refusals: a client that got one would not send the message again. nil means to answer nothing, as for an outcome that
// is not known (design.md, "Outcome").
func RefusedPublish(err error, v5 bool) *problem.Problem {
	switch p := Refused(err); {
	case p == nil, p.Code == problem.NoQuorum, p.Code == problem.StorageFull && !v5:
		return nil
	default:
		return p
	}
}

// logProblem is the problem for an error of the log.
func logProblem(err error) *problem.Problem {
	if p := Refused(err); p != nil {
		return p
	}
	return outcomeUnknown()
}

func stopping() *problem.Problem {
	return problem.New(problem.NoQuorum, "This node is stopping; ask another one.").After(retrySoon)
}

func outcomeUnknown() *problem.Problem {
	return problem.New(problem.OutcomeUnknown, "").After(retrySoon)
}

// ProblemFrom returns err as a refusal: a *problem.Problem as it is, an *auth.Refusal under its code, anything else as
// Internal without a detail, since its text is not for clients.
func ProblemFrom(err error) *problem.Problem {
	if p := (*problem.Problem)(nil); errors.As(err, &p) {
		return p
	}
	if r := (*auth.Refusal)(nil); errors.As(err, &r) {
		return problem.New(problem.Code(r.Code), "%s", sentence(r.Title)).After(r.RetryAfter)
	}
	return problem.New(Internal, "")
}

// broken reports a fault of the store: logged here, told in general terms.
func (c *Calls) broken(err error) error {
	if errors.Is(err, storage.ErrClosed) {
		return stopping()
	}
	c.log.Error("the store cannot be read", "err", err)
	return problem.New(Internal, "")
}

// sentence makes a sentence of a detail as the log words it.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	r, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[n:]
	if last := s[len(s)-1]; last != '.' && last != '!' && last != '?' {
		s += "."
	}
	return s
}
