// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/l0_log.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// The sink has no argument of its own.
L0Log* written_log = nullptr;
std::vector<std::string> lines;
int records_while_writing = 0;

class L0LogTest : public testing::Test {
 protected:
  L0LogTest() {
    lines.clear();
    records_while_writing = 0;
    written_log = log_.get();
  }
  void Start(LogMode mode) { log_->Start(mode, 2, &Take); }
  L0Log& log() { return *log_; }

  static Event At(uint64_t tsc) { return {tsc, TraceKind::kQuiesceBegin, 0, 0}; }

 private:
  static void Take(const Text& line) {
    lines.emplace_back(line.view());
    if (records_while_writing == 0) return;
    --records_while_writing;
    written_log->Record(1, At(99));
  }

  std::unique_ptr<L0Log> log_ = std::make_unique<L0Log>();
};

TEST_F(L0LogTest, WithoutAModeNothingIsRecorded) {
  Start(LogMode::kNone);
  log().Record(0, At(1));
  log().WriteSome();
  log().WriteRest();
  EXPECT_THAT(lines, IsEmpty());
}

TEST_F(L0LogTest, TheSerialLogWritesAtOnce) {
  Start(LogMode::kSerial);
  log().Record(1, {5, TraceKind::kNestedExit, 18, 255});
  EXPECT_THAT(lines, ElementsAre("L0: CPU 1: at 5: L2 has exited to L1, reason and qualification: "
                                 "0x12, 0xff\n"));
}

TEST_F(L0LogTest, WhatIsRecordedInTheMiddleOfALineComesBehindIt) {
  Start(LogMode::kSerial);
  records_while_writing = 1;
  log().Record(0, At(1));
  EXPECT_THAT(lines, ElementsAre(HasSubstr("CPU 0: at 1:"), HasSubstr("CPU 1: at 99:")));
}

TEST_F(L0LogTest, TheRingWritesLaterAndAFewLinesAtATime) {
  Start(LogMode::kRing);
  for (uint64_t n = 0; n < L0Log::kFewLines + 1; ++n) log().Record(0, At(n));
  EXPECT_THAT(lines, IsEmpty());
  log().WriteSome();
  EXPECT_THAT(lines, SizeIs(L0Log::kFewLines));
  log().WriteSome();
  log().WriteSome();
  EXPECT_THAT(lines, SizeIs(L0Log::kFewLines + 1));
}

TEST_F(L0LogTest, TheEndWritesTheRestEvenInTheMiddleOfALine) {
  Start(LogMode::kRing);
  log().Record(0, At(1));
  log().Record(1, At(2));
  log().WriteRest();
  log().WriteRest();
  EXPECT_THAT(lines, SizeIs(2));
}

// A guest that has announced the end may go on.
TEST_F(L0LogTest, GoesOnBehindTheEnd) {
  Start(LogMode::kSerial);
  log().WriteRest();
  log().Record(0, At(1));
  EXPECT_THAT(lines, SizeIs(1));
}

TEST_F(L0LogTest, SaysHowManyAreLost) {
  Start(LogMode::kRing);
  for (uint64_t n = 0; n < EventRing::kEvents + 2; ++n) log().Record(1, At(n));
  log().WriteRest();
  EXPECT_THAT(lines, SizeIs(EventRing::kEvents + 1));
  EXPECT_EQ(lines[0], "L0: CPU 1: 2 events are lost\n");
}

}  // namespace
}  // namespace nvmx::metal
