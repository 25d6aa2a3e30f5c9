package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"gopkg.in/yaml.v3"
)

//go:embed asyncapi.yaml
var asyncAPI []byte

// asyncDocument is the AsyncAPI document as JSON: what is said over MQTT. Package interop holds a running broker against it.
func asyncDocument() ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(asyncAPI, &doc); err != nil {
		return nil, fmt.Errorf("read the AsyncAPI document: %w", err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the AsyncAPI document: %w", err)
	}
	return b, nil
}

func (a *API) serveAsyncAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(a.async) // a client that is gone needs no answer
}
