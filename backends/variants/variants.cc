// SPDX-License-Identifier: Apache-2.0
#include "backends/variants/exit_orders.h"
#include "backends/variants/quiesce_orders.h"
#include "backends/variants/variant.h"

namespace nvmx {
namespace {

constexpr OrderedQuiesce kOrderedQuiesce;
constexpr OrderedChoreography kOrdered;
constexpr NmiPassthrough kNmiPassthrough;
constexpr UnhandledNmiExit kUnhandledNmiExit;
constexpr LateAcknowledgement kLateAcknowledgement;
constexpr LateAcknowledgementUnblocked kLateAcknowledgementUnblocked;
constexpr SkippedL2 kSkippedL2;
constexpr NoUnblocking kNoUnblocking;
constexpr SwallowedWindow kSwallowedWindow;
constexpr NoPrintLock kNoPrintLock;
constexpr SignalBeforeWithdrawal kSignalBeforeWithdrawal;
constexpr PrintLockFirst kPrintLockFirst;
constexpr EarlyPrintLockRelease kEarlyPrintLockRelease;
constexpr PrintInNmiContext kPrintInNmiContext;

constexpr Variant kVariants[] = {
    {"correct", "the core as it is", kOrderedQuiesce, kOrdered},
    {"nmi-passthrough", "VMCS02 has L1's pin-based controls: L2 swallows L0's NMIs",
     kOrderedQuiesce, kNmiPassthrough},
    {"unhandled-nmi-exit", "an NMI exit from L2 ends in an assertion that prints", kOrderedQuiesce,
     kUnhandledNmiExit},
    {"late-acknowledgement", "VMCS02 is translated before the NMI exit is acknowledged",
     kOrderedQuiesce, kLateAcknowledgement},
    {"late-acknowledgement-unblocked", "the same with an IRET before the translation",
     kOrderedQuiesce, kLateAcknowledgementUnblocked},
    {"skipped-l2", "the late acknowledgement, but L2 is never entered", kOrderedQuiesce,
     kSkippedL2},
    {"no-unblocking", "no IRET after an NMI exit", kOrderedQuiesce, kNoUnblocking},
    {"swallowed-window", "an NMI window that opens while guest NMIs are masked is dropped",
     kOrderedQuiesce, kSwallowedWindow},
    {"no-print-lock", "the initiator of a quiesce does not take the print lock", kNoPrintLock,
     kOrdered},
    {"signal-before-withdrawal", "the resume signal is raised while the request is open",
     kSignalBeforeWithdrawal, kOrdered},
    {"print-lock-first", "the print lock is taken before the quiesce lock", kPrintLockFirst,
     kOrdered},
    {"early-print-lock-release", "the print lock is given back before all have acknowledged",
     kEarlyPrintLockRelease, kOrdered},
    {"print-in-nmi-context", "the responder prints before it acknowledges", kPrintInNmiContext,
     kOrdered},
};

}  // namespace

std::span<const Variant> AllVariants() { return kVariants; }

const Variant* FindVariant(std::string_view name) {
  for (const Variant& variant : kVariants) {
    if (name == variant.name) return &variant;
  }
  return nullptr;
}

}  // namespace nvmx
