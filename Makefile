# virtvm: `make help` lists what can be made.
#
# Each target works on a clean clone of a Debian machine that has make, gcc, Python
# and git: it installs the packages that it needs (tools/prepare) and makes virtual
# environments under .venv, one for each CPython version.

SHELL = /bin/sh
.DEFAULT_GOAL = help
# Where servers and the programs of an administrator are, which not every user's PATH has.
export PATH := $(PATH):/usr/sbin:/sbin

# The CPython version for everything that is done once; `make test` uses all there are.
PYTHON_VERSION ?= $(shell tools/interpreters --one)
PY = .venv/$(PYTHON_VERSION)/bin/python
CORE_LIBRARY = build/core-lib
# The core's files and test programs need nothing of each other.
SIDE_BY_SIDE = -j$(shell nproc)
TSAN_OPTIONS = allocator_may_return_null=1:halt_on_error=1
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

help:                           ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: prepare-build            ## build the extension modules into virtvm/, in a virtual environment
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)

# Missing packages first: make expands a recipe, and so looks for an interpreter, only when
# the prerequisites are done.
prepare-%:
	@tools/prepare $*

# One CPython version; the objects of each are kept apart under build/. The core has nothing
# of Python in it and is compiled once for all of them.
build-%:
	@tools/venv $*
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) -f tests/core/Makefile library OUT=$(CORE_LIBRARY) \
		OPTIMIZE="-O2 -fvisibility=hidden -fstack-protector-strong" \
		WERROR=$(if $(filter 1,$(VIRTVM_WERROR)),-Werror)
	@VIRTVM_CORE_LIBRARY=$(CORE_LIBRARY)/libvtcore.a .venv/$*/bin/python setup.py -q build_ext --inplace

demo: prepare-demo              ## the main job, once, on a real Linux guest: boot, log in, copy, reboot...
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)
	@$(PY) examples/demo.py --guest .cache/guest --results demo-results

test: prepare-test prepare-lint ## everything, on every CPython version found: what a change must pass
	@tools/run-tests

test-fast: prepare-test         ## the tests that need no guest, on one CPython version
	@$(MAKE) --no-print-directory core-test build-$(PYTHON_VERSION)
	@$(PY) -m pytest -q --ignore=tests/guest --ignore=tests/full --ignore=tests/packaging tests

machines: prepare-machines      ## the demo, and what needs no guest, on Debian 12, 13 and 14, each made anew: MACHINES="trixie forky"
	@tools/machines

full-guest: prepare-test        ## one boot of the guest with systemd, OpenSSH and cloud-init, as of a distribution's cloud image
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)
	@$(PY) -m pytest -q -p no:cacheprovider tests/full

corpus: prepare-test            ## each adversarial output twenty times, on every transport
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)
	@VIRTVM_CORPUS_RUNS=20 $(PY) -m pytest -q -p no:cacheprovider -o timeout=300 tests/session/test_prompts.py tests/corpus

soak: prepare-test              ## what takes long: SOAK_MINUTES=15 amid faults, 1 GiB of console output, 5 GiB files, the fuzzers for a minute each
	@$(MAKE) --no-print-directory soak-sessions
	@VIRTVM_FLOOD_MIB=1024 $(PY) -m pytest -q -p no:cacheprovider -o timeout=600 tests/session/test_console.py
	@VIRTVM_SPARSE_MIB=5120 $(PY) -m pytest -q -p no:cacheprovider -o timeout=600 -k sparse \
		tests/session/test_transfers.py
	@VIRTVM_STORM_RUNS=200 $(PY) -m pytest -q -p no:cacheprovider tests/session/test_transfer_storm.py
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=60

soak-sessions: prepare-test     ## sessions and copies in 8 threads while all around them fails: SOAK_MINUTES=15
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)
	@$(PY) tests/soak/soak.py

faults: prepare-test            ## each allocation, call of Python's API, of libssh2's and of the system fails once
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)
	@$(PY) tests/inject/inject.py $(FAULTS)

valgrind: prepare-valgrind       ## the C core's own tests under valgrind's memcheck: VALGRIND="buf text" for some
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) -f tests/core/Makefile OUT=build/core-valgrind \
		$(if $(VALGRIND),TESTS="$(VALGRIND:%=build/core-valgrind/test_%)") \
		RUN="valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite"

