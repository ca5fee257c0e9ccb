#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What scripts/preflight says of machines that are folders.
set -uo pipefail
failed=0
machines=$(mktemp -d)
trap 'rm -rf "$machines"' EXIT

fail() {
  echo "preflight_test: $*" >&2
  failed=1
}

# The MSRs of a Core i7-6700K.
good_msrs() {
  cat <<'TEXT'
1b 00000000fee00d00
3a 0000000000000005
480 00da040000000004
481 0000007f00000016
482 fff9fffe0401e172
483 01ffffff00036dff
484 0003ffff000011ff
485 000000007004c1e7
486 0000000080000021
487 00000000ffffffff
488 0000000000002000
489 00000000003727ff
48a 000000000000002e
48b 001ffcff00000000
48c 00000f0106334141
48d 0000007f00000016
48e fff9fffe04006172
48f 01ffffff00036dfb
490 0003ffff000011fb
491 0000000000000001
TEXT
}

put() {
  mkdir -p "$(dirname "$machines/$1")"
  cat >"$machines/$1"
}

# good NAME CPUS: a machine on which nvmx can run.
good() {
  local name=$1 cpus=$2 cpu
  for ((cpu = 0; cpu < cpus; ++cpu)); do
    printf '%s\n' "processor	: $cpu" 'vendor_id	: GenuineIntel' 'model name	: Intel(R) Core(TM) i7-6700K' \
      'flags		: fpu lm vmx x2apic pdpe1gb' \
      'address sizes	: 39 bits physical, 48 bits virtual' ''
    good_msrs | put "$name/dev/cpu/$cpu/msr"
  done | put "$name/proc/cpuinfo"
  printf '%s\n' '00001000-0009fbff : System RAM' '  01000000-01ffffff : Kernel code' '100000000-43fffffff : System RAM' |
    put "$name/proc/iomem"
  echo 64 | put "$name/sys/firmware/efi/fw_platform_size"
  printf '\6\0\0\0\0' | put "$name/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
  echo 0x3F8 | put "$name/sys/class/tty/ttyS0/port"
  echo 4 | put "$name/sys/class/tty/ttyS0/type"
}

# change NAME FILE SED-EXPRESSION
change() {
  sed -i "$3" "$machines/$1/$2"
  grep -q . "$machines/$1/$2" || fail "$1/$2 is empty"
}

# expect NAME STATUS LINE... : the status, and lines that the report has.
expect() {
  local name=$1 status=$2 report got line
  report=$(scripts/preflight --root "$machines/$name" 2>&1)
  got=$?
  ((got == status)) || fail "$name: status $got instead of $status:"$'\n'"$report"
  for line in "${@:3}"; do
    grep -qE -- "$line" <<<"$report" || fail "$name: no line \"$line\" in:"$'\n'"$report"
  done
}

expect_not() {
  local report
  report=$(scripts/preflight --root "$machines/$1" 2>&1)
  ! grep -qE -- "$2" <<<"$report" || fail "$1: a line \"$2\" in:"$'\n'"$report"
}

good good 8
expect good 0 '^ok +processor: .*6700K' '^ok +IA32_FEATURE_CONTROL: locked, VMX is allowed' '^ok +EPT$' '^ok +VPID' \
  '^ok +8 CPUs' '^ok +RAM ends at 17\.0 GBytes' '^ok +x2APIC: mode is on' '^ok +VMCS shadowing' \
  '^ok +booted by UEFI' '^ok +COM1' '^note +kvm_intel is not loaded' 'nvmx can run here'
expect_not good '^(MISSING|\?)'

good not-locked 1
change not-locked dev/cpu/0/msr 's/^3a .*/3a 0000000000000000/'
expect not-locked 0 'not locked, L0 will allow VMX'

good locked-off 2
change locked-off dev/cpu/0/msr 's/^3a .*/3a 0000000000000001/'
change locked-off proc/cpuinfo 's/ vmx / /'
expect locked-off 1 '^MISSING +VMX: locked off by the firmware' 'nvmx cannot run here'

good amd 2
change amd proc/cpuinfo 's/GenuineIntel/AuthenticAMD/'
expect amd 1 '^MISSING +a processor of Intel.s: this one is of AuthenticAMD'

good no-vmx 1
change no-vmx proc/cpuinfo 's/ vmx / /'
change no-vmx dev/cpu/0/msr '/^\(3a\|4..\) /d'
expect no-vmx 1 '^MISSING +VMX .*this processor has none'

good no-ept 1
change no-ept dev/cpu/0/msr 's/^48b .*/48b 001ffc7d00000000/'
expect no-ept 1 '^MISSING +EPT$' '^MISSING +unrestricted guest' '^ok +MSR bitmaps'

good no-shadowing 1
change no-shadowing dev/cpu/0/msr 's/^48b .*/48b 001fbcff00000000/'
expect no-shadowing 0 '^note +no VMCS shadowing: each VMREAD'

good old 1
change old dev/cpu/0/msr '/^48[c-f] /d'
change old dev/cpu/0/msr '/^490 /d'
expect old 1 '^MISSING +virtual NMIs' '^MISSING +EPT with 2-MByte pages'

good differ 3
change differ dev/cpu/2/msr 's/^48c .*/48c 00000f0106134141/'
expect differ 1 '^MISSING +the same VMX on all CPUs: MSR 48CH differs on CPU 2'

good many 24
expect many 0 '^note +24 CPUs.*cpus=16'

good large 1
change large proc/iomem 's/43fffffff/807fffffff/'
expect large 1 '^MISSING +RAM ends at 514\.0 GBytes; nvmx can map 512'
change large proc/cpuinfo 's/ pdpe1gb//'
expect large 1 'nvmx can map 4, for there are no pages of 1 GByte'

good secure-boot 1
printf '\6\0\0\0\1' | put secure-boot/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
expect secure-boot 1 '^MISSING +UEFI with Secure Boot off'

good not-root 1
rm -r "$machines/not-root/dev"
change not-root proc/iomem 's/^[0-9a-f]*-[0-9a-f]*/00000000-00000000/'
expect not-root 2 '^\? +IA32_FEATURE_CONTROL: /dev/cpu/0/msr cannot be read' '^\? +what VMX can do' 'not all of it'

good no-com1 1
echo 0 | put no-com1/sys/class/tty/ttyS0/type
expect no-com1 0 '^note +no COM1'

good damaged 1
echo '480 rubbish' | put damaged/dev/cpu/0/msr
expect damaged 2 'damaged/dev/cpu/0/msr:1: not "MSR VALUE"'
expect not-there 2 'there is no file .*not-there/proc/cpuinfo'

# What is captured of a machine reports the same.
scripts/preflight --root "$machines/good" --capture "$machines/captured" || fail "it cannot be captured"
diff <(scripts/preflight --root "$machines/good") <(scripts/preflight --root "$machines/captured") >&2 ||
  fail "captured, the machine is another one"

# Its profile is the one that the simulator has, but for the processor's name and zeros in front.
profile() {
  sed '/^processor:/d; s/0x0*/0x/' "$1"
}
diff <(profile <(scripts/preflight --root "$machines/good" --profile)) <(profile backends/sim/profiles/skylake-i7-6700k.yaml) >&2 ||
  fail "the profile is another one"
message=$(scripts/preflight --root "$machines/no-vmx" --profile 2>&1)
[[ $? == 2 && $message == *'no VMX to make a profile of' ]] || fail "a profile without VMX: $message"

exit "$failed"
