// SPDX-License-Identifier: Apache-2.0
//
// L1's local APIC. It is L1's own but for the ICR, of which L0 has to see INIT and SIPI
// (startup_ipis.h). So EPT01 lets nobody write the page of its registers: L0 performs the
// instruction that does. In x2APIC mode the ICR is an MSR that L0 intercepts.
#include <algorithm>
#include <array>
#include <span>

#include "backends/vmx-hw/l0/direct_map.h"
#include "backends/vmx-hw/l0/icr.h"
#include "backends/vmx-hw/l0/l0_cpu.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "core/nested/guest_instructions.h"
#include "core/nested/guest_paging.h"
#include "core/nested/hypervisor.h"
#include "core/nested/init_sipi.h"
#include "core/nested/l2_memory.h"
#include "core/vmx/bitmaps.h"
#include "core/x86/segment.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t kIcrLow = 0x300;

void Send(StartupIpis& startup, Vcpu& vcpu, const IcrCommand& command) {
  if (command.HasLogicalDestination()) {
    Write(Text() << "L0: CPU " << vcpu.ports.cpu.Index()
                 << " of L1 sends INIT or SIPI to a logical destination; nobody gets it\n");
  }
  startup.Send(vcpu, command);
}

// A write of so many bytes, as one.
void WriteDevice(uint64_t address, uint64_t value, unsigned bytes) {
  volatile std::byte* const to = AtPhysical(address);
  switch (bytes) {
    case 1:
      *reinterpret_cast<volatile uint8_t*>(to) = static_cast<uint8_t>(value);
      return;
    case 2:
      *reinterpret_cast<volatile uint16_t*>(to) = static_cast<uint16_t>(value);
      return;
    case 4:
      *reinterpret_cast<volatile uint32_t*>(to) = static_cast<uint32_t>(value);
      return;
    default:
      *reinterpret_cast<volatile uint64_t*>(to) = value;
  }
}

CodeSize CodeSizeOf(Vcpu& vcpu) {
  if (IsIn64BitMode(vcpu)) return CodeSize::k64;
  const uint64_t rights = vcpu.ports.vmcs.Read(VmcsField::kGuestCsAccessRights);
  return (rights & AccessRights::kDb) != 0 ? CodeSize::k32 : CodeSize::k16;
}

// Bytes of the code of whoever runs; false if they are not there. What was found is no fault of the
// guest's, which has executed them.
bool ReadCode(Vcpu& vcpu, uint64_t linear, std::span<std::byte> bytes) {
  const uint64_t cr2 = vcpu.state.cr2;
  bool is_there = false;
  if (vcpu.ports.vmcs.Current() == VmcsRole::kVmcs02) {
    L2Memory memory(vcpu);
    Vcpu l2 = WithMemory(vcpu, memory);
    is_there = !ReadLinear(l2, linear, bytes) && !memory.untranslated();
  } else {
    is_there = !ReadLinear(vcpu, linear, bytes);
  }
  vcpu.state.cr2 = cr2;
  return is_there;
}

}  // namespace

void L0Cpu::TakeStartupIpis() {
  StartupMailbox& mailbox = shared_.startup.MailboxOf(index_);
  if (mailbox.IsEmpty()) [[likely]]
    return;
  const StartupMailbox::Contents contents = mailbox.Take();
  if (contents.init) {
    SendInitToGuest(vcpu_);
    ArrangeEntry(vcpu_);
  }
  if (contents.sipi) {
    SendSipiToL1(vcpu_, *contents.sipi);
    ArrangeEntry(vcpu_);
  }
}

void L0Cpu::InterceptIcr() {
  constexpr uint32_t kBits = 64;
  const std::optional<uint32_t> bit = MsrBitmapBit(kX2apicIcrMsr, /*write=*/true);
  vcpu_.host_pages.pages[kMsrBitmap01Page].words[*bit / kBits] |= uint64_t{1} << *bit % kBits;
}

bool L0Cpu::WriteIcr(uint64_t value) {
  const IcrCommand command = IcrCommand::FromX2apic(value);
  if (!IsInX2apicMode() || !command.IsInitOrSipi()) return TryWriteMsr(kX2apicIcrMsr, value);
  if ((value & kX2apicIcrReserved) != 0) return false;
  Send(shared_.startup, vcpu_, command);
  return true;
}

// The instruction may go on in the next page, which need not be there if it does not.
std::optional<StoreInstruction> L0Cpu::FetchStore(Vcpu& vcpu) const {
  const CodeSize size = CodeSizeOf(vcpu);
  uint64_t linear = vcpu.ports.vmcs.Read(VmcsField::kGuestRip);
  if (size != CodeSize::k64) linear += vcpu.ports.vmcs.Read(VmcsField::kGuestCsBase);
  std::array<std::byte, StoreInstruction::kMostBytes> code;
  const size_t in_page = std::min<uint64_t>(code.size(), kPageSize - PageOffset(linear));
  const auto first = std::span(code).first(in_page);
  if (!ReadCode(vcpu, linear, first)) return std::nullopt;
  if (const auto store = DecodeStore(first, size)) return store;
  if (in_page == code.size() || !ReadCode(vcpu, linear, code)) return std::nullopt;
  return DecodeStore(code, size);
}

ForbiddenAccess L0Cpu::HandleForbiddenAccess(Vcpu& vcpu, GuestPhysicalAddress address) const {
  constexpr uint64_t kValid = uint64_t{1} << 31;
  Vmcs& vmcs = vcpu.ports.vmcs;
  // Nor does a register take what the delivery of an event pushes.
  if (PageBase(address.value) != shared_.apic_page ||
      (vmcs.Read(VmcsField::kIdtVectoringInformation) & kValid) != 0) {
    return ForbiddenAccess::kFault;
  }
  const std::optional<StoreInstruction> store = FetchStore(vcpu);
  if (!store) {
    metal::Write(
        Text() << "L0: CPU " << index_
               << ": its local APIC is written by an instruction that L0 does not know, RIP "
               << Hex{vmcs.Read(VmcsField::kGuestRip)} << "\n");
    return ForbiddenAccess::kFault;
  }
  const uint64_t value = store->Value(store->source ? ReadRegister(vcpu, *store->source) : 0);
  if (PageOffset(address.value) == kIcrLow && !IsInX2apicMode()) {
    const IcrCommand command = IcrCommand::FromXapic(static_cast<uint32_t>(value), ReadIcrHigh());
    if (command.IsInitOrSipi()) {
      Send(shared_.startup, vcpu, command);
      FinishInstruction(vcpu, store->length);
      return ForbiddenAccess::kPerformed;
    }
  }
  WriteDevice(address.value, value, store->operand_bytes);
  FinishInstruction(vcpu, store->length);
  return ForbiddenAccess::kPerformed;
}

}  // namespace nvmx::metal
