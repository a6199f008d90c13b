# Everything that is installed lands in this checkout: node_modules/, .venv/, build/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The pinned Node.js and CDK come first, for the CDK and for jsii.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

PYTHON ?= python3
TOOL := go tool -modfile=tools/go.mod
NODE_DONE := node_modules/.installed
PYTHON_DONE := .venv/.installed
OPENSEARCH := $(CURDIR)/build/opensearch/classpath
LINT_DONE := .venv-lint/.installed
# Not the tests that start the local machine, of which a checkout has one at a time,
# nor the example and Redshift, which have targets of their own.
NOT_E2E := $$(go list ./... | grep -v -e /tests/e2e -e /tests/conformance -e /tests/deploy -e /tests/examples -e /tests/formats -e /tests/iam -e /tests/opensearch -e /tests/redshift)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(NODE_DONE) $(PYTHON_DONE) ## Install the CDK, Node.js and MiniStack into this checkout

$(NODE_DONE): package.json package-lock.json | tools-present
	npm ci --no-fund --no-audit --loglevel=error
	@touch $@

$(PYTHON_DONE): requirements.txt | tools-present
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# The checkers come only where they are used: they are four times the emulator.
$(LINT_DONE): requirements-lint.txt | tools-present
	$(PYTHON) -m venv --clear .venv-lint
	.venv-lint/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-lint.txt
	@touch $@

