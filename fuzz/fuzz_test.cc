// SPDX-License-Identifier: Apache-2.0
//
// Every target without libFuzzer: its seeds, and inputs made of them by its own mutators.
// Everything follows from fixed numbers.
#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "fuzz/corpus_file.h"
#include "fuzz/input.h"
#include "fuzz/own_part.h"
#include "fuzz/seeds.h"
#include "fuzz/target.h"
#include "gtest/gtest.h"
#include "lhv/baseline.h"

namespace nvmx::fuzz {
namespace {

constexpr char kSuites[] = "lhv/suites";
constexpr int kMutations = 1500;

// What libFuzzer's own mutations come to: a byte or a bit.
ByteMutator SomeBytes(Random& random) {
  return [&random](std::byte* data, size_t size, size_t capacity) {
    if (size == 0) {
      if (capacity == 0) return size_t{0};
      data[0] = static_cast<std::byte>(random.Next());
      return size_t{1};
    }
    data[random.Below(size)] ^= static_cast<std::byte>(random.Bit(8));
    return size;
  };
}

class FuzzTest : public testing::TestWithParam<TargetInformation> {
 protected:
  std::vector<Seed> Seeds() {
    absl::StatusOr<std::vector<Seed>> seeds = SeedsOf(GetParam(), kSuites);
    EXPECT_TRUE(seeds.ok()) << seeds.status();
    return seeds.ok() ? *std::move(seeds) : std::vector<Seed>{};
  }
  std::unique_ptr<Target> target_ = MakeTarget(GetParam());
};

TEST_P(FuzzTest, SeedsAreInputsAndFindNothing) {
  const std::vector<Seed> seeds = Seeds();
  EXPECT_GE(seeds.size(), 8u);
  for (const Seed& seed : seeds) {
    const std::optional<Find> find = target_->Run(seed.bytes);
    EXPECT_TRUE(target_->valid()) << seed.name;
    EXPECT_FALSE(find) << seed.name << ": " << find->signature << "\n" << find->text << find->yaml;
  }
}

// What fuzzing has reached, and what has shown defects that are no more.
TEST_P(FuzzTest, KeptInputsFindNothing) {
  for (const char* kind : {"corpus", "finds"}) {
    const std::string path = absl::StrCat("fuzz/corpora/", GetParam().name, ".", kind);
    const absl::StatusOr<std::vector<std::vector<std::byte>>> inputs = ReadCorpusFile(path);
    if (absl::IsNotFound(inputs.status()) && kind == std::string_view("finds")) continue;
    ASSERT_TRUE(inputs.ok()) << inputs.status();
    EXPECT_FALSE(inputs->empty()) << path;
    for (size_t i = 0; i < inputs->size(); ++i) {
      const std::optional<Find> find = target_->Run((*inputs)[i]);
      EXPECT_TRUE(target_->valid()) << path << ", input " << i;
      EXPECT_FALSE(find) << path << ", input " << i << ": " << find->signature << "\n"
                         << find->text << find->yaml;
    }
  }
}

// Also that a run leaves nothing behind for the next.
TEST_P(FuzzTest, EqualInputsEndAlike) {
  std::vector<Seed> seeds = Seeds();
  if (seeds.size() > 60) seeds.resize(60);
  std::vector<uint64_t> digests;
  for (const Seed& seed : seeds) {
    target_->Run(seed.bytes);
    digests.push_back(target_->Digest());
  }
  for (size_t i = seeds.size(); i-- > 0;) {
    target_->Run(seeds[i].bytes);
    EXPECT_EQ(target_->Digest(), digests[i]) << seeds[i].name;
  }
}

TEST_P(FuzzTest, MutatorsMakeInputs) {
  const std::vector<Seed> seeds = Seeds();
  ASSERT_FALSE(seeds.empty());
  Random random(1);
  const ByteMutator bytes = SomeBytes(random);
  int valid = 0;
  for (int i = 0; i < kMutations; ++i) {
    const Seed& a = random.Of(std::span(seeds));
    std::vector<std::byte> input = target_->Mutate(a.bytes, random, bytes);
    if (random.OneIn(4)) {
      input = target_->CrossOver(input, random.Of(std::span(seeds)).bytes, random);
    }
    if (input.size() > GetParam().max_bytes) continue;
    target_->Run(input);
    valid += target_->valid() ? 1 : 0;
  }
  EXPECT_GT(valid, kMutations * 3 / 4);
}

// Inputs that only grow are slow: nearly all came to be as long as their target allows.
TEST_P(FuzzTest, InputsDoNotGrowForGood) {
  const TargetInformation& target = GetParam();
  if (target.most_l1_operations == 0) GTEST_SKIP() << "its inputs have no operations";
  const std::vector<Seed> seeds = Seeds();
  ASSERT_FALSE(seeds.empty());
  Random random(3);
  const ByteMutator bytes = SomeBytes(random);
  InputReader reader(target);
  std::vector<std::byte> input = seeds[0].bytes;
  size_t l1 = 0, l2 = 0;
  for (int i = 0; i < kMutations; ++i) {
    input = target_->Mutate(input, random, bytes);
    if (random.OneIn(2)) {
      input = target_->CrossOver(input, random.Of(std::span(seeds)).bytes, random);
    }
    const lhv::GuestProgram* own = reader.Read(input);
    ASSERT_NE(own, nullptr) << reader.error();
    l1 += own->cpus[0].l1.size();
    l2 += own->cpus[0].l2.size();
  }
  EXPECT_LT(l1, kMutations * target.most_l1_operations * 3 / 4);
  EXPECT_LT(l2, kMutations * target.most_l2_operations * 3 / 4);
}

TEST_P(FuzzTest, AnyBytesDoNoHarm) {
  Random random(2);
  for (int i = 0; i < 200; ++i) {
    std::vector<std::byte> input(random.Below(64));
    for (std::byte& byte : input) byte = static_cast<std::byte>(random.Next());
    target_->Run(input);
  }
  target_->Run({});
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzTest,
                         testing::ValuesIn(AllTargets().begin(), AllTargets().end()),
                         [](const auto& info) { return std::string(info.param.name); });

// --- Inputs and back

TEST(InputTest, WhatIsWrittenIsReadAgain) {
  for (const TargetInformation& target : AllTargets()) {
    if (target.form == InputForm::kSchedule || target.form == InputForm::kText) continue;
    const absl::StatusOr<std::vector<Seed>> seeds = SeedsOf(target, kSuites);
    ASSERT_TRUE(seeds.ok()) << seeds.status();
    for (const Seed& seed : *seeds) {
      InputReader reader(target);
      const lhv::GuestProgram* own = reader.Read(seed.bytes);
      ASSERT_NE(own, nullptr) << seed.name << ": " << reader.error();
      EXPECT_EQ(EncodeInput(*own), seed.bytes) << seed.name;
    }
  }
}

// L1 can write any field of a VMCS, the reason of the last VM exit too.
TEST(ReachedTest, AReasonThatL1HasWrittenIsNoExit) {
  std::unique_ptr<Target> target = MakeTarget(*FindTarget("exit_route"));
  const auto features_of = [&target](uint64_t reason) {
    lhv::GuestProgram own;
    own.cpus.resize(1);
    own.cpus[0].l1 = {lhv::Vmwrite(VmcsField::kExitReason, reason)};
    EXPECT_FALSE(target->Run(EncodeInput(own)));
    EXPECT_TRUE(target->valid());
    return std::vector<uint32_t>(target->features().begin(), target->features().end());
  };
  constexpr auto kViolation = static_cast<uint64_t>(ExitReason::kEptViolation);
  const std::vector<uint32_t> features = features_of(kViolation);
  EXPECT_EQ(target->reached().exits[kViolation], 0u);
  EXPECT_EQ(features_of(0x1234'5678), features);
}

TEST(InputTest, MemoryOfTheSetupIsNotAnInputs) {
  lhv::GuestProgram own;
  own.cpus.resize(1);
  own.cpus[0].memory.push_back({"", kFirstInputMemory - 8, std::vector<std::byte>(16)});
  EXPECT_EQ(InputReader(InputForm::kBehindEntry).Read(EncodeInput(own)), nullptr);
  own.cpus[0].memory[0].offset = kFirstInputMemory;
  EXPECT_NE(InputReader(InputForm::kBehindEntry).Read(EncodeInput(own)), nullptr);
}

TEST(InputTest, OnlyAWholeProgramSaysTheModeOfL1) {
  lhv::GuestProgram own;
  own.cpus.resize(1);
  own.l1_mode = lhv::L1Mode::k32Bit;
  const std::vector<std::byte> bytes = EncodeInput(own);
  EXPECT_EQ(InputReader(InputForm::kBehindEntry).Read(bytes), nullptr);
  InputReader reader(InputForm::kWholeProgram);
  ASSERT_NE(reader.Read(bytes), nullptr) << reader.error();
  EXPECT_EQ(reader.Read(bytes)->l1_mode, lhv::L1Mode::k32Bit);
  own.l1_mode = lhv::L1Mode::k64Bit;
  EXPECT_EQ(reader.Read(EncodeInput(own))->l1_mode, lhv::L1Mode::k64Bit);
}

TEST(InputTest, AProgramOfAnL1OutsideIa32eModeIsNoPartBehindASetup) {
  lhv::GuestProgram program = SetupOf(InputForm::kBehindSetup);
  program.l1_mode = lhv::L1Mode::k32Bit;
  EXPECT_FALSE(OwnPart(InputForm::kBehindSetup, program).ok());
  EXPECT_EQ(OwnPart(InputForm::kWholeProgram, program)->l1_mode, lhv::L1Mode::k32Bit);
}

TEST(InputTest, MemoryLiesOverTheSetups) {
  lhv::GuestProgram own;
  own.cpus.resize(1);
  own.cpus[0].memory.push_back({"", EptTables::kPml4, std::vector<std::byte>(8)});
  const lhv::GuestProgram whole = WholeProgram(InputForm::kBehindEptEntry, own);
  const lhv::GuestProgram& setup = SetupOf(InputForm::kBehindEptEntry);
  for (size_t i = 0; i < setup.cpus[0].memory.size(); ++i) {
    const lhv::MemoryBlock& before = setup.cpus[0].memory[i];
    const lhv::MemoryBlock& after = whole.cpus[0].memory[i];
    EXPECT_EQ(before.bytes == after.bytes, before.offset != EptTables::kPml4) << before.name;
  }
}

// In the whole program two operations stand for each VM entry.
TEST(InputTest, ARepetitionIsOfTheSameOperationsInTheWholeProgram) {
  using lhv::OperationKind;
  lhv::GuestProgram own;
  own.cpus.resize(1);
  own.cpus[0].l1 = {{.kind = OperationKind::kCpuid},
                    {.kind = OperationKind::kVmresume},
                    {.kind = OperationKind::kRepeat, .selector = 2, .value = 2},
                    {.kind = OperationKind::kVmresume},
                    {.kind = OperationKind::kRepeat, .selector = 2, .value = 1}};
  const lhv::GuestProgram whole = WholeProgram(InputForm::kBehindSetup, own);
  const std::vector<lhv::Operation>& l1 = whole.cpus[0].l1;
  ASSERT_GE(l1.size(), 7u);
  EXPECT_EQ(l1[l1.size() - 4].value, 3u);
  EXPECT_EQ(l1.back().value, 2u);
  const absl::StatusOr<lhv::GuestProgram> back = OwnPart(InputForm::kBehindSetup, whole);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->cpus[0].l1, own.cpus[0].l1);
}

}  // namespace
}  // namespace nvmx::fuzz
