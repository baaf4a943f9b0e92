# The developer's entry points. `make` needs only Go and git; the kernel-side
# objects are committed, and `make generate` rebuilds them with clang 14.
GO      ?= go
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# A number of inputs, not a time: a fuzz target that is stopped by the clock fails
# now and then with "context deadline exceeded" (a known fault of go test).
FUZZTIME ?= 20000x
# Opening a damaged database takes milliseconds, not microseconds.
FUZZTIME_STORE ?= 1000x
LDFLAGS := -s -w -X main.version=$(VERSION)

export CGO_ENABLED := 0

.PHONY: all build run test test-kernels generate check-generated bench lint fuzz man install packages clean

all: build

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sensor ./cmd/sensor

# The first command of the README. A stale host is an answer, not a failure of
# the build, so the exit code 1 or 3 of the query is not make's.
run: build
	@bin/sensor stale || [ $$? -ne 2 ]

# The second command of the README: every test, the labs included. As root it
# first installs what the labs need, and builds the runtimes that Debian does not have.
test: build
	test/install-deps
	GO='$(GO)' test/runtimes/build >/dev/null
	$(GO) vet ./...
	SENSOR_BIN=$(CURDIR)/bin/sensor GO='$(GO)' test/run bin/test.log ./...

# A table of kernels and of what each lets the sensor do (docs/kernels.md says what is
# expected), from real kernels of Debian's in QEMU. "make test" runs them too.
test-kernels: build
	test/install-deps
	SENSOR_BIN=$(CURDIR)/bin/sensor $(GO) -C test/kernels test -count=1 -timeout 30m

generate:
	$(GO) generate ./...

check-generated: generate
	git diff --exit-code -- internal/probe internal/api docs

bench: build
	test/install-deps --bench
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./sensor/...
	SENSOR_BIN=$(CURDIR)/bin/sensor $(GO) run ./test/bench

lint:
	test -z "$$(gofmt -l .)"
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# Every fuzz target, FUZZTIME inputs each.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; \
			case "$$pkg" in */internal/store) n=$(FUZZTIME_STORE) ;; *) n=$(FUZZTIME) ;; esac; \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime "$$n" $$pkg; \
		done; \
	done

man: build
	bin/sensor gen-man dist/man

install: man
	install -D -m 0755 bin/sensor $(DESTDIR)$(PREFIX)/bin/sensor
	install -D -m 0644 deploy/sensor.yaml $(DESTDIR)$(PREFIX)/share/doc/sensor/sensor.yaml
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 0644 dist/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/sensor completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sensor
	bin/sensor completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sensor
	bin/sensor completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sensor.fish
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/bin/sensor|$(PREFIX)/bin/sensor|' deploy/systemd/sensor.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/sensor.service
	install -D -m 0644 deploy/systemd/sensor.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/sensor.conf

# dist/*.deb and dist/*.rpm.
packages: build
	GO='$(GO)' deploy/package/build bin/sensor '$(VERSION)' dist

clean:
	rm -rf bin dist
