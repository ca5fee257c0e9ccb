// SPDX-License-Identifier: Apache-2.0
#include "lhv/binary_program.h"

#include "lhv/layout.h"
#include "lhv/operation_check.h"

namespace nvmx::lhv {
namespace {

class NullVisitor final : public BinaryProgramVisitor {
 public:
  void OnCpu(uint32_t, uint32_t, size_t, size_t, size_t) override {}
  void OnOperation(uint32_t, const Operation&) override {}
  void OnMemory(uint64_t, std::span<const std::byte>) override {}
};

// Takes numbers off the front of the bytes. After the end everything is 0, and truncated() says so.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t Take(size_t width) {
    const std::span<const std::byte> taken = TakeBytes(width);
    uint64_t value = 0;
    for (size_t i = taken.size(); i > 0; --i) {
      value = value << 8 | std::to_integer<uint64_t>(taken[i - 1]);
    }
    return value;
  }

  std::span<const std::byte> TakeBytes(size_t count) {
    if (count > bytes_.size()) {
      truncated_ = true;
      bytes_ = {};
      return {};
    }
    const std::span<const std::byte> taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  bool truncated() const { return truncated_; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
  bool truncated_ = false;
};

class ProgramReader {
 public:
  ProgramReader(std::span<const std::byte> bytes, BinaryProgramVisitor& visitor)
      : reader_(bytes), visitor_(visitor) {}

  BinaryProgramError Read() {
    for (const char letter : kBinaryMagic) {
      const uint64_t found = reader_.Take(1);
      if (reader_.truncated()) return BinaryProgramError::kTruncated;
      if (found != static_cast<uint8_t>(letter)) return BinaryProgramError::kNoMagic;
    }
    const uint64_t version = reader_.Take(1);
    cpu_count_ = static_cast<uint32_t>(reader_.Take(1));
    if (reader_.truncated()) return BinaryProgramError::kTruncated;
    if (version != kBinaryVersion && version != kBinaryVersionOf32Bits) {
      return BinaryProgramError::kUnknownVersion;
    }
    for (uint32_t cpu = 0; cpu < cpu_count_; ++cpu) {
      const BinaryProgramError error = ReadCpu(cpu);
      if (error != BinaryProgramError::kNone) return error;
    }
    return reader_.empty() ? BinaryProgramError::kNone : BinaryProgramError::kTrailingBytes;
  }

 private:
  static constexpr size_t kCountBytes = 2;

  BinaryProgramError ReadCpu(uint32_t cpu) {
    const size_t l1 = reader_.Take(kCountBytes);
    const size_t run_begin = reader_.Take(kCountBytes);
    const size_t l2 = reader_.Take(kCountBytes);
    const size_t runs = reader_.Take(kCountBytes);
    if (reader_.truncated()) return BinaryProgramError::kTruncated;
    // The address after the last operation is one of code too.
    if (l1 >= kMaxOperations || l2 >= kMaxOperations || run_begin > l1) {
      return BinaryProgramError::kBadCounts;
    }
    visitor_.OnCpu(cpu, cpu_count_, l1, run_begin, l2);
    for (size_t i = 0; i < l1 + l2; ++i) {
      const BinaryProgramError error = ReadOperation(i < l1 ? 1 : 2);
      if (error != BinaryProgramError::kNone) return error;
    }
    uint64_t free_from = 0;
    for (size_t i = 0; i < runs; ++i) {
      const BinaryProgramError error = ReadRun(free_from);
      if (error != BinaryProgramError::kNone) return error;
    }
    return BinaryProgramError::kNone;
  }

  BinaryProgramError ReadOperation(uint32_t level) {
    const uint64_t kind = reader_.Take(1);
    const uint64_t parts = reader_.Take(1);
    Operation operation{.kind = static_cast<OperationKind>(kind),
                        .flags = static_cast<uint16_t>(parts & kBinaryFlags)};
    if ((parts & kBinaryHasSelector) != 0) {
      operation.selector = static_cast<uint32_t>(reader_.Take(sizeof(operation.selector)));
    }
    if ((parts & kBinaryHasValue) != 0) operation.value = reader_.Take(sizeof(operation.value));
    if ((parts & kBinaryHasExtra) != 0) operation.extra = reader_.Take(sizeof(operation.extra));
    if ((parts & kBinaryHasOperand) != 0) {
      operation.operand = reader_.Take(sizeof(operation.operand));
    }
    if (reader_.truncated()) return BinaryProgramError::kTruncated;
    if (!IsValidOperation(operation, level, cpu_count_)) return BinaryProgramError::kBadOperation;
    visitor_.OnOperation(level, operation);
    return BinaryProgramError::kNone;
  }

  BinaryProgramError ReadRun(uint64_t& free_from) {
    const uint64_t offset = reader_.Take(sizeof(uint32_t));
    const uint64_t length = reader_.Take(sizeof(uint32_t));
    if (reader_.truncated()) return BinaryProgramError::kTruncated;
    if (offset < free_from || offset > kBlocksEnd || length > kBlocksEnd - offset) {
      return BinaryProgramError::kBadRun;
    }
    const std::span<const std::byte> bytes = reader_.TakeBytes(length);
    if (reader_.truncated()) return BinaryProgramError::kTruncated;
    visitor_.OnMemory(offset, bytes);
    free_from = offset + length;
    return BinaryProgramError::kNone;
  }

  ByteReader reader_;
  BinaryProgramVisitor& visitor_;
  uint32_t cpu_count_ = 0;
};

}  // namespace

const char* Name(BinaryProgramError error) {
  switch (error) {
    case BinaryProgramError::kNone:
      return "a program";
    case BinaryProgramError::kTruncated:
      return "the bytes end before the program does";
    case BinaryProgramError::kNoMagic:
      return "this does not begin as a program does";
    case BinaryProgramError::kUnknownVersion:
      return "an unknown version of the format";
    case BinaryProgramError::kBadOperation:
      return "an operation that no program can have";
    case BinaryProgramError::kBadCounts:
      return "more operations than a program can have";
    case BinaryProgramError::kBadRun:
      return "memory out of order, or where no memory block can be";
    case BinaryProgramError::kTrailingBytes:
      return "bytes after the end of the program";
  }
  return "an unknown error";
}

BinaryProgramError ReadBinaryProgram(std::span<const std::byte> bytes,
                                     BinaryProgramVisitor& visitor) {
  return ProgramReader(bytes, visitor).Read();
}

BinaryProgramError CheckBinaryProgram(std::span<const std::byte> bytes) {
  NullVisitor visitor;
  return ReadBinaryProgram(bytes, visitor);
}

L1Mode L1ModeOf(std::span<const std::byte> bytes) {
  const auto version = std::to_integer<uint8_t>(bytes[sizeof kBinaryMagic]);
  return version == kBinaryVersionOf32Bits ? L1Mode::k32Bit : L1Mode::k64Bit;
}

}  // namespace nvmx::lhv
