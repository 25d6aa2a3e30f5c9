# What can be asked of this tree. A line with two # after its target is listed by `make` alone.
GO       ?= go
FUZZTIME ?= 30s
ROUNDS   ?= 30
BENCH    ?= .
ARGS     ?=

GOLANGCI = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CORE     = ./storage/... ./cluster/... ./hooks/... ./broker/...
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# Fails when no test has that word in its name: a target that runs nothing must not look green.
some-tests = @$(GO) test -list $(1) ./... | grep -q '^Test' || { echo "no test is called ...$(1)..." >&2; exit 1; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:
	@echo "usage: make TARGET"; echo
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: build
build: ## bin/madang, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/madang ./cmd/madang

.PHONY: run
run: build ## build, then start a node for development: make run ARGS='--set log.level=debug'
	./bin/madang serve --dev $(ARGS)

NET ?= 127.0.0.
.PHONY: node
node: build ## one of three nodes on this machine: make node N=1, N=2 and N=3, each in a terminal of its own
	./bin/madang serve --dev --data-dir madang-data/$(N) --set node.name=n$(N) \
		--set listeners.mqtt.bind=$(NET)$(N):1883 --set listeners.web.bind=$(NET)$(N):8080 \
		--set listeners.ops.bind=$(NET)$(N):8081 --set cluster.bind=$(NET)$(N):7946 --set cluster.bootstrap_expect=3 \
		--set cluster.join=$(NET)1:7946,$(NET)2:7946,$(NET)3:7946 $(ARGS)

.PHONY: test
test: deps ## all tests but those of a browser
	$(GO) vet ./...
	$(GO) test -timeout 30m ./...

.PHONY: race
race: deps ## the same under the race detector
	scripts/deps.sh race
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./...

.PHONY: lint
lint: ## golangci-lint with .golangci.yml, gofumpt included
	$(GOLANGCI) run ./...

.PHONY: fuzz
fuzz: ## every fuzz target, each for FUZZTIME (30s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: crash
crash: ## kill and power-cut tests, ROUNDS (30) of each
	$(call some-tests,Crash)
	MADANG_CRASH_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 60m -run Crash ./...

.PHONY: chaos
chaos: ## clusters of processes that die, hang, lose each other, power and disks, ROUNDS (30) of each; more as root
	scripts/deps.sh chaos
	MADANG_CHAOS_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 120m -v -run 'Chaos|Wandering|ClockSteps' ./internal/chaos

DURATION ?= 10m
.PHONY: soak
soak: ## random load and faults on three nodes for DURATION (10m, up to 24h), and what of them grows; more as root
	scripts/deps.sh chaos
	MADANG_SOAK=$(DURATION) $(GO) test -count=1 -timeout 26h -v -run '^TestS(oak|lope)$$' ./internal/chaos

.PHONY: bench
bench: ## Go benchmarks: make bench BENCH=Apply
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: bench-peers
bench-peers: ## compare with other brokers, into docs/performance.md: make bench-peers ARGS='-rows room -runs 1'
	scripts/deps.sh peers
	$(GO) run ./internal/peers $(ARGS)

.PHONY: bench-hostile
bench-hostile: ## what floods, storms and slow readers cost others, beside mosquitto, into docs/hostile.md
	scripts/deps.sh peers
	$(GO) run ./internal/peers -hostile -peers mosquitto -out docs/hostile.md $(ARGS)

CLIENTS ?= 8000
.PHONY: storm
storm: ## CLIENTS (8000) stored sessions that lose their node and come back at once, one node and three
	$(call some-tests,ReconnectStorm)
	MADANG_STORM_CLIENTS=$(CLIENTS) $(GO) test -count=1 -timeout 30m -v -run 'ReconnectStorm' ./broker

.PHONY: test-browser
test-browser: testdata/browser/node_modules/.done ## tests with a real Chromium
	$(call some-tests,Browser)
	MADANG_TEST_BROWSER=1 $(GO) test -count=1 -timeout 30m -run Browser ./...

.PHONY: cover
cover: deps ## coverage of storage, cluster, hooks and broker, by package
	$(GO) test -timeout 30m -cover $(CORE)

.PHONY: deps
deps: testdata/mqttjs/node_modules/.done ## install what the tests need (Debian packages, npm modules)
	scripts/deps.sh test

# npm ci empties node_modules first, so that the mark is there only after a complete install.
testdata/mqttjs/node_modules/.done: testdata/mqttjs/package-lock.json
	scripts/deps.sh test
	cd $(@D)/.. && npm ci --no-audit --no-fund --loglevel=error
	touch $@

testdata/browser/node_modules/.done: testdata/browser/package-lock.json
	scripts/deps.sh browser
	cd $(@D)/.. && npm ci --no-audit --no-fund --loglevel=error
	touch $@
