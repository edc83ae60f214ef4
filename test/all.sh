#!/usr/bin/env bash
# Runs everything: format, vet, staticcheck, unit tests and the race detector beside real databases, end to end against
# the built binary with real mail programs, with Node WildDuck on one database, with several nodes, and every fuzz target
# for a short time. On Debian with root it installs what is missing first; elsewhere it runs what it can and says at the
# end what it could not. With MALLARD_CI=1 nothing may be left out.
#
# A step that fails does not keep the others from running. Exit status 0 only if none has failed.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=()
left_out=()

# step TITLE COMMAND... runs a step. Its variables have names of their own because the commands are functions, which see
# and could change them.
step() {
  local step_title="$1" step_begin=$SECONDS
  shift
  printf '\n=== %s\n' "$step_title"
  if "$@"; then
    printf '=== %s: ok, %d s\n' "$step_title" $((SECONDS - step_begin))
  else
    printf '=== %s: FAILED, %d s\n' "$step_title" $((SECONDS - step_begin))
    failed+=("$step_title")
  fi
}

prepare() {
  command -v go >/dev/null 2>&1 || { echo "Go is missing: see https://go.dev/doc/install (go.mod says which version)"; exit 1; }
  if test/rig/install.sh all; then
    return 0
  fi
  left_out+=("end-to-end tests of the programs that test/rig/install.sh named above")
  [ "${MALLARD_CI:-}" != 1 ]
}

# with_servers COMMAND... runs it beside a server of the MongoDB protocol and a Redis of its own.
with_servers() {
  local dir status
  dir="$(mktemp -d)"
  if ! go build -tags e2e -o "$dir/with" ./test/servers/with; then
    rm -rf "$dir"
    return 1
  fi
  "$dir/with" "$@"
  status=$?
  rm -rf "$dir"
  return "$status"
}

unit() { with_servers make -s unit; }

race() {
  if [ "$(go env CGO_ENABLED)" != 1 ] || ! command -v "$(go env CC)" >/dev/null 2>&1; then
    left_out+=("race detector: it needs a C compiler")
    [ "${MALLARD_CI:-}" != 1 ]
    return
  fi
  with_servers make -s race
}

# e2e PACKAGES... runs tests against the built binary, one package after the other because they take databases away and
# measure times, and notes those that were skipped.
e2e() {
  local log status test
  log="$(mktemp)"
  with_servers go test -tags e2e -p 1 -count=1 -timeout 30m -v "$@" >"$log" 2>&1
  status=$?
  if [ "$status" -ne 0 ]; then
    cat "$log"
  else
    grep -E '^(--- |ok|FAIL|PASS|\?)' "$log"
  fi
  while read -r test; do
    left_out+=("$*: $test")
    [ "${MALLARD_CI:-}" != 1 ] || status=1
  done < <(sed -n 's/^ *--- SKIP: \([^ ]*\).*/\1/p' "$log")
  rm -f "$log"
  return "$status"
}

step "install what the tests need" prepare
step "format" make -s fmt
step "vet" make -s vet
step "staticcheck" make -s lint
step "unit tests" unit
step "race detector" race
step "end to end" e2e ./test/e2e/...
step "servers of the tests" e2e ./test/servers/...
step "interoperation" e2e ./test/interop/...
step "cluster" e2e ./test/cluster/...
step "fuzz" test/fuzz.sh

printf '\n=== all done in %d s\n' "$SECONDS"
if [ "${#left_out[@]}" -ne 0 ]; then
  printf 'could not run: %s\n' "${left_out[@]}"
fi
if [ "${#failed[@]}" -ne 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
