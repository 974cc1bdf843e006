# The two commands of a newcomer are `make demo` and `make test`.
GO      ?= go
BIN     := bin/fn-threatq
PLUGINS := $(wildcard plugins/*/module plugins/examples/*/*/module)
# Fuzz targets run this long each in `make fuzz`.
FUZZTIME ?= 20s

.PHONY: help demo test warm lab build plugins examples check fmt test-activemq chaos chaos-full hammer soak dist test-package bench fuzz generate clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

demo: build ## a phishing incident end to end, on simulators and a broker of our own
	$(GO) run ./tools/lab demo -host $(BIN)

test: warm ## all tests on the embedded broker, with the race detector
	$(GO) test $(RACE) -timeout 20m ./...

# The race detector over all of this project and what it is made of, but for the
# pure functions in wazero that turn WASM into native code: they start no
# goroutine, and take ten times as long with it. `make test RACE=-race` watches
# them too. Not on this list, and best left so, are packages that synchronize: what
# they share with the standard library would be lost to the detector everywhere.
wazero  := github.com/tetratelabs/wazero/internal
RACE    ?= -race $(patsubst %,-gcflags=$(wazero)/%=-race=false,leb128 wasm/binary engine/wazevo/ssa engine/wazevo/frontend engine/wazevo/backend/...)
# Without this each program that is built with the detector sleeps a second at its end.
export GORACE ?= atexit_sleep_ms=0

# All test programs share one cache of compiled modules. It is filled without
# the race detector, under which even reading a module takes ten times as long, and
# by test programs, because the cache is bound to the library version that they
# report.
export FN_THREATQ_TEST_CACHE := $(CURDIR)/.cache
warm: plugins
	$(GO) test -count=1 -run '^TestPluginsOfThisProject$$|^TestAnswerIsWhatTheGuestGave$$' ./host/catalog ./host/sandbox

lab: build ## the demo's world, kept running to play with
	$(GO) run ./tools/lab up -host $(BIN)

build: plugins ## the host with all modules inside: bin/fn-threatq
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/fn-threatq

plugins: ## the WASM modules
	$(GO) run ./tools/buildplugins

# REQUIRE=-require makes a missing toolchain a failure.
REQUIRE ?=
examples: ## the example packs in Go, Rust, C and AssemblyScript, each checked: bin/examples
	$(GO) run ./tools/examples $(REQUIRE)

# Packages with files that only a build with the tag activemq has.
ACTIVEMQ = $(sort $(dir $(shell grep -rlE '^//go:build.*activemq' --include=*.go .)))
check: plugins ## format, vet, linter, tidy, generated files, import directions
	@test -z "$$(gofmt -l .)" || { echo "not formatted (gofmt -w .):"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags activemq $(ACTIVEMQ)
	GOOS=wasip1 GOARCH=wasm $(GO) vet $(addprefix ./,$(PLUGINS))
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags activemq $(ACTIVEMQ)
	$(GO) mod tidy -diff
	$(GO) mod verify
	$(GO) run ./tools/gendocs -check
	$(GO) test -run 'TestImportsGoOneWay|TestEachPackageHasOnePackageComment|TestGuestsStayLean' ./host

generate: ## rewrite what is generated: the configuration table, the reference of the rules
	$(GO) run ./tools/gendocs

test-activemq: warm ## the broker, queue and end-to-end suites and a short chaos on a real ActiveMQ over TLS
	@tools/activemq/activemq.sh check
	$(GO) test $(RACE) -tags activemq -timeout 20m ./host/broker ./host/queue ./host/e2e ./tools/chaos

# CHAOS_SEED, CHAOS_ACTIONS, CHAOS_KILLS and so on are the flags of tools/chaos.
chaos: build ## a stream of actions on ActiveMQ while everything is killed, cut and slowed; CHAOS_SEED=… repeats one
	@tools/activemq/activemq.sh check
	$(GO) run ./tools/chaos run -host $(BIN)

chaos-full: build ## the same with 100 kills in 10,000 actions, about an hour
	@tools/activemq/activemq.sh check
	$(GO) run ./tools/chaos run -host $(BIN) -actions 10000 -kills 100 -gentle

hammer: build ## 10,000 waiting updates of 100 incidents: how many syncs answer them?
	@tools/activemq/activemq.sh check
	$(GO) run ./tools/chaos hammer -host $(BIN) -actions 10000

soak: build ## 100,000 actions in peace: do memory, descriptors and the ledger stay flat?
	@tools/activemq/activemq.sh check
	$(GO) run ./tools/chaos soak -host $(BIN) -actions 100000

dist: plugins ## the release: static programs, Debian packages, bill of materials, checksums: bin/dist
	$(GO) run ./tools/package -out bin/dist

test-package: plugins ## the release is reproducible, its package installs, its unit is sound
	$(GO) run ./tools/package -out bin/dist -reproducible
	@tools/package/test.sh bin/dist

bench: build ## figures of one run, as ratios
	$(GO) run ./tools/bench

fuzz: ## each fuzz target for FUZZTIME
	@for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
	  done; done

clean: ## remove what was built
	rm -rf bin .cache host/catalog/builtin/*.wasm
