// SPDX-License-Identifier: Apache-2.0
//
// Thirty experiments with NMIs whose outcome on real processors is known: what blocks an NMI, what
// ends that, and where an NMI is taken that has waited, in VMX root and non-root operation. SDM
// Vol. 3C, 26.2, 26.3 (IRET), 27.6, 27.7.1, 28.5.5 "Updating Non-Register State"; Vol. 3A, 6.7.1
// "Handling Multiple NMIs".
#include <sstream>

#include "backends/sim/machine/testing/native_fixture.h"

namespace nvmx::sim {
namespace {

// Another CPU sends an NMI and an interrupt in turn, as long as this CPU waits; the handlers of
// both return without IRET, so that blocking by NMI stays. The script of an experiment is a list of
//   h:E, g:E    HLT in root operation, in the guest: the first event is E
//   ih:E, ig:E  IRET there: E is taken right behind it
//   Snvbw       enter with NMI exiting, virtual NMIs, blocking by NMI, NMI-window exiting 0 or 1
//   Snvbw+E     and inject E
//   @E          E is taken before the next instruction
//   B0, B1      VMCALL: the VMCS shows this blocking by NMI
//   exit        VMCALL
//   resume      enter again as the exit left the VMCS
// where E is N (the handler of NMIs runs), T (that of the interrupt does), X (a VM exit for an
// NMI), W (one for the NMI window), or - (nothing).
struct Experiment {
  int number;
  const char* script;
};

constexpr Experiment kExperiments[] = {
    {1, "S0000 g:N ig:- g:T"},
    {2, "S0010 g:T B1 @- h:T resume ig:N ig:-"},
    {3, "h:N h:T h:T S0000 @N ig:-"},
    {4, "S0010 exit h:T ih:N ih:- resume ig:-"},
    {5, "S1000 g:X exit ih:- resume g:T"},
    {6, "S1010 g:T ig:- B1 ih:N ih:-"},
    {7, "h:N h:T h:T S1000 @X B0 ih:-"},
    {8, "S1100 g:X exit ih:- resume g:T"},
    {9, "S1110 g:X g:T B1 ih:-"},
    {10, "h:N h:T h:T S1100 @X B0 ih:-"},
    {11, "h:N h:T h:T S1110 @X B1 ih:-"},
    {12, "S1110 ig:- B0 h:N ih:- h:T"},
    {13, "h:N h:T S1100 B0 h:N ih:- h:T"},
    {14, "h:N h:T S1110 B1 h:N ih:- h:T"},
    {15, "h:N h:T h:T S0000+T @N B1"},
    {16, "h:N h:T h:T S1000+T @X B0"},
    {17, "h:N h:T h:T S1110+T @X B1"},
    {18, "h:N ih:- h:T S0000+N @- B0"},
    {19, "S1000+N @- B0 h:N ih:- h:T"},
    {20, "S1100+N @- B1 h:N ih:- h:T"},
    {21, "S1101 @W h:N ih:- h:T"},
    {22, "S1111 @- B1"},
    {23, "S1111 ig:W"},
    {24, "h:N h:T h:T S1101 @W @N"},
    {25, "S1101+N @- ig:W"},
    {26, "h:N h:T h:T S1100+N @X B1"},
    {27, "h:N h:T h:T h:T S0000 @N ig:-"},
    {28, "h:N h:T h:T h:T S1000 @X ig:-"},
    {29, "h:N h:T h:T h:T h:T ih:N ih:- ih:-"},
    {30, "h:N h:T h:T h:T S1100 @X ig:-"},
};

class NmiExperiments : public NativeTest, public testing::WithParamInterface<Experiment> {
 protected:
  static constexpr uint8_t kInterrupt = 0x22;

  void Run(const std::string& script) {
    EnterVmx();
    LoadVmcs();
    std::istringstream words(script);
    for (std::string word; words >> word;) {
      SCOPED_TRACE(word);
      Do(word);
      if (HasFatalFailure()) return;
    }
  }

 private:
  void Do(const std::string& word) {
    const char last = word.back();
    if (word[0] == 'S') return Enter(word);
    if (word == "exit") return LeaveByVmcall();
    if (word == "resume") return Resume();
    if (word[0] == 'B') {
      LeaveByVmcall();
      const bool blocked =
          (Read(VmcsField::kGuestInterruptibilityState) & Interruptibility::kBlockingByNmi) != 0;
      EXPECT_EQ(blocked, last == '1');
    } else if (word[0] == '@') {
      const uint64_t rip = cpu_.Rip();
      EXPECT_EQ(TakeEvent(), last);
      if (last == 'X') EXPECT_EQ(Read(VmcsField::kGuestRip), rip);
    } else {
      const bool in_guest = word[word.find(':') - 1] == 'g';
      if (in_guest) Resume();
      ASSERT_EQ(cpu_.in_non_root(), in_guest);
      EXPECT_EQ(word[0] == 'i' ? Iret() : Wait(), last);
    }
  }

