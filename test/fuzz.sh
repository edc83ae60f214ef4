#!/usr/bin/env bash
# Runs every fuzz target of the module for a short time each (MALLARD_FUZZTIME, default 5s).
set -euo pipefail
cd "$(dirname "$0")/.."

time="${MALLARD_FUZZTIME:-5s}"
count=0
failed=()
while read -r dir; do
  while read -r target; do
    count=$((count + 1))
    if ! go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir" >/tmp/mallard-fuzz.$$ 2>&1; then
      cat "/tmp/mallard-fuzz.$$"
      failed+=("$dir $target")
    fi
  done < <(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u)
done < <(grep -lrE --include='*_test.go' '^func Fuzz' cmd internal | xargs -r -n1 dirname | sort -u | sed 's|^|./|')
rm -f "/tmp/mallard-fuzz.$$"

echo "fuzz: $count targets, $time each, ${#failed[@]} failed"
if [ "${#failed[@]}" -ne 0 ]; then
  printf 'fuzz: failed: %s\n' "${failed[@]}"
  exit 1
fi
