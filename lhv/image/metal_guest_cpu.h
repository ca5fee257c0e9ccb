// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_IMAGE_METAL_GUEST_CPU_H_
#define NVMX_LHV_IMAGE_METAL_GUEST_CPU_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "lhv/guest_cpu.h"
#include "lhv/image/code_slots.h"
#include "lhv/image/cpu_area.h"
#include "lhv/image/image_mode.h"
#include "lhv/image/instruction_encoding.h"

namespace nvmx::lhv {

// The real logical processor that the code runs on, at whichever level it is.
class MetalGuestCpu final : public GuestCpu {
 public:
  // What the CPUs of a machine share: their local APIC IDs by number, and how many NMIs they have
  // sent that have not arrived.
  struct Shared {
    std::span<const uint32_t> apic_ids;
    std::atomic<int32_t> nmis_under_way = 0;
  };
  // All must outlive this object.
  MetalGuestCpu(CpuArea& area, CodeSlots& slots, Shared& shared);

  // A program begins: at this address, with this RSP.
  void Start(uint64_t rip, uint64_t rsp);

  InstructionEnd Execute(const Instruction& instruction) override;
  uint64_t Rip() const override { return area_.rip; }
  void Jump(uint64_t rip) override;
  EventFrame TopFrame(uint8_t vector) const override;
  void SetResumeRip(uint64_t rip) override;
  uint64_t ScratchRegister() const override;
  void SetScratchRegister(uint64_t value) override;

  // At a RIP where there is no instruction: lets events come that are due. False if none did.
  bool Poll();
  // Lets the CPU rest there until an event moves it.
  void Rest();

  // An NMI has come that no instruction of a guest program sent.
  bool has_unexpected_nmi() const { return has_unexpected_nmi_; }
  // Of the last instruction: it was one of L2's, and an event behind it has led to L1.
  bool has_left_l2() const { return has_left_l2_; }
  // It was one in L2 that has left the mode of the image: nothing can be said of it.
  bool has_lost_l2() const { return has_lost_l2_; }
  // GUEST_RIP of the current VMCS, for the interpreter to say where L2 really goes on.
  uint64_t GuestRip() const;
  void SetGuestRip(uint64_t rip);
  // 1 or 2.
  uint32_t level() const { return level_; }
  // An instruction that cannot be executed here, and why.
  EncodingRefusal refusal() const { return refusal_; }
  InstructionKind refused_kind() const { return refused_kind_; }

 private:
  // What holds events back at the next instruction.
  enum class Shadow : uint8_t { kNone, kSti, kMovSs };

  EncodingContext Context() const;
  // Sets the destination and counts the NMIs; gives the command as the local APIC takes it.
  uint64_t PrepareIpi(uint64_t command);
  uint64_t FrameAddress() const;
  // The value of CpuArea::leave_by.
  uint64_t WayOut(bool with_interrupts) const;
  // Goes to `slot`, whose code is at `place`, and comes back.
  void Enter(uint64_t slot, uint64_t place);
  // The address that an event saved is one of the guest program's, not of the way to or from it.
  void RepairFrame(uint64_t left_for, uint64_t place);
  bool IsAtHandler() const;
  void NoteLevel();
  // An event that came while the interpreter ran: as if it came now.
  void DeliverDeferred();
  InstructionEnd EndOf(const Instruction& instruction, const EncodedInstruction& encoded,
                       uint64_t slot);
  bool Completed(const Instruction& instruction, uint64_t slot);
  uint64_t ResultOf(const EncodedInstruction& encoded) const;
  void EndInterrupt();
  void NoteNmi();
  void NoteExit();
  void NoteLossOfL2();
  // Whether VM entry holds events back.
  Shadow ShadowOfEntry() const;
  bool InjectsNmi() const;

  CpuArea& area_;
  CodeSlots& slots_;
  Shared& shared_;
  uint32_t level_ = 1;
  bool has_left_l2_ = false;
  bool has_lost_l2_ = false;
  bool has_unexpected_nmi_ = false;
  bool in_vmx_operation_ = false;
  Shadow shadow_ = Shadow::kNone;
  EncodingRefusal refusal_ = EncodingRefusal::kNone;
  InstructionKind refused_kind_ = InstructionKind::kNop;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_METAL_GUEST_CPU_H_
