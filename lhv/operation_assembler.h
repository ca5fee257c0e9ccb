// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_OPERATION_ASSEMBLER_H_
#define NVMX_LHV_OPERATION_ASSEMBLER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/vmx/vmcs_field.h"
#include "lhv/baseline.h"
#include "lhv/l1_mode.h"
#include "lhv/labels.h"
#include "lhv/memory_blocks.h"
#include "lhv/program.h"
#include "lhv/source_reader.h"

namespace nvmx::lhv {

struct OperationSyntax;

// Turns the lists of one level of one CPU (setup and run, or l2) into operations.
class OperationAssembler {
 public:
  struct Target {
    uint32_t level;  // 1 or 2
    uint32_t cpu_count;
    L1Mode mode;
  };
  // The reader, which takes the errors, the blocks and the labels, which take those of this level,
  // must outlive this object.
  OperationAssembler(SourceReader& reader, MemoryBlocks& blocks, Labels& labels,
                     const Target& target);

  // Appends what the list stands for; an undefined or null node stands for nothing. `what` names
  // the list in errors.
  void AppendList(const YAML::Node& list, const std::string& what);

  // What has been appended, and the line of the source of each operation.
  const std::vector<Operation>& operations() const { return operations_; }
  const std::vector<int>& lines() const { return lines_; }

 private:
  friend struct OperationSyntax;

  // One element of a list.
  struct Item {
    const OperationSyntax& syntax;
    YAML::Node at;        // the element itself
    YAML::Node argument;  // null if it has none
    std::string name() const;
  };

  void AppendItem(const YAML::Node& element);
  // In the form of the target's mode.
  void Append(const Item& item, const Operation& operation);
  void AppendAll(const Item& item, const std::vector<Operation>& operations);
  bool CheckNoArgument(const Item& item);

  // One function per form of argument; each appends the operations of the item.
  void AppendPlain(const Item& item);
  void AppendWithAddress(const Item& item);
  void AppendWithValue(const Item& item);
  void AppendLabel(const Item& item);
  void AppendVmread(const Item& item);
  void AppendVmwrite(const Item& item);
  void AppendVmwriteControl(const Item& item);
  void AppendVmEntry(const Item& item);
  void AppendObserveExit(const Item& item);
  void AppendVmcall(const Item& item);
  void AppendCpuid(const Item& item);
  void AppendRdmsr(const Item& item);
  void AppendWrmsr(const Item& item);
  void AppendMemoryAccess(const Item& item);
  void AppendSend(const Item& item);
  void AppendSendWithVector(const Item& item);
  void AppendSelector(const Item& item);
  void AppendInvalidation(const Item& item);
  void AppendVmfunc(const Item& item);
  void AppendMoveToRegister(const Item& item);
  void AppendPortAccess(const Item& item);
  void AppendXsetbv(const Item& item);
  void AppendSetHandler(const Item& item);
  void AppendRepeat(const Item& item);
  void AppendRepeatLast(const Item& item);
  void AppendEnterVmx(const Item& item);
  void AppendBaselineVmcs(const Item& item);
  void AppendUseMsrList(const Item& item);
  void AppendChangeControls(const Item& item);
  void AppendUseField(const Item& item);
  void AppendUseEpt(const Item& item);
  void AppendUseIoBitmaps(const Item& item);
  void AppendUseTprShadow(const Item& item);
  void AppendUsePml(const Item& item);
  void AppendUseEptpSwitching(const Item& item);
  void AppendUseVmcsShadowing(const Item& item);
  void AppendInject(const Item& item);
  void AppendGuestMode(const Item& item);

  // The address that keys address, or address_of with offset, of the argument stand for.
  std::optional<AddressOperand> MemoryAddress(const Item& item, uint64_t width);
  // The value that keys value, address_of with offset, or count_of of the argument stand for.
  std::optional<AddressOperand> Value(const Item& item, uint64_t max);
  // Sets the operand that key operand of the map describes, if there is one. False after an error.
  bool ReadOperand(const YAML::Node& map, Operation& operation);
  bool ReadMemoryOperand(const YAML::Node& node, Operation& operation);
  // The value under the key; the default if there is none.
  std::optional<uint64_t> NumberOr(const YAML::Node& map, const std::string& key,
                                   uint64_t otherwise, uint64_t max, uint64_t min = 0);
  std::optional<AddressOperand> ValueOr(const YAML::Node& map, const std::string& key,
                                        uint64_t otherwise);
  // VMWRITE of the value that the node stands for. False after an error.
  bool AppendVmwriteOf(const Item& item, VmcsField field, const YAML::Node& node);
  // Adds bits to what the program last wanted of a control field, or removes them, and turns on the
  // secondary controls if there are any.
  void ChangeControls(const Item& item, VmcsField field, uint64_t add, uint64_t remove);
  std::optional<uint64_t> ControlBits(uint32_t encoding, const YAML::Node& list);
  std::optional<uint32_t> ExitFields(const YAML::Node& list);
  std::optional<uint32_t> Times(const Item& item);
  std::optional<uint32_t> Destination(const Item& item, const YAML::Node& node);
  // The destination in the argument, a map that may have these keys.
  std::optional<uint32_t> DestinationOf(const Item& item, const std::vector<std::string>& keys);

  SourceReader& reader_;
  MemoryBlocks& blocks_;
  Labels& labels_;
  const uint32_t level_;
  const uint32_t cpu_count_;
  const L1Mode mode_;
  std::vector<Operation> operations_;
  std::vector<int> lines_;
  std::vector<std::string> own_labels_;
  size_t repetitions_ = 0;
  std::map<uint32_t, uint64_t> wanted_controls_;  // of each control field, what was written last
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OPERATION_ASSEMBLER_H_
