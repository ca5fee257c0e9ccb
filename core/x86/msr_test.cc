// SPDX-License-Identifier: Apache-2.0
#include "core/x86/msr.h"

#include <cstdint>
#include <set>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(MsrTest, EachIndexHasOneName) {
  std::set<uint32_t> indices;
  size_t rows = 0;
#define NVMX_MSR(name, index) \
  indices.insert(index);      \
  ++rows;
#include "core/x86/msrs.def"
#undef NVMX_MSR
  EXPECT_EQ(indices.size(), rows);
}

TEST(MsrTest, IndicesAreThoseOfTheSdm) {
  EXPECT_EQ(Index(Msr::IA32_TIME_STAMP_COUNTER), 0x10u);
  EXPECT_EQ(Index(Msr::IA32_APIC_BASE), 0x1Bu);
  EXPECT_EQ(Index(Msr::IA32_FEATURE_CONTROL), 0x3Au);
  EXPECT_EQ(Index(Msr::IA32_BIOS_UPDT_TRIG), 0x79u);
  EXPECT_EQ(Index(Msr::IA32_SMM_MONITOR_CTL), 0x9Bu);
  EXPECT_EQ(Index(Msr::IA32_SMBASE), 0x9Eu);
  EXPECT_EQ(Index(Msr::IA32_SYSENTER_EIP), 0x176u);
  EXPECT_EQ(Index(Msr::IA32_PAT), 0x277u);
  EXPECT_EQ(Index(Msr::IA32_VMX_BASIC), 0x480u);
  EXPECT_EQ(Index(Msr::IA32_VMX_VMFUNC), 0x491u);
  EXPECT_EQ(Index(Msr::IA32_EFER), 0xC0000080u);
  EXPECT_EQ(Index(Msr::IA32_FS_BASE), 0xC0000100u);
  EXPECT_EQ(Index(Msr::IA32_GS_BASE), 0xC0000101u);
  EXPECT_EQ(Index(Msr::IA32_KERNEL_GS_BASE), 0xC0000102u);
}

TEST(MsrTest, MtrrPairsFollowEachOther) {
  EXPECT_EQ(Index(MtrrPhysBase(0)), 0x200u);
  EXPECT_EQ(Index(MtrrPhysMask(0)), 0x201u);
  EXPECT_EQ(Index(MtrrPhysBase(9)), 0x212u);
  EXPECT_EQ(Index(MtrrPhysMask(9)), 0x213u);
}

TEST(MsrTest, MachineCheckBanksAreFourRegistersEach) {
  EXPECT_EQ(Index(MciCtl(0)), 0x400u);
  EXPECT_EQ(Index(MciStatus(1)), 0x405u);
  EXPECT_EQ(Index(MciAddr(1)), 0x406u);
  EXPECT_EQ(Index(MciMisc(2)), 0x40Bu);
}

TEST(MsrTest, TheX2ApicRangeIsTheIndicesWhoseBits31To8Are8) {
  EXPECT_FALSE(IsX2ApicMsr(0x7FF));
  EXPECT_TRUE(IsX2ApicMsr(0x800));
  EXPECT_TRUE(IsX2ApicMsr(0x8FF));
  EXPECT_FALSE(IsX2ApicMsr(0x900));
  EXPECT_FALSE(IsX2ApicMsr(0xC0000800));
}

TEST(MsrTest, NamesAreThoseOfTheSdm) {
  EXPECT_STREQ(Name(Msr::IA32_MTRR_FIX4K_F8000), "IA32_MTRR_FIX4K_F8000");
  EXPECT_STREQ(MsrName(0x277), "IA32_PAT");
  EXPECT_EQ(MsrName(0xFFFFFFFF), nullptr);
}

}  // namespace
}  // namespace nvmx