  // The event that is due, and its handler. In a handler already: first the rest of that one.
  char TakeEvent() {
    const Signals signals{.nmi = nmi_,
                          .interrupt = interrupt_ ? std::optional(kInterrupt) : std::nullopt};
    const BoundaryEvent event = cpu_.NextEvent(signals);
    if (event == BoundaryEvent::kNone) {
      FinishHandlers();
      return '-';
    }
    const bool exits = event == BoundaryEvent::kNmi && cpu_.NmiExits();
    if (event == BoundaryEvent::kNmi) nmi_ = false;
    if (event == BoundaryEvent::kInterrupt) interrupt_ = false;
    cpu_.Take(event, signals);
    if (exits || event == BoundaryEvent::kNmiWindow) return exits ? 'X' : 'W';
    FinishHandlers();
    return event == BoundaryEvent::kNmi ? 'N' : 'T';
  }
  bool IsInHandler() const {
    return cpu_.Rip() >= lhv::kL1HandlerBase && cpu_.Rip() < uint64_t{1} << 30;
  }
  void FinishHandlers() {
    while (IsInHandler()) Execute(Kind::kHandlerReturn);
  }

  char Wait() {
    if (cpu_.IsActive()) {
      Execute(Kind::kSti);
      Execute(Kind::kHlt);
    }
    for (int sent = 0; sent < 4; ++sent) {
      (next_is_nmi_ ? nmi_ : interrupt_) = true;
      next_is_nmi_ = !next_is_nmi_;
      const char event = TakeEvent();
      if (event != '-') return event;
    }
    return '-';
  }
  char Iret() {
    Execute(Kind::kIret, cpu_.Rip() + lhv::kInstructionBytes);
    return TakeEvent();
  }

  void Enter(const std::string& word) {
    ASSERT_FALSE(cpu_.in_non_root());
    const auto on = [&](size_t position) { return word[position] == '1'; };
    Write(VmcsField::kPinBasedControls, PinBased::kDefault1 | (on(1) ? PinBased::kNmiExiting : 0) |
                                            (on(2) ? PinBased::kVirtualNmis : 0));
    Write(VmcsField::kGuestInterruptibilityState, on(3) ? Interruptibility::kBlockingByNmi : 0);
    SetWindow(on(4));
    if (word.size() > 5) {
      Or(VmcsField::kGuestRflags, Rflags::kIf);
      const auto event = word.back() == 'N' ? InterruptionInformation::Nmi()
                                            : InterruptionInformation::ExternalInterrupt(0x21);
      Write(VmcsField::kVmEntryInterruptionInformation, event.value());
    }
    EnterGuest();
  }
  void SetWindow(bool on) {
    Clear(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kNmiWindowExiting);
    if (on) Or(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kNmiWindowExiting);
  }
  void EnterGuest() {
    const bool launched = state().vmcs[state().current_vmcs].launched != 0;
    Execute(launched ? Kind::kVmresume : Kind::kVmlaunch);
    ASSERT_TRUE(cpu_.in_non_root());
  }
  // Behind an exit for an NMI or its window, too: the window is closed, and the guest not halted.
  void Resume() {
    if (cpu_.in_non_root()) return;
    SetWindow(false);
    Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kActive));
    EnterGuest();
  }
  void LeaveByVmcall() {
    Resume();
    FinishHandlers();
    Execute(Kind::kVmcall);
    ExpectExit(ExitReason::kVmcall);
    Write(VmcsField::kGuestRip, Read(VmcsField::kGuestRip) + lhv::kInstructionBytes);
  }

  bool nmi_ = false;
  bool interrupt_ = false;
  bool next_is_nmi_ = true;
};

TEST_P(NmiExperiments, EndAsOnRealProcessors) { Run(GetParam().script); }

INSTANTIATE_TEST_SUITE_P(All, NmiExperiments, testing::ValuesIn(kExperiments),
                         [](const auto& info) { return std::to_string(info.param.number); });

}  // namespace
}  // namespace nvmx::sim
