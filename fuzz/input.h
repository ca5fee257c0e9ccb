// SPDX-License-Identifier: Apache-2.0
//
// What the bytes of a fuzz input mean: the one place that says so, for the fuzz targets and for
// tools that show, shrink and replay inputs. Knows no libFuzzer.
//
// An input of most targets is a guest program in the form of lhv/binary_program.h, in which what
// all programs of the target begin with is left out:
//
//   kBehindEntry   one CPU. Its setup is left out (no operation of the input is setup): VMXON, the
//                  VMCS of lhv::BaselineVmcs(), and a first VM entry, after which L2 exits with
//                  VMCALL. The input is what L1 does then, and what L2 does behind that VMCALL. A
//                  VM entry is by VMRESUME.
//   kBehindEptEntry  the same with EPT behind the VM entry: the tables of EptTables map what L2
//                  has to itself, and VMCS12 names them.
//   kBehindSetup   as kBehindEntry without the VM entry: the VMCS is clear.
//   kWholeProgram  any number of CPUs up to kMostCpus, nothing left out. L1 of the others is in
//                  64-bit mode; of these it can be outside IA-32e mode.
//
// The write of HOST_RIP before each VM entry of L1 is left out too. Memory begins at
// kFirstInputMemory, and lies over what the setup has.
//
// An input of kSchedule picks a scenario and makes choices (schedule_input.h). One of kText is a
// file: a guest program in its text form, or, if it begins with "NVGP", in its binary form.
#ifndef NVMX_FUZZ_INPUT_H_
#define NVMX_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lhv/assembled.h"
#include "lhv/layout.h"

namespace nvmx::fuzz {

enum class InputForm : uint8_t {
  kBehindEntry,
  kBehindEptEntry,
  kBehindSetup,
  kWholeProgram,
  kSchedule,
  kText
};

struct TargetInformation {
  const char* name;
  const char* property;  // what must hold for every input, for a person
  InputForm form;
  size_t max_bytes;  // longer inputs say nothing new
  // Of targets with guest programs: more operations of L1 or of L2 make an input an error. Mutators
  // leave no more VM entries, and no more operations of L2 and of L1 than the last numbers: inputs
  // would only be slow.
  size_t most_operations = 0;
  size_t most_entries = 0;
  size_t most_l2_operations = 0;
  size_t most_l1_operations = 0;
};

std::span<const TargetInformation> AllTargets();
// nullptr if there is none of that name.
const TargetInformation* FindTarget(std::string_view name);

inline constexpr size_t kMostCpus = 2;
// The first offset in a CPU's window that memory of an input behind a setup may have.
inline constexpr uint64_t kFirstInputMemory = 0x1'2000;

// The EPT tables of kBehindEptEntry, as offsets in the window: the first GByte in pages of 2
// MBytes, but for those around the window, which are pages of 4 KBytes.
struct EptTables {
  static constexpr uint64_t kPml4 = 0x1'4000, kPdpt = 0x1'5000, kPd = 0x1'6000, kPt = 0x1'7000;
};

// Whether something is left out of the inputs of the form.
bool HasSetup(InputForm form);
// What a program of the form begins with; it has one CPU. Not of kSchedule and kText.
const lhv::GuestProgram& SetupOf(InputForm form);

// Reads inputs again and again, with as little work as possible.
class InputReader {
 public:
  // For inputs of the target, or of the form whatever their length.
  explicit InputReader(const TargetInformation& target)
      : form_(target.form), most_operations_(target.most_operations) {}
  explicit InputReader(InputForm form) : form_(form) {}
  // What of the input's own is in the bytes: the operations and the memory that SetupOf() does not
  // have. Valid until the next call. Nullptr if the bytes are no input; error() says why then.
  const lhv::GuestProgram* Read(std::span<const std::byte> bytes);
  const char* error() const { return error_; }

 private:
  class Visitor;

  const InputForm form_;
  const size_t most_operations_ = lhv::kMaxOperations;
  lhv::GuestProgram program_;
  // What `program_` was read from; empty if it is of no use. A fuzzer changes what it has just run.
  std::vector<std::byte> read_;
  const char* error_ = "";
};

// The bytes of an input whose own part is this. Memory blocks do not overlap.
std::vector<std::byte> EncodeInput(const lhv::GuestProgram& own);

// Appends `own`, an operation list of L1, to what is there, with the write of HOST_RIP that each VM
// entry needs.
void AppendL1(std::span<const lhv::Operation> own, std::vector<lhv::Operation>& l1);

// The whole guest program of an input, as nvmx runs, prints and compares it.
lhv::GuestProgram WholeProgram(InputForm form, const lhv::GuestProgram& own);
// The same from bytes. InvalidArgument if they are no input of the form, or if the form is
// kSchedule; text is assembled for as many CPUs as it names.
absl::StatusOr<lhv::GuestProgram> DecodeProgramInput(InputForm form,
                                                     std::span<const std::byte> bytes);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_INPUT_H_
