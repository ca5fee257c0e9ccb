// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_OBSERVATION_H_
#define NVMX_LHV_OBSERVATION_H_

#include <cstdint>
#include <type_traits>

namespace nvmx::lhv {

enum class ObservationKind : uint32_t {
  kMsrValue,       // RDMSR; selector: MSR index, value: what it gave
  kFieldValue,     // VMREAD; selector: field encoding, value: what it gave
  kVmcsPointer,    // VMPTRST; selector: where it was stored, value: the pointer
  kMemoryValue,    // selector: address, value: what was read, extra: width in bytes
  kCpuidValue,     // selector: leaf, value: EAX in bits 31:0 and EBX in 63:32, extra: subleaf
  kVmfailInvalid,  // selector: InstructionKind, extra: its first operand
  kVmfailValid,    // selector: InstructionKind, value: VM-instruction error or 0 if it could not
                   // be read, extra: its first operand
  kFault,          // selector: vector, value: error code, extra: 1 if there is an error code;
                   // of a debug exception the operation is the one that was next
  kNmi,            // selector: vector 2, value: which instruction of the operation was next; if a
                   // handler was interrupted: kInHandler plus its vector
  kInterrupt,      // selector: vector, value: as for kNmi
  kVmExit,         // one field about a VM exit that L1 sees; selector: encoding, value: content
  kDone,           // the level has no more operations
  kReadValue,      // what any other instruction read; selector: InstructionKind, value, extra: its
                   // first operand, or the number of the control or debug register
};

// The operation of an event that interrupted no operation but another handler.
inline constexpr uint64_t kNoOperation = ~uint64_t{0};
inline constexpr uint64_t kInHandler = 0x100;

// Something that a program can tell apart from inside. Two machines are indistinguishable to it if
// they give the same list of these.
struct Observation {
  ObservationKind kind = ObservationKind::kDone;
  uint32_t level = 1;      // 1: L1, 2: L2
  uint64_t operation = 0;  // index in that level's list; of an event: the one that was next
  uint64_t selector = 0;
  uint64_t value = 0;
  uint64_t extra = 0;

  friend constexpr bool operator==(const Observation&, const Observation&) = default;
};

// No padding: logs can be compared and hashed as bytes.
static_assert(std::has_unique_object_representations_v<Observation>);

// Takes what one CPU's program observes, in program order.
class ObservationLog {
 public:
  virtual void Append(const Observation& observation) = 0;

 protected:
  ~ObservationLog() = default;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OBSERVATION_H_
