// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/code_slots.h"

#include <cstring>

#include "lhv/image/cpu_area.h"
#include "lhv/operation_sequence.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kCodeBases[] = {kL1CodeBase, kL2CodeBase};
constexpr uint64_t kHandlerBases[] = {kL1HandlerBase, kL1BareHandlerBase, kL2HandlerBase,
                                      kL2BareHandlerBase};

constexpr size_t kSlotsPerOperation = kOperationBytes / kInstructionBytes;

// JMP rel32.
constexpr uint8_t kJmp = 0xE9;
constexpr size_t kJmpBytes = 5;
constexpr uint8_t kCli = 0xFA;
// JMP to itself.
constexpr uint8_t kRest[kInstructionBytes] = {0xEB, 0xFE, 0xEB, 0xFE, 0xEB, 0xFE, 0xEB, 0xFE};
// MOV [disp32], R14; MOV R14D, imm32. The same of R15; JMP [R15 + disp32].
constexpr uint8_t kStoreR14[] = {0x4C, 0x89, 0x34, 0x25};
constexpr uint8_t kLoadR14[] = {0x41, 0xBE};
constexpr uint8_t kStoreR15[] = {0x4C, 0x89, 0x3C, 0x25};
constexpr uint8_t kLoadR15[] = {0x41, 0xBF};
constexpr uint8_t kJmpByR15[] = {0x41, 0xFF, 0xA7};
// MOV R15, imm64. With operands of 32 bits: DEC ECX; MOV EDI, imm32; VMCALL; of 16 bits: NOPs
// behind the shorter immediate, then VMCALL.
constexpr uint8_t kOnlyIn64BitMode[] = {0x49, 0xBF, 0x90, 0x90, 0x90, 0x90, 0x0F, 0x01, 0xC1, 0x90};
constexpr size_t kVmcallInIt = 6;
// Where in a stub the slot's address is.
constexpr size_t kSlotInStub = sizeof kStoreR14 + sizeof(uint32_t) + sizeof kLoadR14;

}  // namespace

CodeSlots::CodeSlots(const Parts& parts) : parts_(parts) {}

void CodeSlots::FillAll() {
  for (const uint64_t base : kCodeBases) FillWithRest(CodeOf(parts_.cpu, base), kCodeBytesPerCpu);
  for (const uint64_t base : kHandlerBases) {
    FillWithRest(HandlersOf(parts_.cpu, base), kHandlerBytesPerCpu);
  }
  WriteCommonCode();
}

void CodeSlots::FillWithRest(uint64_t first, uint64_t bytes) {
  for (uint64_t at = first; at < first + bytes; at += kInstructionBytes) {
    std::memcpy(At(at), kRest, kInstructionBytes);
  }
}

bool CodeSlots::Prepare(const CpuProgramView& program) {
  for (const uint64_t base : kHandlerBases) {
    for (uint64_t vector = 0; vector < kVectorCount; ++vector) {
      const uint64_t handlers = HandlersOf(parts_.cpu, base);
      if (!Add(HandlerAddress(handlers, static_cast<uint8_t>(vector)))) return false;
    }
  }
  return AddCode(CodeOf(parts_.cpu, kL1CodeBase), program.l1) &&
         AddCode(CodeOf(parts_.cpu, kL2CodeBase), program.l2);
}

// The slots of each operation's instructions, the one behind them, the last of the operation, where
// handlers of faults return to; and the end of the code.
bool CodeSlots::AddCode(uint64_t base, std::span<const Operation> code) {
  for (size_t index = 0; index < code.size(); ++index) {
    const uint64_t first = OperationAddress(base, index);
    const size_t count = 2 * InstructionCount(code[index]) + 1;
    for (size_t slot = 0; slot < count && slot + 1 < kSlotsPerOperation; ++slot) {
      if (!Add(first + slot * kInstructionBytes)) return false;
    }
    if (!Add(first + (kSlotsPerOperation - 1) * kInstructionBytes)) return false;
  }
  return Add(OperationAddress(base, code.size()));
}

bool CodeSlots::Add(uint64_t slot) {
  const uint64_t stub = FirstStub() + count_ * StubBytes();
  if (stub + StubBytes() > parts_.stubs + parts_.stub_bytes) return false;
  ++count_;
  WriteStub(stub, slot);
  WriteJump(slot, stub);
  return true;
}

void CodeSlots::Clear() {
  for (size_t number = 0; number < count_; ++number) {
    const uint64_t stub = FirstStub() + number * StubBytes();
    FillWithRest(*SlotOfStub(stub), kInstructionBytes);
  }
  count_ = 0;
}

