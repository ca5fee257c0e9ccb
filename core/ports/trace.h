// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_TRACE_H_
#define NVMX_CORE_PORTS_TRACE_H_

#include <cstdint>

namespace nvmx {

// What the core tells an observer. The two arguments are explained at each kind.
enum class TraceKind : uint8_t {
  kNmiAcknowledged,     // this CPU stopped for a quiesce; first: the initiator's index
  kNmiToGuest,          // an NMI was found to be the guest's; first: how many are pending now
  kNmiMergedForGuest,   // a guest's NMI found the guest's latch full; as on hardware only one stays
  kNmiMergedWhileHeld,  // of two guest NMIs that L0 held and the guest could not take, one stayed
  kNmiInjected,  // a pending guest NMI was given to L1 or L2; first: VmcsRole it was injected into
  kNmiExitToL1,  // a pending guest NMI became a VM exit from L2 to L1
  kNestedEntry,  // L1's VMLAUNCH or VMRESUME succeeded so far that L2 runs; first: VMCS12 address
  kNestedExit,   // L2's VM exit was reflected to L1; first: exit reason, second: exit qualification
  kEntryRefused,  // VMCS12 breaks a rule of VM entry; first: its EntryRuleNumber
  kMsrListEntry,  // an entry of an MSR list is processed; first: MSR index, second: its number,
                  // from 1
  kVmxAbort,      // L1's CPU entered VMX-abort shutdown; first: the indicator
  kQuiesceBegin,  // all other CPUs have acknowledged
  kQuiesceEnd,    // all other CPUs have resumed
  kMemoryTypesChanged,  // EPT01's memory types follow new MTRR settings
  kLogLine,             // a line for a person; first: LogLine, second: its argument
  kAssertionFailed,     // L0 met a state that it does not handle; first: a number that names it
};

// Takes what the core tells. Never waits, never takes a lock: it is called in NMI context too.
class Trace {
 public:
  virtual void Record(TraceKind kind, uint64_t first, uint64_t second) = 0;

 protected:
  ~Trace() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_TRACE_H_
