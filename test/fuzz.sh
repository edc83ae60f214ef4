#!/usr/bin/env bash
# Runs every fuzz target of the module for a short time each (MALLARD_TEST_FUZZTIME, default 5s).
set -euo pipefail
cd "$(dirname "$0")/.."

time="${MALLARD_TEST_FUZZTIME:-5s}"
count=0
failed=()
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

# Go's fuzzer now and then ends with "context deadline exceeded" when its time is up, without an input that fails:
# then the target runs once more.
fuzz() {
  go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" "$2" >"$log" 2>&1 && return 0
  grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log" || return 1
  go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" "$2" >"$log" 2>&1
}

while read -r dir; do
  while read -r target; do
    count=$((count + 1))
    if ! fuzz "$target" "$dir"; then
      cat "$log"
      failed+=("$dir $target")
    fi
  done < <(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u)
done < <(grep -lrE --include='*_test.go' '^func Fuzz' cmd internal | xargs -r -n1 dirname | sort -u | sed 's|^|./|')

echo "fuzz: $count targets, $time each, ${#failed[@]} failed"
if [ "${#failed[@]}" -ne 0 ]; then
  printf 'fuzz: failed: %s\n' "${failed[@]}"
  exit 1
fi
