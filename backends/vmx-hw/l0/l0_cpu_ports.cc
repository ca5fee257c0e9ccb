// SPDX-License-Identifier: Apache-2.0
//
// The ports of the core, over real instructions.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "backends/vmx-hw/l0/direct_map.h"
#include "backends/vmx-hw/l0/l0_cpu.h"
#include "backends/vmx-hw/l0/pieces.h"
#include "backends/vmx-hw/l0/vmx_instructions.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "backends/vmx-hw/machine/power.h"
#include "core/x86/control_registers.h"

namespace nvmx::metal {
namespace {

[[noreturn, gnu::noinline, gnu::cold]] void FailAccess(const char* instruction, VmcsField field) {
  metal::Write(Text() << instruction << " of " << Hex{static_cast<uint32_t>(field)} << "\n");
  Panic("VMREAD or VMWRITE fails");
}

[[gnu::noinline]] void CopyMany(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

// Most copies are of words and pairs of words.
void Copy(void* to, const void* from, size_t bytes) {
  switch (bytes) {
    case 8:
      __builtin_memcpy(to, from, 8);
      return;
    case 16:
      __builtin_memcpy(to, from, 16);
      return;
    default:
      CopyMany(to, from, bytes);
  }
}

}  // namespace

// --- Cpu

std::optional<uint64_t> L0Cpu::ReadMsr(uint32_t msr) { return TryReadMsr(msr); }
bool L0Cpu::WriteMsr(uint32_t msr, uint64_t value) {
  return msr == kX2apicIcrMsr ? WriteIcr(value) : TryWriteMsr(msr, value);
}

CpuidRegisters L0Cpu::Cpuid(uint32_t leaf, uint32_t subleaf) {
  const CpuidResult r = metal::Cpuid(leaf, subleaf);
  return {r.eax, r.ebx, r.ecx, r.edx};
}

void L0Cpu::UnblockNmi() {
#ifdef __x86_64__
  uint64_t scratch;
  asm volatile(
      "mov %%rsp, %[scratch]\n"
      "pushq %[data]\n"
      "push %[scratch]\n"
      "pushfq\n"
      "pushq %[code]\n"
      "lea 1f(%%rip), %[scratch]\n"
      "push %[scratch]\n"
      "iretq\n"
      "1:"
      : [scratch] "=&r"(scratch)
      : [data] "i"(kDataSelector), [code] "i"(kCodeSelector)
      : "memory", "cc");
#else
  asm volatile(
      "pushfl\n"
      "pushl %[code]\n"
      "pushl $1f\n"
      "iretl\n"
      "1:"
      :
      : [code] "i"(kCodeSelector)
      : "memory", "cc");
#endif
  status_.NmisUnblocked();
}

void L0Cpu::Invalidate(const Invalidation& i) {
  using Kind = Invalidation::Kind;
  const uint64_t cap = hardware_.ept_vpid_cap;
  const auto has = [cap](uint64_t bit) { return (cap & bit) != 0; };
  const auto invvpid = [](InvvpidType type, uint64_t vpid, uint64_t linear) {
    return Invvpid(static_cast<uint64_t>(type), {vpid, linear});
  };
  bool done = true;
  switch (i.kind) {
    case Kind::kEptSingleContext:
      if (has(EptVpidCap::kInveptSingleContext)) {
        done = Invept(static_cast<uint64_t>(InveptType::kSingleContext), {i.eptp, 0});
        break;
      }
      [[fallthrough]];
    case Kind::kEptAllContexts:
      done = Invept(static_cast<uint64_t>(InveptType::kAllContexts), {0, 0});
      break;
    case Kind::kVpidIndividualAddress:
      if (has(EptVpidCap::kInvvpidIndividualAddress)) {
        done = invvpid(InvvpidType::kIndividualAddress, i.vpid, i.linear);
        break;
      }
      [[fallthrough]];
    case Kind::kVpidSingleContextRetainingGlobals:
      if (i.kind == Kind::kVpidSingleContextRetainingGlobals &&
          has(EptVpidCap::kInvvpidSingleContextRetainingGlobals)) {
        done = invvpid(InvvpidType::kSingleContextRetainingGlobals, i.vpid, 0);
        break;
      }
      [[fallthrough]];
    case Kind::kVpidSingleContext:
      if (has(EptVpidCap::kInvvpidSingleContext)) {
        done = invvpid(InvvpidType::kSingleContext, i.vpid, 0);
        break;
      }
      [[fallthrough]];
    case Kind::kVpidAllContexts:
      done = invvpid(InvvpidType::kAllContexts, 0, 0);
      break;
  }
  if (!done) Panic("INVEPT or INVVPID fails");
}

void L0Cpu::WriteXcr0(uint64_t value) {
  asm volatile("xsetbv"
               :
               : "c"(0), "a"(static_cast<uint32_t>(value)),
                 "d"(static_cast<uint32_t>(value >> 32)));
}

void L0Cpu::WriteCacheControl(uint64_t cr0) {
  constexpr auto kChanged = static_cast<uintptr_t>(Cr0::kCd | Cr0::kNw);
  WriteCr0((ReadCr0() & ~kChanged) | (static_cast<uintptr_t>(cr0) & kChanged));
}

void L0Cpu::SpinUntil(const SpinCondition& condition) {
  if (!condition.Holds()) WaitFor(condition);
}

[[gnu::noinline]] void L0Cpu::WaitFor(const SpinCondition& condition) {
  const uint64_t since = metal::ReadTsc();
  status_.BeginWait(condition, since);
  while (!condition.Holds()) {
    Pause();
    if (shared_.watchdog.IsTooLong(since, metal::ReadTsc())) EndHungRun();
  }
  status_.EndWait();
}

void L0Cpu::EndHungRun() {
  // What has reported ends the run for all.
  if (!shared_.watchdog.BeginReport()) {
    for (;;) Pause();
  }
  shared_.watchdog.Report(shared_.system, index_, metal::ReadTsc(),
                          [](const Text& line) { metal::Write(line); });
  PowerOff(EndStatus::kHung);
}

// --- Vmcs

void L0Cpu::MakeCurrent(VmcsRole role) {
  // What is active is nobody's but this CPU's; VMREAD and VMWRITE in L1 find the shadow in memory.
  if (current_ == VmcsRole::kShadow) {
    if (!Vmclear(shared_.layout.PhysicalOf(VmcsOffset(current_)))) Panic("VMCLEAR fails");
  }
  if (!Vmptrld(shared_.layout.PhysicalOf(VmcsOffset(role)))) Panic("VMPTRLD fails");
  current_ = role;
}

uint64_t L0Cpu::Read(VmcsField field) {
  uint64_t value = 0;
  if (!Vmread(static_cast<uint32_t>(field), value)) [[unlikely]]
    FailAccess("VMREAD", field);
  return value;
}

void L0Cpu::Write(VmcsField field, uint64_t value) {
  if (!Vmwrite(static_cast<uint32_t>(field), value)) [[unlikely]]
    FailAccess("VMWRITE", field);
}

// --- GuestMemory

[[gnu::noinline]] bool L0Cpu::FindRam(GuestPhysicalAddress address, size_t bytes) {
  const uint64_t end = DirectMapEnd();
  if (address.value >= end || bytes > end - address.value) return false;
  const AddressRange piece = PieceAround(address.value);
  known_ram_ = shared_.l1_memory.RamAround(address.value);
  known_ram_.begin = std::max(known_ram_.begin, piece.begin);
  known_ram_.end = std::min(known_ram_.end, piece.end);
  return shared_.l1_memory.IsRam({address.value, address.value + bytes});
}

bool L0Cpu::Read(GuestPhysicalAddress address, std::span<std::byte> bytes) {
  if (!IsKnownRam(address, bytes.size())) [[unlikely]]
    return ReadElsewhere(address, bytes);
  Copy(bytes.data(), AtPhysical(address.value), bytes.size());
  return true;
}
bool L0Cpu::ReadElsewhere(GuestPhysicalAddress address, std::span<std::byte> bytes) {
  if (!FindRam(address, bytes.size())) return false;
  ForEachPiece(address.value, bytes.size(), [&](uint64_t offset, uint64_t size) {
    CopyMany(&bytes[offset], AtPhysical(address.value + offset), size);
  });
  return true;
}

bool L0Cpu::Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) {
  if (!IsKnownRam(address, bytes.size())) [[unlikely]]
    return WriteElsewhere(address, bytes);
  Copy(AtPhysical(address.value), bytes.data(), bytes.size());
  return true;
}
bool L0Cpu::WriteElsewhere(GuestPhysicalAddress address, std::span<const std::byte> bytes) {
  if (!FindRam(address, bytes.size())) return false;
  ForEachPiece(address.value, bytes.size(), [&](uint64_t offset, uint64_t size) {
    CopyMany(AtPhysical(address.value + offset), &bytes[offset], size);
  });
  return true;
}

bool L0Cpu::CompareExchange(GuestPhysicalAddress address, uint64_t expected, uint64_t desired) {
  if (!IsKnownRam(address, sizeof expected) && !FindRam(address, sizeof expected)) return false;
  using Word [[gnu::aligned(8)]] = uint64_t;  // on i386 too
  auto* at = reinterpret_cast<Word*>(AtPhysical(address.value));
  return __atomic_compare_exchange_n(at, &expected, desired, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST);
}

// --- Apic, Clock

void L0Cpu::SendNmiToAllOthers() { metal::SendNmiToAllOthers(); }
void L0Cpu::SendNmi(CpuIndex cpu) { metal::SendNmi(CpuAt(cpu).apic_id); }
uint64_t L0Cpu::ReadTsc() { return metal::ReadTsc(); }

// --- Trace

void L0Cpu::Take(TraceKind kind, uint64_t first, uint64_t second) {
  switch (kind) {
    case TraceKind::kMemoryTypesChanged:
      // All other CPUs stand still.
      if (shared_.ept01.Fill(state_.mtrr)) shared_.canary.Watch("EPT01", shared_.ept01.words());
      break;
    case TraceKind::kAssertionFailed:
      metal::Write(Text() << "L0: CPU " << index_ << ": no answer to " << Hex{first} << ", "
                          << Hex{second} << "\n");
      return;
    case TraceKind::kVmxAbort:
      metal::Write(Text() << "L0: CPU " << index_ << ": VMX abort " << first << "\n");
      // If it is the last CPU, nobody ends the run.
      shared_.say_last_words();
      return;
    default:
      break;
  }
  shared_.log.Record(index_, {metal::ReadTsc(), kind, first, second});
}

}  // namespace nvmx::metal
