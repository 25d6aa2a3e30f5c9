package main

import (
	"encoding/json"
	"errors"
	"fmt"
)

// report is what one run of madang bench prints with --json, as far as it is needed here. What does not belong to the
// scenario is nil or 0.
type report struct {
	Scenario        string   `json:"scenario"`
	Seconds         float64  `json:"seconds"`
	Refused         int64    `json:"refused"` // acknowledged with an error
	RefusedWhy      string   `json:"refused_why"`
	AcksPerSecond   float64  `json:"acked_per_second"`
	AckLatency      *latency `json:"ack_latency_ms"`
	Delivered       int64    `json:"delivered"`
	PerSecond       float64  `json:"deliveries_per_second"`
	PerCPU          float64  `json:"deliveries_per_cpu_second"`
	Latency         *latency `json:"latency_ms"`
	Lost            int64    `json:"lost"`
	OutOfOrder      int64    `json:"out_of_order"`
	Disconnected    int      `json:"disconnected"`
	DisconnectedWhy string   `json:"disconnected_why"`

	ConnectsPerSecond float64 `json:"connects_per_second"`
	KBPerConnection   float64 `json:"broker_kb_per_connection"`
	RSS               int64   `json:"broker_rss_bytes"`

	DrainSeconds    float64 `json:"drain_seconds"`
	SessionsPresent int     `json:"sessions_present"`

	LiveBefore *latency `json:"live_latency_before_ms"`
	LiveDuring *latency `json:"live_latency_during_ms"`
	Alone      float64  `json:"alone_deliveries_per_second"`
	Beside     float64  `json:"beside_deliveries_per_second"`
	AloneCPU   float64  `json:"alone_broker_cpu"`
	BesideCPU  float64  `json:"beside_broker_cpu"`
	Attempts   float64  `json:"ended_attempts"`
	FloodAcked float64  `json:"flood_acked"`

	raw json.RawMessage // the line as it was printed
}

// latency are percentiles in milliseconds.
type latency struct {
	P99 float64 `json:"p99"`
}

// parseReport reads the output of madang bench --json.
func parseReport(text []byte) (*report, error) {
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("madang bench printed no report: %w", err)
	}
	if r.Scenario == "" {
		return nil, errors.New("madang bench printed something that is no report: it names no scenario")
	}
	r.raw = json.RawMessage(text)
	return r, nil
}