std::optional<uint64_t> CodeSlots::SlotOfStub(uint64_t address) const {
  const uint64_t first = FirstStub();
  if (address < first || address >= first + count_ * StubBytes()) return std::nullopt;
  const uint64_t stub = address - (address - first) % StubBytes();
  uint32_t slot;
  std::memcpy(&slot, At(stub + (Is64Bit() ? kSlotInStub : StubCodeI386::kSlot)), sizeof slot);
  return slot;
}

bool CodeSlots::IsInCommonCode(uint64_t address) const {
  return address >= parts_.stubs && address < FirstStub();
}

bool CodeSlots::IsOnWayOut(uint64_t address) const {
  return !Is64Bit() && IsInCommonCode(address) &&
         address >= parts_.stubs + StubCodeI386::kLeaveWithInterrupts;
}

CodeSlots::Ways CodeSlots::WaysOfI386() const {
  return {.from_guest_program = parts_.stubs + StubCodeI386::kFromGuestProgram,
          .from_interpreter = parts_.stubs + StubCodeI386::kFromInterpreter,
          .with_interrupts = parts_.stubs + StubCodeI386::kLeaveWithInterrupts,
          .without_interrupts = parts_.stubs + StubCodeI386::kLeaveWithoutInterrupts};
}

bool CodeSlots::IsOutsideMode(uint64_t rip) const {
  if (!Is64Bit()) {
    return SlotOfStub(rip).has_value() &&
           (rip - FirstStub()) % StubBytes() == StubCodeI386::kVmcall;
  }
  return rip == parts_.stubs + sizeof kStoreR15 + sizeof(uint32_t) + kVmcallInIt;
}

CodeSlots::Bytes CodeSlots::Write(uint64_t slot, const Bytes& bytes) {
  Bytes before;
  std::memcpy(before.data(), At(slot), before.size());
  std::memcpy(At(slot), bytes.data(), bytes.size());
  return before;
}

CodeSlots::Bytes CodeSlots::PrependCli(uint64_t slot) {
  Bytes bytes;
  std::memcpy(bytes.data(), At(slot), bytes.size());
  if (bytes[0] != kJmp) return bytes;
  uint32_t distance;
  std::memcpy(&distance, &bytes[1], sizeof distance);
  const uint64_t stub = slot + kJmpBytes + static_cast<uint64_t>(static_cast<int32_t>(distance));
  *At(slot) = kCli;
  WriteJump(slot + 1, stub);
  return bytes;
}

void CodeSlots::WriteCommonCode() {
  if (!Is64Bit()) {
    StubCodeI386(parts_.memory, parts_.area)
        .WriteCommonCode(parts_.stubs, parts_.entry_from_guest_program,
                         parts_.entry_from_interpreter);
    return;
  }
  uint64_t at = parts_.stubs;
  std::memcpy(At(at), kStoreR15, sizeof kStoreR15);
  Put32(at + sizeof kStoreR15, parts_.area + NVMX_AREA_R15);
  at += sizeof kStoreR15 + sizeof(uint32_t);
  std::memcpy(At(at), kOnlyIn64BitMode, sizeof kOnlyIn64BitMode);
  at += sizeof kOnlyIn64BitMode;
  std::memcpy(At(at), kLoadR15, sizeof kLoadR15);
  Put32(at + sizeof kLoadR15, parts_.area);
  at += sizeof kLoadR15 + sizeof(uint32_t);
  std::memcpy(At(at), kJmpByR15, sizeof kJmpByR15);
  Put32(at + sizeof kJmpByR15, NVMX_AREA_ENTRY);
}

void CodeSlots::WriteStub(uint64_t stub, uint64_t slot) {
  if (!Is64Bit()) return StubCodeI386(parts_.memory, parts_.area).WriteStub(stub, slot);
  std::memcpy(At(stub), kStoreR14, sizeof kStoreR14);
  Put32(stub + sizeof kStoreR14, parts_.area + NVMX_AREA_R14);
  std::memcpy(At(stub + kSlotInStub - sizeof kLoadR14), kLoadR14, sizeof kLoadR14);
  Put32(stub + kSlotInStub, slot);
  WriteJump(stub + kSlotInStub + sizeof(uint32_t), parts_.stubs);
}

void CodeSlots::WriteJump(uint64_t at, uint64_t to) {
  *At(at) = kJmp;
  Put32(at + 1, to - (at + kJmpBytes));
}

void CodeSlots::Put32(uint64_t at, uint64_t value) {
  const auto low = static_cast<uint32_t>(value);
  std::memcpy(At(at), &low, sizeof low);
}

}  // namespace nvmx::lhv
