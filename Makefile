# Everything from a bare Debian machine with Node: `make demo` shows it at work, `make test` proves it.
SHELL := /bin/sh
.DELETE_ON_ERROR:

# What a user's machine needs to build and run, and what tests and checks need beside that.
BUILD_PACKAGES := g++ make python3 rapidjson-dev libseccomp-dev musl-dev
RUN_PACKAGES := runc busybox-static
TEST_PACKAGES := cmake crun criu strace doctest-dev clang-format clang-tidy golang-github-containers-common tmux
FUZZ_PACKAGES := clang libclang-rt-14-dev
# The peers of the bench. Beside them dockerd and containerd are unpacked from their packages and dockerode comes by npm.
BENCH_PACKAGES := crun golang-go golang-github-opencontainers-runc-dev golang-github-containers-common libdevmapper1.02.1

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ADDON := build/Release/libcontainer.node
SHIM := build/Release/libcontainer-shim
PREBUILT := prebuilds/linux-x64/libcontainer.node
NATIVE_FILES := $(shell find native -name '*.cc' -o -name '*.h' | grep -v /test/) $(wildcard native/*.gypi) binding.gyp native/addon/exports.map scripts/toolchain.sh scripts/glibc-floor.mjs
FUZZ_SECONDS ?= 60
CHAOS_SECONDS ?= 300

.PHONY: demo test build setup setup-test native-test check docs bench bench-publish chaos kills races sanitize fuzz vm-test vm-clock vm-checkpoint vm-test-all vm-test-trixie clean

# Installs only what is missing, and asks the package server only then.
define install
	@missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

demo: build ## a container's life by this library, beside runc's own times
	@node examples/demo.mjs

test: setup-test build native-test check $(PREBUILT) ## everything: native tests, checks, unit, addon and integration tests, machines
	npx vitest run
	npm run --silent test:bun
	@$(MAKE) --no-print-directory vm-test
	@$(MAKE) --no-print-directory vm-clock
	@$(MAKE) --no-print-directory vm-checkpoint

setup:
	$(call install,$(BUILD_PACKAGES) $(RUN_PACKAGES))

setup-test: setup
	$(call install,$(TEST_PACKAGES))

node_modules/.package-lock.json: package.json cli/package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

$(ADDON) $(SHIM) &: node_modules/.package-lock.json $(NATIVE_FILES)
	npm run --silent build:native
	@touch $(ADDON) $(SHIM)

# What the package ships for this machine, as test/release looks at it.
$(PREBUILT): node_modules/.package-lock.json $(NATIVE_FILES) CMakeLists.txt scripts/prebuild.sh | setup-test
	scripts/prebuild.sh x64
	@touch $@

dist/.built: node_modules/.package-lock.json tsconfig.json $(shell find lib cli -name '*.ts' -o -name '*.mts') cli/build.mjs
	rm -rf dist
	npm run --silent build:ts
	@touch $@

build: setup
	@$(MAKE) --no-print-directory $(ADDON) dist/.built

# The other architecture's: cross compiler, and its libraries unpacked in ~/.cache/libcontainer-release.
PREBUILD_PACKAGES := cmake g++-aarch64-linux-gnu

.PHONY: prebuilds vm-arm64 release-check
prebuilds: build ## the binaries that the package ships, for x64 and arm64, glibc and musl; checked
	$(call install,$(PREBUILD_PACKAGES))
	scripts/prebuild.sh
	node scripts/check-binaries.mjs

vm-arm64: prebuilds ## integration tests in an arm64 machine under QEMU: real arm64 kernel, Node, runc; FILE= chooses
	test/vm/suite-arm64 $(FILE)

release-check: setup-test build ## all that has to hold before a version is published
	$(call install,$(PREBUILD_PACKAGES) qemu-user-static)
	scripts/release-check.sh $(STEP)

.PHONY: native-tests native-test
native-tests: setup-test
	@LIBCONTAINER_SHIM_LIBC=glibc cmake -S . -B build-test -DLIBCONTAINER_TESTS=ON >/dev/null
	@cmake --build build-test --target native-tests libcontainer-shim-weakened -j2 -- --no-print-directory -s

native-test: native-tests ## doctest, plain and under AddressSanitizer and UndefinedBehaviorSanitizer
	./build-test/native-tests
	cmake -S . -B build-asan -DLIBCONTAINER_TESTS=ON -DLIBCONTAINER_SANITIZE=ON >/dev/null
	cmake --build build-asan --target native-tests -j2 -- --no-print-directory -s
	./build-asan/native-tests

# FILE=test/integration/stats.test.ts one file alone; LAYOUT=v2, v1 or hybrid one layout alone. What is downloaded (a
# kernel, 100 MB) is kept in ~/.cache/libcontainer-vm.
VM_TEST := test/vm/suite $(LAYOUT:%=--layout %) $(FILE)

vm-test: setup-test build native-tests ## in machines with the cgroup layouts that the host has not: what depends on them; FILE= and LAYOUT= choose
	$(VM_TEST)

vm-test-all: setup-test build native-tests ## every integration test with cgroup v2 (half an hour)
	$(VM_TEST) --all --layout v2

vm-test-trixie: setup-test build native-tests ## with the kernel of Debian trixie
	$(VM_TEST) --kernel trixie --layout v2

check: setup-test build ## types, imports, linters and formats; warnings are errors
	npm run --silent typecheck
	node scripts/check-imports.mjs
	npm run --silent lint
	npm run --silent docs:check
	@find native -name '*.cc' -o -name '*.h' | xargs clang-format --dry-run --Werror
	@LIBCONTAINER_SHIM_LIBC=glibc cmake -S . -B build-test -DLIBCONTAINER_TESTS=ON >/dev/null
	scripts/clang-tidy.sh

docs: node_modules/.package-lock.json ## the API reference, from the docstrings, into build-docs/
	npm run --silent docs

vm-clock: build setup-test ## OOM kills while the clock is turned back and forth, in a machine that runs nothing else
	test/vm/setup runc crun busybox-static >/dev/null
	test/vm/run --layout v1 --timeout 600 --env CI=1 --env VM_CLOCK=1 -- node node_modules/vitest/vitest.mjs run test/integration/events_oom.test.ts -t clock

vm-checkpoint: build setup-test ## checkpoint and restore by CRIU, on a kernel that it knows, under QEMU: two minutes
	test/vm/run --criu --timeout 900 --env VM_CHECKPOINT=1 -- npx vitest run test/integration/restore.test.ts test/examples/move.test.ts

bench/node_modules/.package-lock.json: bench/package.json bench/package-lock.json
	npm ci --prefix bench --omit=optional --ignore-scripts --no-audit --no-fund
	@touch $@

# BENCH_ARGS are those of bench/run.mjs, as --only=exec,cgroups.
bench: build bench/node_modules/.package-lock.json ## figures beside peers and floors, ten minutes; BENCH_QUICK=1 two minutes
	$(call install,$(BENCH_PACKAGES))
	@bench/peers/fetch-docker.sh
	node bench/run.mjs $(if $(BENCH_QUICK),--size=quick) $(BENCH_ARGS)

bench-publish: ## the tables and plots of the last whole run into README.md and docs/
	node bench/publish.mjs $(if $(ANYWAY),--anyway)

# Each of the program and of shims, in the middle of what they do.
KILLS ?= 1000
kills: build setup-test ## 1,000 SIGKILLs of the program and as many of shims: nothing lost, wrong or left
	node test/chaos/run.mjs --kills $(KILLS) --kill-rate 0.6 --containers 20 --seconds 100000 $(SEED:%=--seed %)

RACES ?= 100
races: build setup-test ## every verb against every end that a container can come to, RACES rounds of each
	node test/chaos/races.mjs --rounds $(RACES) $(SEED:%=--seed %)

chaos: build setup-test ## a random schedule with kills of programs and shims, CHAOS_SECONDS long; SEED=n to see one again
	node test/chaos/run.mjs --seconds $(CHAOS_SECONDS) $(SEED:%=--seed %)

sanitize: build setup-test ## integration tests with addon and shim under ASan and UBSan, then the addon's threads under TSan; FILE= chooses
	scripts/sanitize.sh address $(FILE)
	scripts/sanitize.sh thread $(FILE)

fuzz: setup-test ## libFuzzer, FUZZ_SECONDS for each target
	$(call install,$(FUZZ_PACKAGES))
	CC=clang CXX=clang++ cmake -S . -B build-fuzz -DLIBCONTAINER_FUZZERS=ON -DLIBCONTAINER_SANITIZE=ON >/dev/null
	scripts/fuzz.sh $(FUZZ_SECONDS)

clean:
	rm -rf build build-test build-asan build-sanitize build-fuzz build-prebuild prebuilds dist
