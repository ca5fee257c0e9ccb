// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_SMP_QUIESCE_H_
#define NVMX_CORE_SMP_QUIESCE_H_

#include "core/smp/system.h"

namespace nvmx {

// Proof that every other CPU stands still in NMI context. Only QuiesceProtocol makes one.
class StoppedWorld {
 public:
  static constexpr bool kAllOthersStopped = true;
  StoppedWorld(StoppedWorld&&) = default;

 private:
  friend class QuiesceProtocol;
  explicit StoppedWorld(uint64_t stopped) : stopped_(stopped) {}
  uint64_t stopped_;  // how many CPUs stand still
};

// Stops all CPUs by NMI, so that one of them can change what all of them see.
//
//   initiator                                  responder, in NMI context
//   take quiesce_lock, print_lock
//   acknowledged = 0; initiator = me
//   NMI to all others                    -->   initiator is somebody else: acknowledged += 1
//   wait until all have acknowledged     <--
//   give print_lock back
//     ... all others stand still ...           wait for resume_signal
//   initiator = nobody
//   resumed = 0; resume_signal = 1       -->   resumed += 1, return from the NMI
//   wait until all have resumed          <--
//   resume_signal = 0, give quiesce_lock back
//
// Three rules keep it from deadlocking, and each has been broken somewhere:
// - Whoever starts a quiesce first holds every lock that a stopped CPU could hold, or it will wait
//   in its critical section for a CPU that waits for it; and keeps them until all have
//   acknowledged.
// - The request is withdrawn before the resume signal is raised. Otherwise a resumed CPU that takes
//   another NMI acknowledges a request that is over, and waits for a signal that nobody will raise.
// - Nothing in NMI context takes a lock, and nothing between taking an NMI as a VM exit and
//   acknowledging it does.
// The order of locks is quiesce_lock, then print_lock.
//
// A CPU whose guest waits for a SIPI takes no NMI, so nobody may wait for it: it leaves itself out
// before it enters that guest, and takes part again after the exit, before it does anything else.
// Both happen under the quiesce lock, that is between two quiesces. So each quiesce knows whom it
// sends an NMI and waits for; and a CPU whose SIPI comes in the middle of one waits for its end,
// and drops from its caches what may have been changed meanwhile. An NMI that it takes before is
// not a quiesce's, and acknowledges none.
//
// The virtual functions are the seam at which the simulator puts historical orders; the core has
// only this one.
class QuiesceProtocol {
 public:
  // Returns when all other CPUs have stopped. Not in NMI context; the caller holds no lock.
  StoppedWorld Stop(SmpContext& context) const;
  // Lets all other CPUs run again, and returns when they do.
  void Resume(SmpContext& context, StoppedWorld world) const;
  // In NMI context: if another CPU's request is open, acknowledges it, stands still until it is
  // over, and returns true. False if the NMI was not sent for a quiesce, or came later than the
  // request that it was sent for.
  virtual bool AcknowledgeIfRequested(SmpContext& context) const;
  // Leaves this CPU out of the quiesces to come, and lets it take part again. `left_out` is what
  // SmpContext::left_out tells from then on. Nothing happens if it is so already. Not in NMI
  // context, not before an NMI exit is settled; the caller holds no lock.
  static void LeaveOut(SmpContext& context, uint64_t& left_out);
  static void TakePart(SmpContext& context, uint64_t& left_out);

 protected:
  ~QuiesceProtocol() = default;
  // Returns how many CPUs have stopped.
  virtual uint64_t Begin(SmpContext& context) const;
  virtual void End(SmpContext& context, uint64_t stopped) const;
  // For a protocol that is another one and something more.
  static uint64_t BeginAs(const QuiesceProtocol& order, SmpContext& context) {
    return order.Begin(context);
  }
  static void EndAs(const QuiesceProtocol& order, SmpContext& context, uint64_t stopped) {
    order.End(context, stopped);
  }
  // What the responder does between its acknowledgement and its return.
  static void StandStill(SmpContext& context);

  // The parts that every order of Begin and End has. The first returns how many CPUs are to stop.
  static uint64_t OpenRequest(SmpContext& context);
  static void AwaitAcknowledgements(SmpContext& context, uint64_t to_stop);
  static void RaiseResumeSignal(SmpContext& context);
  static void AwaitResumption(SmpContext& context, uint64_t stopped);
};

// The protocol as described above.
class OrderedQuiesce final : public QuiesceProtocol {};

}  // namespace nvmx

#endif  // NVMX_CORE_SMP_QUIESCE_H_
