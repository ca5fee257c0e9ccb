#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# That scripts/fuzz fuzzes every target for a moment, and says clearly what is in the way of it. The
# fuzzer is that of this build: the first argument is "instrumented" if libFuzzer sees the core's edges.
set -uo pipefail
readonly BUILT=fuzz
failed=0
folder=$(mktemp -d)
trap 'chmod -R u+rwx "$folder"; rm -rf "$folder"' EXIT

fail() {
  echo "fuzz_test: $*" >&2
  failed=1
}

# expect STATUS WORDS... : of the last run.
expect() {
  ((status == $1)) || fail "status $status instead of $1 of scripts/fuzz ${arguments[*]}:"$'\n'"$output"
  shift
  local word
  for word in "$@"; do
    [[ $output == *"$word"* ]] ||
      fail "\"$word\" is missing in what scripts/fuzz ${arguments[*]} says:"$'\n'"$output"
  done
  [[ $output != *Traceback* ]] || fail "scripts/fuzz ${arguments[*]}:"$'\n'"$output"
}

fuzz() {
  arguments=("$@")
  output=$(scripts/fuzz --built "$BUILT" --corpus "$folder/corpus" --jobs 1 --seed 1 "$@" 2>&1)
  status=$?
}

# --- Every target

fuzz --list
expect 0 msr_list schedule
mapfile -t targets < <(cut -d' ' -f1 <<<"$output")
((${#targets[@]} >= 9)) || fail "--list names ${#targets[@]} targets"

fuzz --all --executions 500
expect 0
for target in "${targets[@]}"; do
  [[ $output == *$'\n'"$target: "* ]] || fail "$target was not fuzzed"
done
ran=$(grep -c 'nothing was found' <<<"$output")
((ran == ${#targets[@]})) || fail "$ran of ${#targets[@]} targets found nothing:"$'\n'"$output"
[[ $output != *"  0 executions"* ]] || fail "a target executed nothing:"$'\n'"$output"
if [[ ${1:-} == instrumented ]]; then
  covering=$(grep -cE ' edges of core/nested and core/smp: [2-9][0-9]\.' <<<"$output")
  ((covering == 7)) || fail "$covering targets instead of 7 cover a fifth of the core:"$'\n'"$output"
fi

# --- An input as a program

for target in msr_list program; do
  inputs=("$folder/corpus/$target/seeds"/*)
  arguments=(program "$target" "${inputs[0]}")
  output=$("$BUILT/fuzz_tool" "${arguments[@]}" 2>&1)
  status=$?
  expect 0 'cpus:' 'run:'
done

# --- What is in the way

fuzz nonesuch --executions 100
expect 2 'no target "nonesuch"' msr_list

fuzz msr_list --minutes -1
expect 2 positive

fuzz --all
expect 2 --minutes --executions

touch "$folder/file"
fuzz msr_list --executions 100 --corpus "$folder/file"
expect 2 "$folder/file" 'another folder'

inputs=$folder/corpus/msr_list/corpus
echo damage >"$inputs/damaged"
fuzz msr_list --executions 100
expect 2 "$inputs/damaged" damaged remove
rm "$inputs/damaged"

cp "$folder/corpus/msr_list/seeds/corpus-0000" "$inputs/unreadable"
chmod 0 "$inputs/unreadable"
if ! [[ -r $inputs/unreadable ]]; then # root reads everything
  fuzz msr_list --executions 100
  expect 2 "$inputs/unreadable" readable
fi
rm -f "$inputs/unreadable"

chmod 0 "$inputs"
if ! [[ -r $inputs ]]; then
  fuzz msr_list --executions 100
  expect 2 "$inputs" 'another folder'
fi
chmod 700 "$inputs"

arguments=(--built without programs)
output=$(scripts/fuzz msr_list --executions 100 --built "$folder" 2>&1)
status=$?
expect 2 "$folder" '--built names'

# A disk with no room, where a file system can be mounted.
mkdir "$folder/small"
small() {
  unshare --mount --map-root-user bash -c 'mount -t tmpfs -o size=4m small "$0" && exec "$@"' \
    "$folder/small" "$@"
}
if small true 2>/dev/null; then
  arguments=(msr_list --executions 100 --corpus "$folder/small")
  output=$(small scripts/fuzz --built "$BUILT" --jobs 1 "${arguments[@]}" 2>&1)
  status=$?
  expect 2 "$folder/small" 'MBytes are free' 'another folder'
fi

# --- Ctrl-C: nothing is lost

rm -rf "$folder/corpus"
arguments=(schedule until a Ctrl-C)
# A shell makes what it puts into the background deaf to SIGINT.
output=$(python3 - "$BUILT" "$folder/corpus" <<'PYTHON' 2>&1
import signal, subprocess, sys, time
process = subprocess.Popen(["scripts/fuzz", "--built", sys.argv[1], "--corpus", sys.argv[2], "--jobs",
                            "1", "schedule"], preexec_fn=lambda: signal.signal(
                                signal.SIGINT, signal.default_int_handler))
time.sleep(4)
process.send_signal(signal.SIGINT)
sys.exit(process.wait(timeout=60))
PYTHON
)
status=$?
expect 0 ending 'executions in' 'are kept in' 'nothing was found'
compgen -G "$folder/corpus/schedule/corpus/*" >/dev/null || fail "a Ctrl-C lost the corpus"

exit "$failed"
