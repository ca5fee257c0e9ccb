// SPDX-License-Identifier: Apache-2.0
#include "lhv/observation_text.h"

#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"
#include "lhv/guest_cpu.h"

namespace nvmx::lhv {
namespace {

using enum ObservationKind;

struct Case {
  Observation observation;
  const char* text;
};

class ObservationText : public ::testing::TestWithParam<Case> {};

TEST_P(ObservationText, IsOneReadableLine) {
  EXPECT_EQ(ToString(GetParam().observation), GetParam().text);
}

constexpr uint64_t kReason = Encoding(VmcsField::kExitReason);
constexpr uint64_t kVmwrite = static_cast<uint64_t>(InstructionKind::kVmwrite);
constexpr uint64_t kVmptrld = static_cast<uint64_t>(InstructionKind::kVmptrld);

INSTANTIATE_TEST_SUITE_P(
    EveryKind, ObservationText,
    ::testing::Values(
        Case{{kMsrValue, 1, 7, Index(Msr::IA32_PAT), 0x7040600070406, 0},
             "L1 #7: RDMSR IA32_PAT = 0x7040600070406"},
        Case{{kFieldValue, 1, 2, Encoding(VmcsField::kGuestRip), 0x20000000, 0},
             "L1 #2: VMREAD GUEST_RIP = 0x20000000"},
        Case{{kVmcsPointer, 1, 2, 0x110000, 0x111000, 0}, "L1 #2: VMPTRST = 0x111000"},
        Case{{kMemoryValue, 2, 0, 0x110000, 0xAB, 4}, "L2 #0: 4 bytes at 0x110000 = 0xab"},
        Case{{kCpuidValue, 2, 1, 7, 0x1'0000'0002, 0}, "L2 #1: CPUID 0x7.0: EAX = 0x2, EBX = 0x1"},
        Case{{kVmfailInvalid, 1, 3, kVmptrld, 0, 0x123}, "L1 #3: VMPTRLD 0x123: VMfailInvalid"},
        Case{{kVmfailValid, 1, 3, kVmwrite, 13, kReason},
             "L1 #3: VMWRITE EXIT_REASON: VMfailValid(13 VMWRITE to read-only VMCS component)"},
        Case{{kFault, 1, 4, 13, 0, 1}, "L1 #4: #GP(0x0)"},
        Case{{kFault, 2, kNoOperation, 6, 0, 0}, "L2 #-: #UD in a handler"},
        Case{{kNmi, 1, 5, 2, 0, 0}, "L1 #5: NMI before operation 5"},
        Case{{kNmi, 1, 5, 2, 2, 0}, "L1 #5: NMI before operation 5 instruction 2"},
        Case{{kNmi, 2, kNoOperation, 2, kInHandler + 0x21, 0},
             "L2 #-: NMI in the handler of interrupt 33"},
        Case{{kNmi, 2, kNoOperation, 2, 0, 0}, "L2 #-: NMI outside the program"},
        Case{{kReadValue, 1, 8, static_cast<uint64_t>(InstructionKind::kMovFromCr), 0x2020, 4},
             "L1 #8: MOV from CR4 = 0x2020"},
        Case{{kReadValue, 1, 8, static_cast<uint64_t>(InstructionKind::kRdtsc), 32, 0},
             "L1 #8: RDTSC = 0x20"},
        Case{{kReadValue, 1, 8, static_cast<uint64_t>(InstructionKind::kIn), 0xFF, 0x71},
             "L1 #8: IN 0x71 = 0xff"},
        Case{{kInterrupt, 1, 5, 0x40, 0, 0}, "L1 #5: interrupt 0x40 before operation 5"},
        Case{{kVmExit, 1, 6, kReason, 18, 0}, "L1 #6: VM exit: EXIT_REASON = 18 (VMCALL)"},
        Case{{kVmExit, 1, 6, kReason, 0x80000022, 0},
             "L1 #6: VM exit: EXIT_REASON = 34 (VM-entry failure due to MSR loading), VM entry "
             "failed"},
        Case{{kVmExit, 1, 6, kReason, 0x08000012, 0},
             "L1 #6: VM exit: EXIT_REASON = 18 (VMCALL), other bits 0x8000000"},
        Case{{kVmExit, 1, 6, Encoding(VmcsField::kExitQualification), 3, 0},
             "L1 #6: VM exit: EXIT_QUALIFICATION = 0x3"},
        Case{{kDone, 1, 9, 0, 0, 0}, "L1 #9: done"}));

}  // namespace
}  // namespace nvmx::lhv
