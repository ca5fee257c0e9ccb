# SPDX-License-Identifier: Apache-2.0
# What scripts/bochs and scripts/qemu have in common: sourced by both.

# judge NAME STATUS OUTPUT: whether the run of the emulator NAME, which ended with STATUS and left OUTPUT, is one with which
# all is well. Uses $timeout and $expected, the options.
judge() {
  local name=$1 status=$2 output=$3
  if ! grep -aq 'end of run, status ' "$output"; then
    if ((status == 124 || status == 137)); then
      echo "$name: no end after $timeout s; the last lines of COM1 are above" >&2
    else
      echo "$name: the emulator ended (status $status) before the image did" >&2
    fi
    return 1
  fi
  if [[ -n $expected ]] && ! grep -aqF -- "$expected" "$output"; then
    echo "$name: \"$expected\" is not in the output" >&2
    return 1
  fi
  grep -a 'end of run, status ' "$output" | tail -n 1 | grep -q 'status 0'
}
