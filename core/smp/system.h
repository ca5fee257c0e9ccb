// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_SMP_SYSTEM_H_
#define NVMX_CORE_SMP_SYSTEM_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/ports/apic.h"
#include "core/ports/cpu.h"
#include "core/ports/trace.h"
#include "core/smp/lock.h"
#include "core/smp/shared.h"
#include "core/x86/mtrr.h"

namespace nvmx {

// The words that stop and resume all CPUs; see QuiesceProtocol.
struct QuiesceCells {
  Lock lock{"quiesce_lock"};
  // Whose request is open: 0, or the initiator's index + 1. One cell instead of a flag and a
  // per-CPU "I am the initiator" bit, so that the two can never disagree.
  Shared initiator{"quiesce_initiator", CellKind::kCpu};
  Shared acknowledged{"quiesce_acknowledged"};
  Shared resume_signal{"quiesce_resume_signal"};
  Shared resumed{"quiesce_resumed"};
};

// The latest changes of EPT01: ranges of host-physical memory to which it led and does not any
// more, or with fewer rights. Number n, counted from 0, is in place n % kKept.
struct Ept01Changes {
  struct Range {
    uint64_t first;
    uint64_t bytes;
  };
  static constexpr size_t kKept = 16;
  uint64_t count;
  std::array<Range, kKept> latest;
};

// What all CPUs of L0 share. The storage is the embedder's; one per machine.
struct System {
  explicit System(uint32_t cpus, bool log_mtrrs = true)
      : cpu_count(cpus), log_mtrr_writes(log_mtrrs) {}

  const uint32_t cpu_count;
  // Whether each write of an MTRR by L1 is a line of the log.
  const bool log_mtrr_writes;
  QuiesceCells quiesce;
  // Keeps lines of the log whole.
  Lock print_lock{"print_lock"};
  // The MTRR settings that EPT01's memory types follow now.
  SharedBlock<MtrrSettings> ept01_memory_types{"ept01_memory_types"};
  // How often EPT01 has changed in such a way, and where. A CPU compares the number with what it
  // has followed before it enters an L2 that runs on something that L0 made from EPT01.
  Shared ept01_generation{"ept01_generation"};
  SharedBlock<Ept01Changes> ept01_changes{"ept01_changes"};
};

// See CpuCells::guest_nmis_pending.
inline constexpr uint64_t kEpt01Suspected = uint64_t{1} << 8;
inline constexpr uint64_t kGuestNmisPendingMask = kEpt01Suspected - 1;

// What a CPU shares with its own NMI context. One per CPU.
struct CpuCells {
  // NMIs that are the guest's and that it has not been given yet. At most two: one that is about to
  // be delivered and one that a processor would hold in its latch. In the bits above, as
  // kEpt01Suspected: NMI context stood still for a quiesce while L2 was about to run on something
  // that L0 made from EPT01. Both are in one cell, because the last look before a VM entry must see
  // both at once.
  Shared guest_nmis_pending{"guest_nmis_pending"};
};

// One CPU of L0, as far as the code that coordinates CPUs needs it.
struct SmpContext {
  Cpu& cpu;
  Apic& apic;
  Trace& trace;
  System& system;
  CpuCells& own;
};

}  // namespace nvmx

#endif  // NVMX_CORE_SMP_SYSTEM_H_
