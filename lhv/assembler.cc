// SPDX-License-Identifier: Apache-2.0
#include "lhv/assembler.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lhv/expectation.h"
#include "lhv/labels.h"
#include "lhv/memory_blocks.h"
#include "lhv/operation_assembler.h"
#include "lhv/source_reader.h"
#include "yaml-cpp/yaml.h"

namespace nvmx::lhv {
namespace {

// An entry under `cpus`, and on how many CPUs it runs.
struct Entry {
  YAML::Node node;
  uint32_t cpus = 1;
};

// What is the same for all CPUs.
struct Common {
  uint32_t cpu_count;
  L1Mode mode;
};

void AssembleCode(SourceReader& reader, const YAML::Node& entry, MemoryBlocks& blocks,
                  Labels& labels, const Common& common, CpuProgram& program) {
  OperationAssembler l1(reader, blocks, labels, {1, common.cpu_count, common.mode});
  OperationAssembler l2(reader, blocks, labels, {2, common.cpu_count, common.mode});
  l1.AppendList(entry["setup"], "setup");
  program.run_begin = l1.operations().size();
  if (!reader.failed()) l1.AppendList(entry["run"], "run");
  if (!reader.failed()) l2.AppendList(entry["l2"], "l2");
  program.l1 = l1.operations();
  program.l1_lines = l1.lines();
  program.l2 = l2.operations();
  program.l2_lines = l2.lines();
}

CpuProgram AssembleCpu(SourceReader& reader, const YAML::Node& entry, uint32_t cpu,
                       const Common& common) {
  Labels labels;
  MemoryBlocks blocks(reader, entry["memory"], cpu, labels);
  CpuProgram program;
  if (!reader.failed()) AssembleCode(reader, entry, blocks, labels, common, program);
  labels.complete = true;
  if (!reader.failed()) AssembleCode(reader, entry, blocks, labels, common, program);
  if (!reader.failed()) program.expected = ReadExpected(reader, entry["expect"], labels);
  program.memory = blocks.Take();
  // If the run begins with a VM entry, it begins at the VM entry itself.
  if (program.run_begin < program.l1.size() &&
      program.l1[program.run_begin].kind == OperationKind::kSetHostRip) {
    ++program.run_begin;
  }
  return program;
}

// How many CPUs the entry asks for; nothing if all that the others leave.
std::optional<uint32_t> RepeatOf(SourceReader& reader, const YAML::Node& entry) {
  if (!Has(entry, "repeat")) return 1;
  const YAML::Node repeat = entry["repeat"];
  if (repeat.IsScalar() && repeat.Scalar() == "all") return std::nullopt;
  if (!SourceReader::LooksLikeNumber(repeat)) {
    reader.Fail(repeat, "repeat is not a number of CPUs", "expected all, or a number");
    return 0;
  }
  return static_cast<uint32_t>(reader.Number(repeat, "repeat", 0xFFFF, 1).value_or(0));
}

std::vector<Entry> ReadEntries(SourceReader& reader, const YAML::Node& cpus, uint32_t cpu_count) {
  std::vector<Entry> entries;
  std::optional<size_t> takes_the_rest;
  uint32_t used = 0;
  for (const YAML::Node& node : cpus) {
    if (!reader.CheckMap(node, "the program of a CPU",
                         {"repeat", "memory", "setup", "run", "l2", "expect"})) {
      return {};
    }
    const std::optional<uint32_t> repeat = RepeatOf(reader, node);
    if (reader.failed()) return {};
    if (!repeat && takes_the_rest) {
      reader.Fail(node["repeat"], "a second entry has repeat: all", "expected one such entry");
      return {};
    }
    if (!repeat) takes_the_rest = entries.size();
    used += repeat.value_or(0);
    if (used > cpu_count) {
      reader.Fail(node, absl::StrCat("there are programs for more than ", cpu_count, " CPUs"),
                  "expected at most as many as the machine has");
      return {};
    }
    entries.push_back({node, repeat.value_or(0)});
  }
  if (takes_the_rest) entries[*takes_the_rest].cpus = cpu_count - used;
  return entries;
}

// The mode that the program says; nothing if it says none.
std::optional<L1Mode> ReadMode(SourceReader& reader, const YAML::Node& program) {
  if (!Has(program, "arch")) return std::nullopt;
  const auto name = reader.Word(program["arch"], "arch");
  if (!name) return std::nullopt;
  const std::optional<L1Mode> mode = L1ModeOfArch(*name);
  if (!mode) reader.FailUnknown(program["arch"], "arch", *name, {"x86_64", "i386"});
  return mode;
}

std::optional<GuestProgram> AssembleProgram(SourceReader& reader, const YAML::Node& program,
                                            uint32_t cpu_count, L1Mode otherwise) {
  if (!reader.CheckMap(program, "a guest program", {"name", "arch", "cpus"})) return std::nullopt;
  const auto name_node = reader.Required(program, "a guest program", "name");
  if (!name_node) return std::nullopt;
  const auto name = reader.Word(*name_node, "name");
  if (!name) return std::nullopt;
  const auto cpus = reader.Required(program, "a guest program", "cpus");
  if (!cpus || !reader.CheckList(*cpus, "cpus")) return std::nullopt;
  GuestProgram assembled;
  assembled.name = *name;
  const std::optional<L1Mode> mode = ReadMode(reader, program);
  assembled.l1_mode = mode.value_or(otherwise);
  assembled.says_l1_mode = mode.has_value();
  for (const Entry& entry : ReadEntries(reader, *cpus, cpu_count)) {
    for (uint32_t i = 0; i < entry.cpus && !reader.failed(); ++i) {
      const auto cpu = static_cast<uint32_t>(assembled.cpus.size());
      assembled.cpus.push_back(
          AssembleCpu(reader, entry.node, cpu, {cpu_count, assembled.l1_mode}));
    }
  }
  assembled.cpus.resize(cpu_count);
  return assembled;
}

}  // namespace

absl::StatusOr<GuestProgram> Assemble(const std::string& file_name, const std::string& text,
                                      uint32_t cpu_count, L1Mode otherwise) {
  try {
    return AssembleNode(file_name, YAML::Load(text), cpu_count, otherwise);
  } catch (const YAML::Exception& error) {
    SourceReader reader(file_name);
    reader.Fail(error.mark, absl::StrCat("this is not YAML: ", error.msg), "expected YAML 1.2");
    return reader.status();
  }
}

absl::StatusOr<GuestProgram> AssembleNode(const std::string& file_name, const YAML::Node& program,
                                          uint32_t cpu_count, L1Mode otherwise) {
  SourceReader reader(file_name);
  std::optional<GuestProgram> assembled = AssembleProgram(reader, program, cpu_count, otherwise);
  if (reader.failed()) return reader.status();
  return *std::move(assembled);
}

}  // namespace nvmx::lhv
