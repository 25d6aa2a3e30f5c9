package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
)

// maxRequestID is the longest id of a request, as JSON.
const maxRequestID = 128

// Request is the payload of me/rpc/{method}.
type Request struct {
	ID     json.RawMessage // a JSON string or number as sent; nil = none
	Params json.RawMessage // nil = none
}

// ParseRequest reads the payload of me/rpc/{method}: {"id","params"}, or nothing at all. The request may be answered
// also where it is refused: its ID is set if it could be read.
func ParseRequest(payload []byte) (Request, *problem.Problem) {
	if len(bytes.TrimSpace(payload)) == 0 {
		return Request{}, nil
	}
	if !utf8.Valid(payload) { // an id comes back as it was sent, and an answer is UTF-8
		return Request{}, problem.New(problem.BadPayload, "A call is JSON in UTF-8.")
	}
	var in struct {
		ID     json.RawMessage `json:"id"`
		Params json.RawMessage `json:"params"`
	}
	err := strictJSON(payload, &in)
	r := Request{ID: in.ID, Params: in.Params}
	if bytes.Equal(r.ID, []byte("null")) {
		r.ID = nil
	}
	if len(r.ID) > maxRequestID || len(r.ID) > 0 && strings.IndexByte(`{[tf`, r.ID[0]) >= 0 {
		return Request{}, problem.New(problem.BadPayload, "id: it is a string or a number of at most %d bytes.", maxRequestID)
	}
	if err != nil {
		return r, problem.New(problem.BadPayload, `A call is {"id":"7","params":{}}; %s.`, jsonFault(err))
	}
	return r, nil
}

// AppendReply appends the payload of me/reply: {"id","ok":true,"result"}, or {"id","ok":false,"error"} where p is not
// nil. A request without an id has none in its answer.
func AppendReply(dst []byte, id, result json.RawMessage, p *problem.Problem) []byte {
	dst = append(dst, '{')
	if len(id) > 0 {
		dst = append(append(append(dst, `"id":`...), id...), ',')
	}
	if p != nil {
		dst = append(dst, `"ok":false,"error":`...)
		return append(p.AppendJSON(dst), '}')
	}
	dst = append(dst, `"ok":true,"result":`...)
	if len(result) == 0 {
		result = json.RawMessage("null")
	}
	return append(append(dst, result...), '}')
}

// Serve answers one rpc of a connection: it parses, runs the method and returns the payload of the answer. replies, the
// connection's own, makes a repeated id get the answer it got before; nil does without. own are the methods bound to this
// connection; they win over all others. The answer must not be changed.
func (c *Calls) Serve(
	ctx context.Context, id auth.Identity, replies *Replies, own map[string]Method, method string, payload []byte,
) []byte {
	req, p := ParseRequest(payload)
	if p != nil {
		return AppendReply(nil, req.ID, nil, p)
	}
	run := func() []byte {
		result, err := c.dispatch(ctx, id, method, req.Params, own)
		if err != nil {
			return AppendReply(nil, req.ID, nil, ProblemFrom(err))
		}
		return AppendReply(nil, req.ID, result, nil)
	}
	if replies == nil || len(req.ID) == 0 {
		return run()
	}
	answer, err := replies.Do(ctx, string(req.ID), run)
	if err != nil {
		return AppendReply(nil, req.ID, nil, outcomeUnknown())
	}
	return answer
}
