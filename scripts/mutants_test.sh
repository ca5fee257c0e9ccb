#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# That every mutant still applies to the core, and that one which does not is told by name. Builds nothing.
set -uo pipefail
failed=0

fail() {
  echo "mutants_test: $*" >&2
  failed=1
}

check() {
  scripts/mutants --check "$@" 2>&1
}

if ! output=$(check); then
  fail "not every mutant applies:"$'\n'"$output"
fi

# Each mutant once in the list.
count=$(grep -c '^mutant: ' fuzz/mutants/mutants.txt)
[[ $output == "$count mutants apply" ]] || fail "$count mutants, and --check says: $output"

data=$(mktemp)
trap 'rm -f "$data"' EXIT

# expect_refusal WORDS... : the list on standard input is refused, and the message has these words.
expect_refusal() {
  cat >"$data"
  local message status
  message=$(check --data "$data")
  status=$?
  ((status == 2)) || fail "status $status instead of 2 for:"$'\n'"$(<"$data")"
  local word
  for word in "$@"; do
    [[ $message == *"$word"* ]] || fail "\"$word\" is missing in: $message"
  done
}

expect_refusal gone core/nested/tsc.h '0 times' <<'TEXT'
mutant: gone
file: core/nested/tsc.h
breaks: a rule
- this line is not there
+ nor this
TEXT
expect_refusal ambiguous core/nested/tsc.h 'instead of once' <<'TEXT'
mutant: ambiguous
file: core/nested/tsc.h
breaks: a rule
- }
+
TEXT
expect_refusal nowhere core/nested/nowhere.cc <<'TEXT'
mutant: nowhere
file: core/nested/nowhere.cc
breaks: a rule
- a
+ b
TEXT
expect_refusal unsourced 'breaks' <<'TEXT'
mutant: unsourced
file: core/nested/tsc.h
- namespace nvmx {
+ namespace other {
TEXT
expect_refusal 'called same too' <<'TEXT'
mutant: same
file: core/nested/tsc.h
breaks: a rule
- namespace nvmx {
+ namespace other {

mutant: same
file: core/nested/tsc.h
breaks: a rule
- namespace nvmx {
+ namespace another {
TEXT
expect_refusal idle 'changes nothing' <<'TEXT'
mutant: idle
file: core/nested/tsc.h
breaks: a rule
- namespace nvmx {
+   namespace nvmx {
TEXT

exit "$failed"
