// SPDX-License-Identifier: Apache-2.0
#include "fuzz/assembler_target.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "fuzz/mutator.h"
#include "lhv/assembler.h"
#include "lhv/binary_program.h"
#include "lhv/program_codec.h"
#include "xxhash.h"

namespace nvmx::fuzz {
namespace {

constexpr char kFile[] = "input";
constexpr uint32_t kCpus = 2;
constexpr size_t kMostBytes = 4096;
// A text costs ten times what a binary form does, nearly all of it in the YAML library: of so many
// inputs that the mutator makes one is a text, and no longer than this. Longer ones are rows of the
// same things.
constexpr uint64_t kTextOneIn = 8;
constexpr size_t kMostTextBytes = 1024;

// What kind of error it is: the message without what it quotes and counts.
std::string KindOf(std::string_view message) {
  std::string kind;
  bool quoted = false;
  for (const char letter : message) {
    if (letter == '"') quoted = !quoted;
    if (!quoted && !std::isdigit(static_cast<unsigned char>(letter))) kind.push_back(letter);
  }
  return kind;
}

// "input:LINE:COLUMN: ...".
bool NamesPlace(std::string_view message) {
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(message), absl::MaxSplits(':', 3));
  const auto is_number = [](const std::string& text) {
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  constexpr size_t kParts = 4;
  return parts.size() == kParts && parts[0] == kFile && is_number(parts[1]) &&
         is_number(parts[2]) && parts[3].size() > 1;
}

bool SameCode(const lhv::GuestProgram& a, const lhv::GuestProgram& b) {
  return std::equal(a.cpus.begin(), a.cpus.end(), b.cpus.begin(), b.cpus.end(),
                    [](const lhv::CpuProgram& x, const lhv::CpuProgram& y) {
                      return x.l1 == y.l1 && x.l2 == y.l2 && x.run_begin == y.run_begin;
                    });
}

std::vector<std::byte> Bytes(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

bool IsBinary(std::span<const std::byte> bytes) {
  constexpr size_t kMagic = sizeof lhv::kBinaryMagic;
  return bytes.size() >= kMagic && std::memcmp(bytes.data(), lhv::kBinaryMagic, kMagic) == 0;
}

class AssemblerTarget final : public Target {
 public:
  AssemblerTarget() : reader_(InputForm::kWholeProgram), mutator_(*FindTarget("program")) {}

  uint64_t Digest() const override { return digest_; }

  std::vector<std::byte> Mutate(std::span<const std::byte> bytes, Random& random,
                                const ByteMutator& mutate_bytes) override;
  std::vector<std::byte> CrossOver(std::span<const std::byte> a, std::span<const std::byte> b,
                                   Random& random) override;

 private:
  std::optional<Find> RunInput(std::span<const std::byte> bytes) override;
  std::optional<Find> RunBinary(std::span<const std::byte> bytes);
  std::optional<Find> RunText(const std::string& text);
  std::optional<Find> CheckCodec(const lhv::GuestProgram& program, const std::string& shown);
  void NoteProgram(const lhv::GuestProgram& program);
  static std::vector<std::byte> MutateText(std::string text, Random& random,
                                           const ByteMutator& mutate_bytes);
  // The program that the bytes are in binary form, or else one of the generator's.
  lhv::GuestProgram ProgramOrSome(std::span<const std::byte> bytes, Random& random);

  InputReader reader_;
  const ProgramMutator mutator_;
  uint64_t digest_ = 0;
};

std::optional<Find> AssemblerTarget::RunInput(std::span<const std::byte> bytes) {
  if (IsBinary(bytes)) return RunBinary(bytes);
  return RunText(Text(bytes));
}

std::optional<Find> AssemblerTarget::RunBinary(std::span<const std::byte> bytes) {
  const absl::StatusOr<lhv::GuestProgram> program = lhv::DecodeProgram(bytes);
  if (!program.ok()) {
    digest_ = XXH3_64bits(program.status().message().data(), program.status().message().size());
    AddFeature(1, digest_);
    return std::nullopt;
  }
  NoteProgram(*program);
  return CheckCodec(*program, "");
}

std::optional<Find> AssemblerTarget::RunText(const std::string& text) {
  const absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble(kFile, text, kCpus);
  if (program.ok()) {
    NoteProgram(*program);
    return CheckCodec(*program, text);
  }
  const std::string message(program.status().message());
  const std::string kind = KindOf(message);
  digest_ = XXH3_64bits(message.data(), message.size());
  AddFeature(2, XXH3_64bits(kind.data(), kind.size()));
  if (program.status().code() != absl::StatusCode::kInvalidArgument || !NamesPlace(message)) {
    return Find{absl::StrCat("an error without a place: ", kind), absl::StrCat(message, "\n"),
                text};
  }
  return std::nullopt;
}

// What was accepted survives the binary form, and comes back from it.
std::optional<Find> AssemblerTarget::CheckCodec(const lhv::GuestProgram& program,
                                                const std::string& shown) {
  const absl::StatusOr<lhv::GuestProgram> again = lhv::DecodeProgram(lhv::EncodeProgram(program));
  if (!again.ok()) {
    return Find{absl::StrCat("accepted, but its binary form is not: ", again.status().message()),
                "", shown};
  }
  if (!SameCode(program, *again)) return Find{"the binary form is another program", "", shown};
  return std::nullopt;
}

void AssemblerTarget::NoteProgram(const lhv::GuestProgram& program) {
  digest_ = 0;
  for (const lhv::CpuProgram& cpu : program.cpus) {
    for (const std::vector<lhv::Operation>* code : {&cpu.l1, &cpu.l2}) {
      for (const lhv::Operation& operation : *code) {
        AddFeature(3, static_cast<uint64_t>(operation.kind) << 8 | operation.flags);
        digest_ = XXH3_64bits_withSeed(&operation, sizeof operation, digest_);
      }
    }
    for (const lhv::MemoryBlock& block : cpu.memory) {
      digest_ = XXH3_64bits_withSeed(block.bytes.data(), block.bytes.size(), digest_);
    }
  }
}

// Without some of its lines, if it is too long.
std::string Shortened(const std::string& text, Random& random) {
  if (text.size() <= kMostTextBytes) return text;
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  size_t size = text.size();
  while (size > kMostTextBytes && lines.size() > 1) {
    const auto line = lines.begin() + static_cast<ptrdiff_t>(random.Below(lines.size()));
    size -= line->size() + 1;
    lines.erase(line);
  }
  return absl::StrJoin(lines, "\n").substr(0, kMostTextBytes);
}

std::vector<std::byte> MutateSomeBytes(std::string text, size_t most,
                                       const ByteMutator& mutate_bytes) {
  const size_t size = text.size();
  text.resize(std::min(most, size + 64));
  if (size > text.size()) return Bytes(text);
  text.resize(mutate_bytes(reinterpret_cast<std::byte*>(text.data()), size, text.size()));
  return Bytes(text);
}

lhv::GuestProgram AssemblerTarget::ProgramOrSome(std::span<const std::byte> bytes, Random& random) {
  const lhv::GuestProgram* read = reader_.Read(bytes);
  return read != nullptr ? *read : mutator_.Some(random);
}

std::vector<std::byte> AssemblerTarget::Mutate(std::span<const std::byte> bytes, Random& random,
                                               const ByteMutator& mutate_bytes) {
  if (!IsBinary(bytes) && random.OneIn(kTextOneIn)) {
    return MutateText(Shortened(Text(bytes), random), random, mutate_bytes);
  }
  if (IsBinary(bytes) && random.OneIn(3)) {
    return MutateSomeBytes(Text(bytes), kMostBytes, mutate_bytes);
  }
  lhv::GuestProgram program = ProgramOrSome(bytes, random);
  mutator_.Mutate(program, random, mutate_bytes);
  std::vector<std::byte> encoded = EncodeInput(program);
  encoded.resize(std::min(encoded.size(), kMostBytes));
  return encoded;
}

std::vector<std::byte> AssemblerTarget::MutateText(std::string text, Random& random,
                                                   const ByteMutator& mutate_bytes) {
  if (random.OneIn(2) || text.empty()) {
    return MutateSomeBytes(std::move(text), kMostTextBytes, mutate_bytes);
  }
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  std::string& line = lines[random.Below(lines.size())];
  switch (random.Below(7)) {
    case 0:
      lines.erase(lines.begin() + (&line - lines.data()));
      break;
    case 1: {
      const std::string copy = line;
      lines.insert(lines.begin() + static_cast<ptrdiff_t>(random.Below(lines.size() + 1)), copy);
      break;
    }
    case 2:
      std::swap(line, lines[random.Below(lines.size())]);
      break;
    case 3:
      line.insert(0, random.OneIn(2) ? "  " : " ");
      break;
    case 4:
      if (line.size() > 2) line.erase(0, 2);
      break;
    default: {
      // A number of the line.
      const size_t digit = line.find_first_of("0123456789");
      if (digit == std::string::npos) break;
      size_t end = digit;
      while (end < line.size() && std::isxdigit(static_cast<unsigned char>(line[end])) != 0) ++end;
      line.replace(digit, end - digit, absl::StrCat(random.Awkward(64)));
      break;
    }
  }
  return Bytes(absl::StrJoin(lines, "\n"));
}

std::vector<std::byte> AssemblerTarget::CrossOver(std::span<const std::byte> a,
                                                  std::span<const std::byte> b, Random& random) {
  if (IsBinary(a) || IsBinary(b) || !random.OneIn(kTextOneIn)) {
    lhv::GuestProgram program = ProgramOrSome(a, random);
    const lhv::GuestProgram other = ProgramOrSome(b, random);
    mutator_.CrossOver(program, other, random);
    std::vector<std::byte> encoded = EncodeInput(program);
    encoded.resize(std::min(encoded.size(), kMostBytes));
    return encoded;
  }
  const auto lines_of = [](std::span<const std::byte> bytes) {
    return std::vector<std::string>(absl::StrSplit(Text(bytes), '\n'));
  };
  std::vector<std::string> lines = lines_of(a);
  const std::vector<std::string> other = lines_of(b);
  const size_t begin = random.Below(other.size());
  const size_t end = std::min(other.size(), begin + random.Between(1, 8));
  lines.insert(lines.begin() + static_cast<ptrdiff_t>(random.Below(lines.size() + 1)),
               other.begin() + static_cast<ptrdiff_t>(begin),
               other.begin() + static_cast<ptrdiff_t>(end));
  return Bytes(Shortened(absl::StrJoin(lines, "\n"), random));
}

}  // namespace

std::unique_ptr<Target> MakeAssemblerTarget() { return std::make_unique<AssemblerTarget>(); }

}  // namespace nvmx::fuzz