core-test: prepare-core         ## the C core's own tests, without Python
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) -f tests/core/Makefile

asan: prepare-test              ## what needs no guest, under AddressSanitizer and UBSan
	@ASAN_OPTIONS=allocator_may_return_null=1:suppressions=tests/asan.supp \
		$(MAKE) --no-print-directory $(SIDE_BY_SIDE) -f tests/core/Makefile OUT=build/core-asan EXTRA="$(SANITIZE)"
	@tools/venv $(PYTHON_VERSION)
	@VIRTVM_CORE_OUT=build/core-asan $(PY) -m pytest -q -p no:cacheprovider tests/core
	@tools/test-asan $(PYTHON_VERSION)

tsan: prepare-test              ## the C core under ThreadSanitizer: its own tests, and what Python does with sessions
	@mkdir -p build/core-tsan
	@find build/core-tsan '(' -name '*.gcda' -o -name '*.ok' ')' -delete      # counts of other builds
	@TSAN_OPTIONS=$(TSAN_OPTIONS) $(MAKE) --no-print-directory $(SIDE_BY_SIDE) -f tests/core/Makefile OUT=build/core-tsan \
		EXTRA="-fsanitize=thread --coverage -fprofile-update=atomic"
	@tools/venv $(PYTHON_VERSION)
	@TSAN_OPTIONS=$(TSAN_OPTIONS) VIRTVM_CORE_OUT=build/core-tsan \
		$(PY) -m pytest -q -p no:cacheprovider tests/core/test_sessions.py
	@tools/core-reached build/core-tsan

fuzz: prepare-fuzz              ## the parsers against generated bytes, FUZZ_SECONDS=10 each
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) -f tests/fuzz/Makefile

cov: prepare-test               ## what the tests that need no guest never run, in Python and in C: build/cov.txt
	@tools/venv $(PYTHON_VERSION)
	@tools/venv $(PYTHON_VERSION) cov
	@tools/coverage $(PYTHON_VERSION) $(COV) >build/cov.txt || { cat build/cov.txt; exit 1; }
	@cat build/cov.txt

lint: prepare-lint              ## ruff, shellcheck, gcc and clang with -Werror, reStructuredText
	@tools/venv $(PYTHON_VERSION) lint
	@tools/lint .venv/$(PYTHON_VERSION)/bin

stubtest:                       ## compare the .pyi files with the built modules (mypy's stubtest)
	@$(MAKE) --no-print-directory build
	@tools/venv $(PYTHON_VERSION) lint
	@tools/test-stubs $(PY)

bench: prepare-bench            ## how fast, next to its peers, in one run: tables, and JSON in bench/results
	@$(MAKE) --no-print-directory build-$(PYTHON_VERSION)
	@tools/venv $(PYTHON_VERSION) bench
	@$(PY) bench/run $(BENCH)

docs: prepare-build             ## the documents as HTML, in build/docs
	@tools/venv $(PYTHON_VERSION) lint
	@tools/render-docs $(PY) build/docs

dist: prepare-build             ## source archive and wheel, in dist/
	@tools/venv $(PYTHON_VERSION)
	@$(PY) -m pip install --quiet build
	@$(PY) -m build --outdir dist .

WHEELS ?= $(shell tools/interpreters 2>/dev/null | cut -d' ' -f1)
wheels: prepare-wheels          ## wheels with libssh2 and OpenSSL in them, in dist/, for WHEELS=each CPython found
	@for version in $(WHEELS); do tools/venv $$version || exit; done
	@tools/venv $(PYTHON_VERSION) wheels
	@tools/wheels $(WHEEL_OPTIONS) $(PY) $(WHEELS)

clean:                          ## remove all that was built; virtual environments stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	rm -f virtvm/*.so virtvm/virtvm-keeper
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean                ## remove the virtual environments and the demo's results as well
	rm -rf .venv .cache demo-results

.PHONY: help build demo test test-fast machines full-guest corpus soak soak-sessions faults valgrind core-test asan tsan fuzz cov lint stubtest bench docs dist wheels clean distclean
