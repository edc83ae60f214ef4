# Everything is plain Go; these are the commands in use, by name.
#
#   make          build bin/mallard
#   make check    what a change must pass, without the parts that take long: format, vet, staticcheck, unit tests
#   make test     everything; on Debian with root it installs what it needs, elsewhere it says what it could not run
#   make interop  Mallard and Node WildDuck on one database (root, Debian)
#   make cluster  several nodes on one database, and what happens when one of them or a database is killed (root, Debian)
#   make bench    Mallard beside Debian's Dovecot on this machine (root, Debian), see docs/benchmarks.md
#   make bench-cluster  Mallard beside Node WildDuck on one database (root, Debian), see docs/benchmarks.md

GO ?= go
STATICCHECK ?= $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

# Runs a command beside a server of the MongoDB protocol and a Redis of its own.
WITH_SERVERS ?= $(GO) run -tags e2e ./test/servers/with

.PHONY: build check fmt vet lint unit race engines e2e interop cluster fuzz test bench bench-cluster clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/mallard ./cmd/mallard

check: fmt vet lint unit

fmt:
	@files=$$(gofmt -l cmd internal test); if [ -n "$$files" ]; then echo "gofmt -w these:"; echo "$$files"; exit 1; fi

vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e,bench ./test/...

lint:
	$(STATICCHECK) ./...
	$(STATICCHECK) -tags e2e,bench ./test/...

unit:
	$(GO) test -timeout 30m ./...

race:
	$(GO) test -race -short -timeout 40m ./...

# The tests that need a database server; make unit leaves them out where there is none.
engines:
	test/rig/install.sh databases
	$(WITH_SERVERS) $(GO) test -timeout 30m ./internal/...

e2e:
	$(GO) test -tags e2e -count=1 -timeout 30m ./test/e2e/...

interop:
	test/rig/install.sh databases
	test/rig/install.sh wildduck
	test/rig/install.sh haraka
	$(WITH_SERVERS) $(GO) test -tags e2e -count=1 -timeout 30m ./test/interop/...

cluster:
	test/rig/install.sh databases
	test/rig/install.sh haproxy
	$(WITH_SERVERS) $(GO) test -tags e2e -p 1 -count=1 -timeout 30m ./test/cluster/...

fuzz:
	test/fuzz.sh

test:
	test/all.sh

bench:
	test/rig/install.sh dovecot
	$(GO) test -tags e2e,bench -count=1 -timeout 3h -v -run 'TestCompare$$' ./test/compare

bench-cluster:
	test/rig/install.sh databases
	test/rig/install.sh wildduck
	$(GO) test -tags e2e,bench -count=1 -timeout 3h -v -run TestCompareCluster ./test/compare

clean:
	rm -rf bin
