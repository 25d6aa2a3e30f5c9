package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/problem"
)

//go:embed docs.css
var docsStyle string

//go:embed docs.tmpl
var docsTemplate string

// docsPolicy lets the page have its own style sheet and nothing else.
var docsPolicy = func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// call is an operation as the page shows it.
type call struct {
	Method, Path, ID, Summary, Description string
	Open                                   bool // asks nobody who they are
	Parameters                             []*huma.Param
	Body                                   []string // media types
	Answers                                []answerOfCall
}

type answerOfCall struct {
	Status, Means string
	Problem       bool
}

// codeOf is a row of the table of problems.
type codeOf struct {
	Code   problem.Code
	Status int
	Title  string
}

// describe makes a page for people of the OpenAPI document. It needs no script and nothing from elsewhere.
func describe(doc *huma.OpenAPI) ([]byte, error) {
	data := struct {
		Style         template.CSS
		Title, About  string
		Version, Base string
		OpenAPI       string
		Calls         []call
		Codes         []codeOf
	}{
		Style: template.CSS(docsStyle), Title: doc.Info.Title, About: doc.Info.Description, Version: doc.Info.Version, //nolint:gosec // our own file
		Base: Base, OpenAPI: OpenAPIPath,
	}
	for path, item := range doc.Paths {
		for _, op := range operations(item) {
			data.Calls = append(data.Calls, callOf(path, op))
		}
	}
	slices.SortFunc(data.Calls, func(a, b call) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method)) })
	for _, c := range append(problem.Codes(), problem.Internal) {
		data.Codes = append(data.Codes, codeOf{c, c.Status(), c.Title()})
	}
	t, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, data)
	return b.Bytes(), err
}

// operations are those of a path.
func operations(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

func callOf(path string, op *huma.Operation) call {
	c := call{
		Method: op.Method, Path: path, ID: op.OperationID, Summary: op.Summary, Description: op.Description,
		Open: len(op.Security) == 0, Parameters: op.Parameters,
	}
	if op.RequestBody != nil {
		for media := range op.RequestBody.Content {
			c.Body = append(c.Body, media)
		}
		slices.Sort(c.Body)
	}
	for status, r := range op.Responses {
		c.Answers = append(c.Answers, answerOfCall{status, r.Description, status[0] >= '4'})
	}
	slices.SortFunc(c.Answers, func(a, b answerOfCall) int { return cmp.Compare(a.Status, b.Status) })
	return c
}

func (a *API) serveDocs(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", docsPolicy)
	_, _ = w.Write(a.page) // a client that is gone needs no answer
}
