// SPDX-License-Identifier: Apache-2.0
//
// A run as a timeline for https://ui.perfetto.dev or chrome://tracing, in the JSON that both open.
// Source of the format: "Trace Event Format", the Chromium project.
//
// - One process, the machine, with one thread per CPU (tid: its index + 1) and one counter per
//   shared cell.
// - The clock is the number of the step: step n takes the microsecond that begins at n. What
//   happens within one step is spread over that microsecond in the order of the events; the
//   distances there mean nothing.
// - Slices of a CPU: L1, L2, or L0 with the exit reason; inside L0 the NMI context, and the time in
//   which all other CPUs stand still for this one. Everything else that the events tell is an
//   instant.
// - An arrow for each NMI that a CPU sent: from where it was sent to where the receiver took it, or
//   to the latch that it found full. An NMI that was never taken has no arrow, nor has one that a
//   device sent.
// - Categories are the names of Linux's KVM tracepoints where one fits: kvm_exit, kvm_nested_vmexit
//   (also, for exits from L2), kvm_entry, kvm_nested_vmenter, kvm_nested_vmexit_inject (exits that
//   L1 is given), kvm_nested_vmenter_failed, kvm_apic_ipi, kvm_apic_accept_irq; and kvm_inj_nmi, in
//   the manner of kvm_inj_virq.
//
// What is exact: L1, L2 and L0, to the event. The quiesce, from when L0 knows that all others have
// acknowledged until L0 has given its lock back. The NMI context, from the NMI until
// - the NMI was found to be the guest's, which is the last thing that the handler does, or
// - this CPU added itself to quiesce_resumed, the last shared access of
//   QuiesceProtocol::StandStill. This needs that cell under its own name (SharedCell::name()) in
//   cell_names. Without it, and for a protocol that stands still in another way, the slice reaches
//   to the CPU's next NMI in L0 or its next VM entry, and is too long.
// What is open when the trace ends is closed one step after the last.
#ifndef NVMX_BACKENDS_SIM_REPLAY_PERFETTO_H_
#define NVMX_BACKENDS_SIM_REPLAY_PERFETTO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/sim/machine/trace.h"

namespace nvmx::sim {

// The text of the trace; the same for the same arguments. The title becomes the name of the
// process. `cell_names` are by cell number; a name that is missing, or that several cells have, is
// told apart by the number. The events are those of a Machine with `cpus` CPUs, from its first step
// on: steps count from 1, and every CPU begins in L1.
std::string ChromeTrace(const std::string& title, const std::vector<std::string>& cell_names,
                        uint32_t cpus, const std::vector<TraceEvent>& events);

// Writes it to a file, wholly or not at all: on failure a file that was at `path` is as before, and
// the status names the path and the system's reason. Uses path + ".tmp" meanwhile.
absl::Status WriteChromeTrace(const std::string& path, const std::string& title,
                              const std::vector<std::string>& cell_names, uint32_t cpus,
                              const std::vector<TraceEvent>& events);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_REPLAY_PERFETTO_H_
