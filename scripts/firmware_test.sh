#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# That one image boots from a BIOS and from UEFI, finds all CPUs, and where there is no VMX says so and fails.
set -uo pipefail
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
elf=backends/vmx-hw

# expect STATUS TEXT ISO: for both kinds of firmware.
expect() {
  local status=$1 text=$2 iso=$3 firmware output got
  for firmware in '' --uefi; do
    # shellcheck disable=SC2086  # no option, or one
    output=$(scripts/qemu $firmware --cpus 2 --timeout 120 "$iso" 2>&1)
    got=$?
    ((got == status)) && grep -aqF -- "$text" <<<"$output" && continue
    echo "firmware_test: $iso $firmware: status $got instead of $status, or no \"$text\" in:" >&2
    echo "$output" >&2
    failed=1
  done
}

scripts/image -o "$work/hello.iso" "$elf/machine/hello.elf" || exit 1
expect 0 'CPUs found 2, running 2' "$work/hello.iso"
scripts/image -o "$work/nested.iso" "$elf/l0/nvmx.elf, $elf/machine/hello.elf" || exit 1
expect 1 'stop: this CPU has no VMX' "$work/nested.iso"
exit "$failed"
