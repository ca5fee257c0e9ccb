// SPDX-License-Identifier: Apache-2.0
#include "lhv/program_codec.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lhv/binary_program.h"

namespace nvmx::lhv {
namespace {

// Fewer zero bytes than this between two others are cheaper to keep than to leave out.
constexpr size_t kGap = 8;

struct Run {
  uint64_t offset = 0;
  std::span<const std::byte> bytes;
};

size_t ZerosAt(std::span<const std::byte> bytes, size_t begin) {
  size_t end = begin;
  while (end < bytes.size() && bytes[end] == std::byte{0}) ++end;
  return end - begin;
}

void AppendRuns(const MemoryBlock& block, std::vector<Run>& runs) {
  const std::span<const std::byte> bytes = block.bytes;
  size_t begin = ZerosAt(bytes, 0);
  while (begin < bytes.size()) {
    size_t end = begin;
    size_t zeros = 0;
    do {
      end += zeros;
      while (end < bytes.size() && bytes[end] != std::byte{0}) ++end;
      zeros = ZerosAt(bytes, end);
    } while (end + zeros < bytes.size() && zeros < kGap);
    runs.push_back({block.offset + begin, bytes.subspan(begin, end - begin)});
    begin = end + zeros;
  }
}

class Encoder {
 public:
  std::vector<std::byte> Encode(const GuestProgram& program) {
    for (const char letter : kBinaryMagic) Put(static_cast<uint8_t>(letter), 1);
    Put(program.l1_mode == L1Mode::k64Bit ? kBinaryVersion : kBinaryVersionOf32Bits, 1);
    Put(program.cpus.size(), 1);
    for (const CpuProgram& cpu : program.cpus) PutCpu(cpu);
    return std::move(bytes_);
  }

 private:
  void PutCpu(const CpuProgram& cpu) {
    std::vector<Run> runs;
    for (const MemoryBlock& block : cpu.memory) AppendRuns(block, runs);
    std::sort(runs.begin(), runs.end(),
              [](const Run& a, const Run& b) { return a.offset < b.offset; });
    Put(cpu.l1.size(), 2);
    Put(cpu.run_begin, 2);
    Put(cpu.l2.size(), 2);
    Put(runs.size(), 2);
    for (const Operation& operation : cpu.l1) PutOperation(operation);
    for (const Operation& operation : cpu.l2) PutOperation(operation);
    for (const Run& run : runs) {
      Put(run.offset, 4);
      Put(run.bytes.size(), 4);
      bytes_.insert(bytes_.end(), run.bytes.begin(), run.bytes.end());
    }
  }

  void PutOperation(const Operation& operation) {
    Put(static_cast<uint64_t>(operation.kind), 1);
    Put((operation.flags & kBinaryFlags) | (operation.selector != 0 ? kBinaryHasSelector : 0) |
            (operation.value != 0 ? kBinaryHasValue : 0) |
            (operation.extra != 0 ? kBinaryHasExtra : 0) |
            (operation.operand != 0 ? kBinaryHasOperand : 0),
        1);
    if (operation.selector != 0) Put(operation.selector, sizeof(operation.selector));
    for (const uint64_t part : {operation.value, operation.extra, operation.operand}) {
      if (part != 0) Put(part, sizeof(part));
    }
  }

  void Put(uint64_t value, size_t width) {
    for (size_t i = 0; i < width; ++i) {
      bytes_.push_back(static_cast<std::byte>(value));
      value >>= 8;
    }
  }

  std::vector<std::byte> bytes_;
};

class Decoder final : public BinaryProgramVisitor {
 public:
  void OnCpu(uint32_t, uint32_t, size_t, size_t run_begin, size_t) override {
    program_.cpus.emplace_back().run_begin = run_begin;
  }
  void OnOperation(uint32_t level, const Operation& operation) override {
    CpuProgram& cpu = program_.cpus.back();
    (level == 1 ? cpu.l1 : cpu.l2).push_back(operation);
    (level == 1 ? cpu.l1_lines : cpu.l2_lines).push_back(0);
  }
  void OnMemory(uint64_t offset, std::span<const std::byte> bytes) override {
    program_.cpus.back().memory.push_back(
        {absl::StrCat("at_0x", absl::Hex(offset)), offset, {bytes.begin(), bytes.end()}});
  }

  GuestProgram Take() { return std::move(program_); }

 private:
  GuestProgram program_;
};

}  // namespace

std::vector<std::byte> EncodeProgram(const GuestProgram& program) {
  return Encoder().Encode(program);
}

absl::StatusOr<GuestProgram> DecodeProgram(std::span<const std::byte> bytes) {
  Decoder decoder;
  const BinaryProgramError error = ReadBinaryProgram(bytes, decoder);
  if (error != BinaryProgramError::kNone) return absl::InvalidArgumentError(Name(error));
  GuestProgram program = decoder.Take();
  program.l1_mode = L1ModeOf(bytes);
  return program;
}

}  // namespace nvmx::lhv
