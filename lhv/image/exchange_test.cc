// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lhv/image/pack_writer.h"
#include "lhv/image/program_pack.h"
#include "lhv/image/serial_log.h"
#include "lhv/program_codec.h"

namespace nvmx::lhv {
namespace {

GuestProgram Program(size_t nops) {
  GuestProgram program;
  program.cpus.resize(1);
  program.cpus[0].l1.assign(nops, {.kind = OperationKind::kNop});
  return program;
}

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(ProgramPack, HoldsProgramsUnderTheirNames) {
  const std::string pack = WritePack({{"a/b.yaml", Program(2)}, {"c", Program(0)}});
  PackReader reader(Bytes(pack));
  ASSERT_FALSE(reader.failed());
  EXPECT_EQ(reader.count(), 2u);
  const auto first = reader.Next();
  ASSERT_TRUE(first);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(first->name.data()), first->name.size()),
            "a/b.yaml");
  const auto decoded = DecodeProgram(first->bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->cpus[0].l1.size(), 2u);
  EXPECT_TRUE(reader.Next());
  EXPECT_FALSE(reader.Next());
  EXPECT_FALSE(reader.failed());
}

TEST(ProgramPack, OneThatEndsEarlyGivesAnErrorAndNoProgram) {
  const std::string pack = WritePack({{"a", Program(2)}});
  for (size_t length = 0; length < pack.size(); ++length) {
    PackReader reader(Bytes(pack).first(length));
    EXPECT_FALSE(reader.Next()) << length;
    EXPECT_TRUE(reader.failed()) << length;
  }
}

TEST(ProgramPack, OtherBytesAreNone) { EXPECT_TRUE(PackReader(Bytes("NVPX....")).failed()); }

std::string Line(const Observation& observation, uint32_t cpu) {
  std::array<char, kMostLineBytes> line;
  return {line.data(), WriteLogLine(cpu, observation, line)};
}
std::string End(ImageEnd end, uint32_t cpu, uint64_t detail) {
  std::array<char, kMostLineBytes> line;
  return {line.data(), WriteEndLine(cpu, end, detail, line)};
}

constexpr Observation kLongest{.kind = ObservationKind::kReadValue,
                               .level = 2,
                               .operation = ~uint64_t{0},
                               .selector = ~uint64_t{0},
                               .value = ~uint64_t{0},
                               .extra = ~uint64_t{0}};
constexpr Observation kShort{.kind = ObservationKind::kMsrValue, .level = 1};

TEST(SerialLog, GivesTheObservationsBack) {
  const std::string text = "GRUB says hello\r\n@image cpus 2\n@program 0 a b.yaml\r\n" +
                           Line(kLongest, 1) + "noise\n" + Line(kShort, 0) +
                           End(ImageEnd::kComplete, 0, 0x1000'1000) + End(ImageEnd::kFault, 1, 14) +
                           "@done 0\n@finished 1\n";
  const auto log = ReadSerialLog(text);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_TRUE(log->is_finished);
  ASSERT_EQ(log->programs.size(), 1u);
  const LoggedProgram& program = log->programs[0];
  EXPECT_EQ(program.name, "a b.yaml");
  EXPECT_TRUE(program.is_done);
  ASSERT_EQ(program.cpus.size(), 2u);
  EXPECT_EQ(program.cpus[0].log, std::vector<Observation>{kShort});
  EXPECT_EQ(program.cpus[1].log, std::vector<Observation>{kLongest});
  EXPECT_EQ(program.cpus[0].end, ImageEnd::kComplete);
  EXPECT_EQ(program.cpus[1].end, ImageEnd::kFault);
  EXPECT_EQ(program.cpus[1].detail, 14u);
}

TEST(SerialLog, EveryEndHasAName) {
  for (size_t end = 0; end < kImageEndCount; ++end) {
    const auto log =
        ReadSerialLog("@program 0 p\n" + End(static_cast<ImageEnd>(end), 0, 7) + "@done 0\n");
    ASSERT_TRUE(log.ok());
    EXPECT_EQ(log->programs[0].cpus[0].end, static_cast<ImageEnd>(end));
  }
}

TEST(SerialLog, OfAProgramThatStoppedTheMachineThereIsNoEnd) {
  const auto log = ReadSerialLog("@program 3 p\n" + Line(kShort, 0) + "@log 0 1 1 2");
  ASSERT_TRUE(log.ok());
  EXPECT_FALSE(log->programs[0].is_done);
  EXPECT_EQ(log->programs[0].cpus[0].log.size(), 1u);
  EXPECT_EQ(log->programs[0].cpus[0].end, std::nullopt);
}

TEST(SerialLog, TheLastRunOfAProgramCounts) {
  const auto log = ReadSerialLog("@program 0 p\n" + Line(kShort, 0) + "@program 0 p\n@done 0\n");
  ASSERT_TRUE(log.ok());
  ASSERT_EQ(log->programs.size(), 1u);
  EXPECT_TRUE(log->programs[0].cpus.empty());
}

TEST(SerialLog, DamagedLinesAreErrorsThatNameTheLine) {
  for (const std::string line : {"@log 0 1 1 2 3 4", "@log 0 99 1 0 0 0 0", "@log 0 x 1 0 0 0 0",
                                 "@end 0 nonsense 1", "@program x p", "@what"}) {
    const auto log = ReadSerialLog("@program 0 p\n" + line + "\n@done 0\n");
    ASSERT_FALSE(log.ok()) << line;
    EXPECT_NE(std::string(log.status().message()).find("line 2"), std::string::npos);
  }
  EXPECT_FALSE(ReadSerialLog(Line(kShort, 0) + "\n\n").ok()) << "no program has begun";
}

}  // namespace
}  // namespace nvmx::lhv