.PHONY: tools-present
tools-present:
	@missing=; need() { missing="$$missing"$$'\n'"  $$1"; }; \
	command -v go >/dev/null || need 'Go 1.26 or newer (go)'; \
	command -v npm >/dev/null || need 'Node.js 20 or newer with npm (node, npm)'; \
	if command -v node >/dev/null; then \
	  [ "$$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || need "Node.js 20 or newer; here is $$(node --version)"; fi; \
	if command -v $(PYTHON) >/dev/null; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || need "Python 3.11 or newer; here is $$($(PYTHON) --version 2>&1). Name another one with make PYTHON=python3.12"; \
	  $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || need "Python's venv module (on Debian and Ubuntu: apt install python3-venv)"; \
	else need 'Python 3.11 or newer ($(PYTHON))'; fi; \
	if [ -n "$$missing" ]; then echo "millrace needs, and can't find:$$missing" >&2; exit 1; fi

.PHONY: demo
demo: install ## Deploy the stack locally, run a race through it, show what came out, stop
	@go run ./cmd/millrace demo $(ARGS)

.PHONY: local
local: install ## Deploy the stack locally and keep it running until Ctrl-C
	@go run ./cmd/millrace local up $(ARGS)

.PHONY: test
test: lint unit examples e2e ## Everything: lint, unit tests, goldens, import rules, the example, the run end to end

.PHONY: unit
unit: install ## Unit tests, goldens and import rules; no emulator
	@# The CDK's own rules take most of a synthesis; make synth applies them, strictly.
	CDK_VALIDATION=false go test $(NOT_E2E)
	cd tests/bench/kpl && go test ./...

.PHONY: examples
examples: install synth ## The example app: vet, tests, and its functions out of a module cache
	cd examples && go vet ./... && go tool -modfile=../tools/go.mod staticcheck ./...
	@cd examples && if ! go mod tidy -diff; then echo 'go.mod or go.sum of the examples is not tidy; run go mod tidy in examples'; exit 1; fi
	cd examples && CDK_VALIDATION=false go test ./...
	CDK_VALIDATION=false go test ./tests/examples

.PHONY: e2e
e2e: install ## The stack on the emulator, end to end; its streams as event sources
	go test -count=1 -timeout=15m -p=1 -v ./tests/e2e ./tests/conformance ./tests/deploy

.PHONY: test-iam
test-iam: install ## Take every action out of every policy, one at a time, and see what fails
	go test -count=1 -timeout=10m -v ./tests/iam

.PHONY: test-redshift
test-redshift: install ## The path to Redshift, end to end: objects, COPY, migrations, and rows in a PostgreSQL
	go test -count=1 -timeout=10m -v ./tests/redshift

.PHONY: test-formats
test-formats: | tools-present ## Read the Parquet and ORC files of the local machine with Apache Arrow
	$(PYTHON) -m venv --clear build/formats/python
	build/formats/python/bin/python -m pip install --quiet --disable-pip-version-check -r tests/formats/requirements.txt
	go test -count=1 ./tests/formats -python=$(CURDIR)/build/formats/python/bin/python

.PHONY: test-opensearch
test-opensearch: $(OPENSEARCH) ## Deliver to a real OpenSearch node, which Maven brings (needs Java 17 and mvn)
	go test -count=1 -timeout=10m -v ./tests/opensearch -opensearch.classpath=$(OPENSEARCH)

# The jars land in this checkout too, below build/.
$(OPENSEARCH): tests/opensearch/pom.xml
	@missing=; need() { missing="$$missing"$$'\n'"  $$1"; }; \
	if command -v java >/dev/null; then \
	  version=$$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'); \
	  [ "$${version:-0}" -ge 17 ] || need "Java 17 or newer; here is $${version:-none}"; \
	else need 'Java 17 or newer (java)'; fi; \
	command -v mvn >/dev/null || need 'Maven (mvn)'; \
	if [ -n "$$missing" ]; then echo "An OpenSearch node needs, and can't find:$$missing" >&2; exit 1; fi
	mvn --quiet --batch-mode -Dstyle.color=never --file $< -Dmaven.repo.local=$(@D)/maven dependency:build-classpath -Dmdep.outputFile=$@

.PHONY: race
race: install ## Unit tests under the race detector
	CGO_ENABLED=1 go test -race ./lambdas/... ./local/... ./cmd/... ./constructs/spec
	CGO_ENABLED=1 go test -race ./tests/sim -seeds=5 -records=3000

.PHONY: lint
lint: checks ## vet, staticcheck, gofumpt, and the checkers of the templates
	go vet ./...
	$(TOOL) staticcheck ./...
	@unformatted=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted; run make fmt:"; echo "$$unformatted"; exit 1; fi
	@if ! go mod tidy -diff; then echo 'go.mod or go.sum is not tidy; run go mod tidy'; exit 1; fi
	@for module in kit kpl; do (cd tests/bench/$$module && go vet ./... && go mod tidy -diff) || exit 1; done

.PHONY: checks
checks: install synth $(LINT_DONE) ## cdk-nag, the CDK's own validation, cfn-lint and checkov
	@rm -rf build/checks
	go test -count=1 ./tests/synth -run 'TestNothingIsFound|TestTheCDKsValidation' -templates=$(CURDIR)/build/checks
	@# At the same time, as checkov mostly waits for its own start.
	.venv-lint/bin/cfn-lint build/cdk*.out/*.template.json tests/synth/testdata/*.template.json build/checks/*.template.json & lint=$$!; \
	failed=0; go run ./tests/checks -checkov .venv-lint/bin/checkov build/checks/*.template.json || failed=1; \
	wait $$lint || failed=1; exit $$failed

.PHONY: fmt
fmt: ## Format the Go code
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

.PHONY: golden
golden: install ## Write the goldens anew; read their diff before you commit it
	go test ./tests/synth -run Golden -update
	cd examples && go test ./orders -update
	@git --no-pager diff --stat -- tests/synth/testdata examples

.PHONY: kpl-vectors
kpl-vectors: ## Ask the packages of others how they aggregate records for Kinesis, and write their answers
	@for tool in java mvn npm $(PYTHON); do command -v $$tool >/dev/null || { echo "kpl-vectors needs $$tool" >&2; exit 1; }; done
	@rm -rf build/kpl && mkdir -p build/kpl/npm
	$(PYTHON) -m venv build/kpl/python
	build/kpl/python/bin/python -m pip install --quiet --disable-pip-version-check -r tests/kpl/requirements.txt
	cp tests/kpl/package.json tests/kpl/package-lock.json build/kpl/npm
	cd build/kpl/npm && npm ci --no-fund --no-audit --loglevel=error
	for of in kcl aggregator producer; do \
	  mvn -q -B -f tests/kpl/$$of dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/build/kpl/$$of; done
	go test -count=1 ./lambdas/kit/kpl -run 'TestAggregatorMakesTheseBytes|TestAnswersAreWhatTheReferencesSay' -update
	@git --no-pager diff --stat -- lambdas/kit/kpl/testdata

.PHONY: fuzz
fuzz: ## Fuzz the decoders, a minute each
	@for target in lambdas/race:FuzzParse lambdas/kit/decode:FuzzKinesis lambdas/kit/decode:FuzzDynamoDB \
	  lambdas/kit/kpl:FuzzSplit local/esm/pattern:FuzzPattern local/runtimeapi:FuzzAPI local/throttle:FuzzWithout \
	  local/firehose:FuzzAnswer local/firehose:FuzzPrefix local/firehose:FuzzConversion constructs/spec/hive:FuzzType constructs/spec:FuzzARouteStaysInItsField; do \
	  go test ./$${target%:*} -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime 1m || exit 1; done
	cd tests/bench/kpl && go test -run '^$$' -fuzz FuzzSplitAsProtobuf -fuzztime 1m

.PHONY: sim
sim: ## A thousand simulated runs of the pipeline, each with other faults, and without each guard (SEEDS=…)
	go test -count=1 -timeout=30m ./tests/sim -seeds=$(or $(SEEDS),1000) -mutants

.PHONY: synth
synth: install ## Synthesize the stack and the example below build, the CDK's warnings as errors
	cdk synth --quiet --strict --output build/cdk.out $(ARGS)
	cdk synth --quiet --strict --output build/cdk.local.out -c race:local=true
	cd examples/orders && cdk synth --quiet --strict --output ../../build/cdk.examples.out

.PHONY: bench
bench: install ## Benchmarks
	CDK_VALIDATION=false go test ./tests/synth -run '^$$' -bench .
	cd tests/bench/kit && go test -run '^$$' -bench . ./...
	cd tests/bench/kpl && go test -bench . ./...

.PHONY: bench-synth
bench-synth: install ## Time a synthesis beside an empty app's and TypeScript's (ARGS='-n 5'; takes minutes)
	go run ./tests/bench/synth $(ARGS)

.PHONY: deploy
deploy: install ## Deploy to the AWS account of your credentials (ARGS='-c race:alarmEmail=…')
	cdk deploy $(ARGS)

.PHONY: clean
clean: ## Remove everything that make installed or built
	rm -rf build cdk.out node_modules .venv .venv-lint
