package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Publishing by HTTP, with the names that EMQX's API gave its fields, for clients whose network blocks MQTT and for
// servers that know it from there. A publish meets the same rules as one by MQTT, and its answer comes after the commit.

// Bounds of a bulk publish.
const (
	maxBulk      = 1000
	maxBulkBytes = 4 << 20
)

// published is a PUBLISH as EMQX names its parts. retain and qos are taken and change nothing: what becomes of a publish is
// its topic's to say, and the answer is that of QoS 1.
type published struct {
	Topic           string             `json:"topic" doc:"as by MQTT: chat/rooms/{room}/send, .../state/{key}, .../read"`
	Payload         string             `json:"payload,omitempty"`
	PayloadEncoding string             `json:"payload_encoding,omitempty" enum:"plain,base64" doc:"plain when not given"`
	QoS             int                `json:"qos,omitempty" minimum:"0" maximum:"2"`
	Retain          bool               `json:"retain,omitempty"`
	ClientID        string             `json:"clientid,omitempty" doc:"shown as the device" maxLength:"128"`
	Properties      *publishProperties `json:"properties,omitempty"`
}

// publishProperties are those that EMQX takes. Of some nothing comes, as by MQTT: a message that is stored has data, and its
// readers are told of its type.
type publishProperties struct {
	MessageExpiry   uint32            `json:"message_expiry_interval,omitempty" doc:"seconds"`
	UserProperties  map[string]string `json:"user_properties,omitempty" doc:"cid: the same message sent again under it is stored once"`
	PayloadFormat   int               `json:"payload_format_indicator,omitempty" minimum:"0" maximum:"1" doc:"taken, and not passed on: readers are told whether it is text"`
	ContentType     string            `json:"content_type,omitempty" doc:"taken, and not passed on: put it into data or meta"`
	ResponseTopic   string            `json:"response_topic,omitempty" doc:"taken, and not passed on: an answer has reply_to"`
	CorrelationData string            `json:"correlation_data,omitempty" doc:"taken, and not passed on: put it into meta"`
}

func (p *published) cid() string {
	if p.Properties == nil {
		return ""
	}
	return p.Properties.UserProperties["cid"]
}

func (p *published) setCID(cid string) {
	if p.Properties == nil {
		p.Properties = &publishProperties{}
	}
	p.Properties.UserProperties = map[string]string{"cid": cid}
}

func (p *published) expiry() uint32 {
	if p.Properties == nil {
		return 0
	}
	return p.Properties.MessageExpiry
}

// publishAnswer is what became of one.
type publishAnswer struct {
	ID  string `json:"id" doc:"room and seq of what was stored"`
	Seq uint64 `json:"seq,omitempty"`
	TS  int64  `json:"ts,omitempty" doc:"ms since the epoch"`
}

// bulkAnswer is publishAnswer, or why there is none.
type bulkAnswer struct {
	ID         string       `json:"id,omitempty" doc:"room and seq of what was stored"`
	Seq        uint64       `json:"seq,omitempty"`
	TS         int64        `json:"ts,omitempty" doc:"ms since the epoch"`
	ReasonCode int          `json:"reason_code,omitempty" doc:"of MQTT 5; absent when it was stored"`
	Message    string       `json:"message,omitempty" doc:"why not"`
	Code       problem.Code `json:"code,omitempty"`
	RetryAfter int64        `json:"retry_after,omitempty" doc:"seconds"`
}

