// SPDX-License-Identifier: Apache-2.0
#include "core/testing/fake_ports.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ostream>
#include <utility>

#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

std::string WithHex(const char* text, uint64_t number) {
  char line[64];
  std::snprintf(line, sizeof line, "%s %llX", text, static_cast<unsigned long long>(number));
  return line;
}

const char* Name(SharedOperation operation) {
  switch (operation) {
    case SharedOperation::kLoad:
      return "load ";
    case SharedOperation::kStore:
      return "store ";
    case SharedOperation::kAdd:
      return "add ";
    case SharedOperation::kRelease:
      return "release ";
  }
  return "unknown ";
}

std::string Describe(const SpinCondition& condition) {
  const std::string cell = condition.cell->name();
  switch (condition.comparison) {
    case SpinCondition::Comparison::kEquals:
      return "spin " + cell + "=" + std::to_string(condition.wanted);
    case SpinCondition::Comparison::kAtLeast:
      return "spin " + cell + ">=" + std::to_string(condition.wanted);
    case SpinCondition::Comparison::kAcquires:
      return "acquire " + cell;
  }
  return "unknown " + cell;
}

}  // namespace

std::optional<uint64_t> FakeCpu::ReadMsr(uint32_t msr) {
  log_.push_back(WithHex("RDMSR", msr));
  const auto found = msrs_.find(msr);
  if (found == msrs_.end()) return std::nullopt;
  return found->second;
}

bool FakeCpu::WriteMsr(uint32_t msr, uint64_t value) {
  log_.push_back(WithHex("WRMSR", msr));
  const auto found = msrs_.find(msr);
  if (found == msrs_.end() || read_only_msrs_.contains(msr)) return false;
  found->second = value;
  if (const auto effect = wrmsr_effects_.find(msr); effect != wrmsr_effects_.end()) {
    effect->second(value);
  }
  return true;
}

CpuidRegisters FakeCpu::Cpuid(uint32_t leaf, uint32_t subleaf) {
  log_.push_back("CPUID");
  const auto found = cpuid_.find({leaf, subleaf});
  if (found != cpuid_.end()) return found->second;
  return {leaf + 1, subleaf + 2, leaf + 3, subleaf + 4};
}

void FakeCpu::SendNmi() {
  if (nmi_blocked_) {
    nmi_latched_ = true;
  } else if (nmi_handler_) {
    nmi_handler_();
  }
}

void FakeCpu::UnblockNmi() {
  log_.push_back("unblock NMI");
  ++unblock_nmi_calls_;
  nmi_blocked_ = false;
  if (std::exchange(nmi_latched_, false) && nmi_handler_) nmi_handler_();
}

void FakeCpu::Invalidate(const Invalidation& invalidation) {
  const bool ept = invalidation.kind == Invalidation::Kind::kEptSingleContext ||
                   invalidation.kind == Invalidation::Kind::kEptAllContexts;
  log_.push_back(ept ? "INVEPT" : "INVVPID");
  invalidations_.push_back(invalidation);
}

void FakeCpu::WriteXcr0(uint64_t value) {
  log_.push_back("XSETBV");
  xcr0_ = value;
}

void FakeCpu::WriteCacheControl(uint64_t cr0) {
  log_.push_back("MOV to CR0");
  cache_control_ = cr0 & (Cr0::kCd | Cr0::kNw);
}

void FakeCpu::BeforeSharedAccess(const SharedAccess& access) {
  log_.push_back(Name(access.operation) + std::string(access.cell->name()));
  if (before_access_) before_access_(access);
}

void FakeCpu::SpinUntil(const SpinCondition& condition) {
  log_.push_back(Describe(condition));
  if (!condition.Holds() && while_waiting_) while_waiting_(condition);
  if (condition.Holds()) return;
  ADD_FAILURE() << "CPU " << index_ << " waits for ever: " << Describe(condition) << "; it is "
                << condition.cell->Peek();
  std::memcpy(condition.cell->bytes().data(), &condition.wanted, sizeof condition.wanted);
}