type publishRequest struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"the same as the user property cid"`
	ContentType    string `header:"Content-Type" hidden:"true"`
	RawBody        []byte
}

type bulkRequest struct {
	Body []published `maxItems:"1000"`
}

func (a *API) registerPublish(h huma.API) {
	if a.cfg.Rules == nil {
		return
	}
	errors := errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	huma.Register(h, huma.Operation{
		OperationID: "publish", Method: http.MethodPost, Path: "/publish", Tags: []string{"publish"},
		Summary:     "Publish to a topic",
		Description: "The body is JSON, or a form (application/x-www-form-urlencoded).",
		Security:    byToken, BodyReadTimeout: messageReadTimeout, MaxBodyBytes: mostBody, Errors: errors,
	}, func(ctx context.Context, in *publishRequest) (*answer[publishAnswer], error) {
		p, bad := parsePublish(in)
		if bad != nil {
			return nil, fail(bad)
		}
		wait, err := a.publish(ctx, &before.Line{}, &p)
		if err != nil {
			return nil, fail(err)
		}
		return answered(wait())
	})
	body := h.OpenAPI().Paths["/publish"].Post.RequestBody
	schema := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[published](), true, "Publish")
	body.Required = true
	body.Content = map[string]*huma.MediaType{
		"application/json":                  {Schema: schema},
		"application/x-www-form-urlencoded": {Schema: formSchema()},
	}
	huma.Register(h, huma.Operation{
		OperationID: "publish.bulk", Method: http.MethodPost, Path: "/publish/bulk", Tags: []string{"publish"},
		Summary: "Publish many, in order", Description: "Each has an answer of its own, in the same order; one that is refused does not hold up the others.",
		Security: byToken, BodyReadTimeout: messageReadTimeout, MaxBodyBytes: maxBulkBytes, Errors: errors,
	}, func(ctx context.Context, in *bulkRequest) (*answer[[]bulkAnswer], error) {
		if len(in.Body) > maxBulk {
			return nil, fail(problem.New(problem.TooLarge, "At most %d at a time; these are %d.", maxBulk, len(in.Body)))
		}
		return &answer[[]bulkAnswer]{a.publishAll(ctx, in.Body)}, nil
	})
}

// publishAll hands all of them to the log in order, then waits for their answers.
func (a *API) publishAll(ctx context.Context, all []published) []bulkAnswer {
	waits := make([]func() (publishAnswer, error), len(all))
	line := &before.Line{}
	for i := range all {
		wait, err := a.publish(ctx, line, &all[i])
		if err != nil {
			wait = func() (publishAnswer, error) { return publishAnswer{}, err }
		}
		waits[i] = wait
	}
	out := make([]bulkAnswer, len(all))
	for i, wait := range waits {
		got, err := wait()
		out[i].ID, out[i].Seq, out[i].TS = got.ID, got.Seq, got.TS
		if err != nil {
			p := calls.ProblemFrom(err)
			out[i].ReasonCode, out[i].Message, out[i].Code, out[i].RetryAfter = int(p.Reason()), p.Sentence(), p.Code, p.RetryAfterSeconds()
		}
	}
	return out
}

// publish sets a publish in motion, after those that are in the line before it; wait returns what became of it.
func (a *API) publish(ctx context.Context, line *before.Line, p *published) (wait func() (publishAnswer, error), err error) {
	if !topic.ValidClientID(p.ClientID) {
		return nil, problem.New(problem.BadPayload, "clientid: it is UTF-8 of at most %d bytes.", topic.MaxClientID)
	}
	payload := []byte(p.Payload)
	if p.PayloadEncoding == "base64" {
		if payload, err = base64.StdEncoding.DecodeString(p.Payload); err != nil {
			return nil, problem.New(problem.BadPayload, "payload: it is no base64.")
		}
	}
	if err := a.spend(ctx, len(payload)); err != nil {
		return nil, err
	}
	action, bad := a.cfg.Rules.Decide(&hooks.Publish{
		From: identityOf(ctx), Device: p.ClientID, Topic: p.Topic, Payload: payload, CID: p.cid(),
		Expiry: p.expiry(),
	})
	var cmd storage.Command
	var room storage.RoomKey
	switch {
	case bad != nil:
		return nil, bad
	case action.Append != nil:
		cmd, room = action.Append, action.Append.Room
	case action.State != nil:
		cmd, room = action.State, action.State.Room
	case action.Mark != nil:
		cmd, room = &storage.Marks{Marks: []storage.MarkOf{*action.Mark}}, action.Mark.Room
	default:
		return nil, problem.New(problem.Unsupported, "Only messages, state and read marks are published by HTTP; calls have routes of their own.")
	}
	done := a.cfg.Calls.BeginIn(ctx, line, cmd, room)
	return func() (publishAnswer, error) {
		r, err := done()
		if err != nil {
			return publishAnswer{}, err
		}
		return publishAnswer{ID: room.Room + ":" + strconv.FormatUint(r.Seq, 10), Seq: r.Seq, TS: r.TS}, nil
	}, nil
}

// parsePublish reads a body: JSON, or a form.
func parsePublish(in *publishRequest) (p published, bad *problem.Problem) {
	media, _, _ := strings.Cut(in.ContentType, ";")
	if strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		p, bad = parseForm(in.RawBody)
	} else {
		bad = parseJSONBody(in.RawBody, &p)
	}
	if bad != nil {
		return p, bad
	}
	switch {
	case p.PayloadEncoding != "" && p.PayloadEncoding != "plain" && p.PayloadEncoding != "base64":
		return p, problem.New(problem.BadPayload, "payload_encoding: %.40q is none; plain and base64 are.", p.PayloadEncoding)
	case p.QoS < 0 || p.QoS > 2:
		return p, problem.New(problem.BadPayload, "qos: it is 0, 1 or 2.")
	case p.Properties != nil && (p.Properties.PayloadFormat < 0 || p.Properties.PayloadFormat > 1):
		return p, problem.New(problem.BadPayload, "payload_format_indicator: it is 0 or 1.")
	}
	if k := in.IdempotencyKey; k != "" {
		if cid := p.cid(); cid != "" && cid != k {
			return p, problem.New(problem.BadPayload, "Idempotency-Key and the user property cid differ; give one, or the same.")
		}
		p.setCID(k)
	}
	return p, nil
}

// formFields are those of a form, each with how it is read; false: it is none of its kind.
var formFields = []struct {
	name   string
	schema huma.Schema
	set    func(p *published, v string) bool
}{
	{
		"topic",
		huma.Schema{Type: huma.TypeString, Description: "as by MQTT: chat/rooms/{room}/send, .../state/{key}, .../read"},
		func(p *published, v string) bool { p.Topic = v; return true },
	},
	{"payload", huma.Schema{Type: huma.TypeString}, func(p *published, v string) bool { p.Payload = v; return true }},
	{
		"payload_encoding",
		huma.Schema{Type: huma.TypeString, Enum: []any{"plain", "base64"}},
		func(p *published, v string) bool { p.PayloadEncoding = v; return true },
	},
	{
		"clientid",
		huma.Schema{Type: huma.TypeString, Description: "shown as the device"},
		func(p *published, v string) bool { p.ClientID = v; return true },
	},
	{
		"cid",
		huma.Schema{Type: huma.TypeString, Description: "the same message sent again under it is stored once"},
		func(p *published, v string) bool { p.setCID(v); return true },
	},
	{"qos", huma.Schema{Type: huma.TypeInteger, Enum: []any{0, 1, 2}}, func(p *published, v string) (ok bool) {
		var err error
		p.QoS, err = strconv.Atoi(v)
		return err == nil
	}},
	{"retain", huma.Schema{Type: huma.TypeBoolean}, func(p *published, v string) (ok bool) {
		var err error
		p.Retain, err = strconv.ParseBool(v)
		return err == nil
	}},
}

func formSchema() *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, Required: []string{"topic"}, AdditionalProperties: false}
	for i := range formFields {
		s.Properties[formFields[i].name] = &formFields[i].schema
	}
	return s
}

func parseForm(body []byte) (p published, bad *problem.Problem) {
	form, err := url.ParseQuery(string(body))
	if err != nil || !allUTF8(form) {
		return p, problem.New(problem.BadPayload, "The form is not well formed.")
	}
	for name, values := range form {
		if len(values) > 1 {
			return p, problem.New(problem.BadPayload, "%.40q is in the form twice.", name)
		}
		known := false
		for _, f := range formFields {
			if f.name != name {
				continue
			}
			if known = true; !f.set(&p, values[0]) {
				return p, problem.New(problem.BadPayload, "%s: %.40q is no %s.", name, values[0], f.schema.Type)
			}
		}
		if !known {
			return p, problem.New(problem.BadPayload, "A form has no field %.40q; it takes topic, payload, payload_encoding, clientid, cid, qos and retain.", name)
		}
	}
	return p, nil
}

// parseJSONBody decodes a body into what p points to. Unknown keys and wrong types are refused, saying which.
func parseJSONBody(body []byte, p any) *problem.Problem {
	if !utf8.Valid(body) {
		return problem.New(problem.BadPayload, "The body is JSON in UTF-8.")
	}
	if err := calls.Params(body, p); err != nil {
		return problem.New(problem.BadPayload, "%s", strings.Replace(calls.ProblemFrom(err).Sentence(), "params: ", "The body: ", 1))
	}
	return nil
}

func allUTF8(form url.Values) bool {
	for name, values := range form {
		for _, v := range append([]string{name}, values...) {
			if !utf8.ValidString(v) {
				return false
			}
		}
	}
	return true
}