void FakeVmcs::MakeCurrent(VmcsRole role) {
  constexpr const char* kNames[] = {"VMPTRLD VMCS01", "VMPTRLD VMCS02", "VMPTRLD shadow"};
  log_.push_back(kNames[static_cast<size_t>(role)]);
  current_ = role;
}

uint64_t FakeVmcs::Read(VmcsField field) {
  log_.push_back(std::string("VMREAD ") + nvmx::Name(field));
  EXPECT_TRUE(Exists(field, hardware_)) << nvmx::Name(field);
  return current_image().Read(field);
}

void FakeVmcs::Write(VmcsField field, uint64_t value) {
  log_.push_back(std::string("VMWRITE ") + nvmx::Name(field));
  EXPECT_TRUE(Exists(field, hardware_)) << nvmx::Name(field);
  current_image().Write(field, value);
}

bool FakeGuestMemory::IsBacked(uint64_t address, size_t length) const {
  if (address >= size_ || length > size_ - address) return false;
  for (uint64_t page = PageBase(address); page < address + length; page += kPageSize) {
    if (removed_.contains(page)) return false;
  }
  return true;
}

void FakeGuestMemory::Copy(uint64_t address, std::span<std::byte> bytes) {
  for (std::byte& byte : bytes) byte = At(address++);
}

void FakeGuestMemory::Fill(uint64_t address, std::span<const std::byte> bytes) {
  for (std::byte byte : bytes) At(address++) = byte;
}

bool FakeGuestMemory::Read(GuestPhysicalAddress address, std::span<std::byte> bytes) {
  log_.push_back("read memory");
  if (!IsBacked(address.value, bytes.size())) return false;
  Copy(address.value, bytes);
  return true;
}

bool FakeGuestMemory::Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) {
  log_.push_back("write memory");
  if (!IsBacked(address.value, bytes.size())) return false;
  Fill(address.value, bytes);
  return true;
}

void FakeApic::SendNmiToAllOthers() {
  log_.push_back("NMI to all others");
  ++nmis_sent_;
}

void FakeApic::SendNmi(CpuIndex cpu) {
  log_.push_back("NMI to " + std::to_string(cpu));
  ++nmis_sent_;
}

uint64_t FakeClock::ReadTsc() {
  log_.push_back("RDTSC");
  return tsc_++;
}

const char* Name(TraceKind kind) {
  switch (kind) {
    case TraceKind::kNmiAcknowledged:
      return "NmiAcknowledged";
    case TraceKind::kNmiToGuest:
      return "NmiToGuest";
    case TraceKind::kNmiMergedForGuest:
      return "NmiMergedForGuest";
    case TraceKind::kNmiMergedWhileHeld:
      return "NmiMergedWhileHeld";
    case TraceKind::kNmiInjected:
      return "NmiInjected";
    case TraceKind::kNmiExitToL1:
      return "NmiExitToL1";
    case TraceKind::kNestedEntry:
      return "NestedEntry";
    case TraceKind::kNestedExit:
      return "NestedExit";
    case TraceKind::kEntryRefused:
      return "EntryRefused";
    case TraceKind::kMsrListEntry:
      return "MsrListEntry";
    case TraceKind::kVmxAbort:
      return "VmxAbort";
    case TraceKind::kQuiesceBegin:
      return "QuiesceBegin";
    case TraceKind::kQuiesceEnd:
      return "QuiesceEnd";
    case TraceKind::kMemoryTypesChanged:
      return "MemoryTypesChanged";
    case TraceKind::kLogLine:
      return "LogLine";
    case TraceKind::kAssertionFailed:
      return "AssertionFailed";
  }
  return "unknown";
}

void PrintTo(const TraceEvent& event, std::ostream* os) {
  *os << Name(event.kind) << "(" << event.first << ", " << event.second << ")";
}

void FakeTrace::Record(TraceKind kind, uint64_t first, uint64_t second) {
  log_.push_back(std::string("trace ") + nvmx::Name(kind));
  events_.push_back({kind, first, second});
}

int FakeTrace::Count(TraceKind kind) const {
  return static_cast<int>(std::count_if(events_.begin(), events_.end(),
                                        [kind](const TraceEvent& e) { return e.kind == kind; }));
}

}  // namespace nvmx
