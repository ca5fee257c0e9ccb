// SPDX-License-Identifier: Apache-2.0
//
// The same lists of MSRs, processed by the core as L0 and by the processor's own list code, which
// share no logic: what failed and what every MSR holds afterwards must be equal.
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/machine/testing/processor_fixture.h"
#include "backends/sim/machine/testing/program_run.h"
#include "core/nested/offered_capabilities.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx::sim {
namespace {

constexpr size_t kEntries = 6;
using List = std::array<MsrListEntry, kEntries>;

// Every MSR that an entry of a list here can change, and some more.
const std::vector<uint32_t> kObserved = {
    0x10,       0x1B,       0x174,      0x175,      0x176,      0x1A0,      0x1D9,
    0x200,      0x201,      0x20B,      0x20C,      0x250,      0x26F,      0x277,
    0x2FF,      0x400,      0x402,      0x403,      0x406,      0xC0000080, 0xC0000081,
    0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102, 0xC0000103};

// What the MSRs hold before: the same for both.
const std::vector<std::pair<uint32_t, uint64_t>> kBefore = {
    {0xC0000081, 0x81}, {0xC0000082, 0x82}, {0xC0000102, 0x102}, {0x402, 0x402}, {0x20C, 0x6000}};

struct Result {
  // 0: the list was processed to its end. Otherwise the number of the entry at which VM entry
  // failed.
  uint64_t failed_entry = 0;
  uint64_t abort_indicator = 0;
  std::map<uint32_t, uint64_t> in_l2;  // if L2 was entered
  std::map<uint32_t, uint64_t>
      in_l1;  // after the exit or the failed entry, unless stored MSRs caused an abort
  std::vector<uint64_t> data;  // of the list's entries, in memory
  friend bool operator==(const Result&, const Result&) = default;
};
void PrintTo(const Result& r, std::ostream* out) {
  *out << "failed " << r.failed_entry << " abort " << r.abort_indicator << std::hex;
  for (const auto& [msr, value] : r.in_l2) *out << "\n  L2 " << msr << " = " << value;
  for (const auto& [msr, value] : r.in_l1) *out << "\n  L1 " << msr << " = " << value;
  for (uint64_t data : r.data) *out << "\n  data " << data;
}

enum class Which { kEntryLoad, kExitStore, kExitLoad };
constexpr const char* kUses[] = {"entry_load", "exit_store", "exit_load"};

// Whether the controls that switch EFER and PAT are set.
std::string ProgramText(Which which, bool switching) {
  std::string setup;
  for (const auto& [msr, value] : kBefore) {
    absl::StrAppend(&setup, "      - wrmsr: {msr: ", msr, ", value: ", value, "}\n");
  }
  if (!switching) {
    absl::StrAppend(&setup,
                    "      - vmwrite_control: {field: VM_EXIT_CONTROLS, bits: "
                    "[HOST_ADDRESS_SPACE_SIZE, SAVE_DEBUG_CONTROLS]}\n"
                    "      - vmwrite_control: {field: VM_ENTRY_CONTROLS, bits: "
                    "[IA32E_MODE_GUEST, LOAD_DEBUG_CONTROLS]}\n");
  }
  return absl::StrCat(
      "name: lists\ncpus:\n  - memory:\n      vmxon: {bytes: 4096}\n      vmcs: {bytes: 4096}\n"
      "      list: {msr_list: [{msr: 0, repeat: ",
      kEntries,
      "}]}\n"
      "    setup:\n      - enter_vmx: vmxon\n      - baseline_vmcs: vmcs\n"
      "      - use_msr_list: {",
      kUses[static_cast<int>(which)], ": list}\n", setup,
      "    run: [vmlaunch, observe_exit]\n    l2: [vmcall]\n");
}

class Nested {
 public:
  Nested(Which which, bool switching)
      : which_(which), program_(ProgramRun::MustAssemble(ProgramText(which, switching))) {}

  Result Run(const List& list) {
    for (lhv::MemoryBlock& block : program_.cpus[0].memory) {
      if (block.name == "list") std::memcpy(block.bytes.data(), list.data(), sizeof list);
    }
    ProgramRun run(program_);
    Result result;
    if (run.StepToL2()) result.in_l2 = Observe(run);
    EXPECT_TRUE(run.ToTheEnd());
    EXPECT_FALSE(run.l0_failed());
    if (run.cpu().vcpu_state().in_vmx_abort != 0) {
      result.abort_indicator = run.Memory64(run.AddressOf("vmcs")) >> 32;
    } else {
      const std::vector<uint64_t> reason = run.ExitFields(VmcsField::kExitReason);
      EXPECT_EQ(reason.size(), 1u);
      if (reason[0] == 0x80000022) {
        result.failed_entry = run.ExitFields(VmcsField::kExitQualification)[0];
      }
    }
    if (result.abort_indicator == 0 || which_ != Which::kExitStore) result.in_l1 = Observe(run);
    for (size_t number = 0; number < kEntries; ++number) {
      result.data.push_back(run.Memory64(run.AddressOf("list") + number * 16 + 8));
    }
    return result;
  }

 private:
  // As the guest that runs now would read them.
  static std::map<uint32_t, uint64_t> Observe(ProgramRun& run) {
    std::map<uint32_t, uint64_t> values;
    for (uint32_t msr : kObserved) {
      values[msr] = MtrrSettings::IsMtrr(msr) ? *run.cpu().vcpu_state().mtrr.Read(msr)
                                              : *run.cpu().processor().ReadMsr(msr);
    }
    if (run.cpu().vcpu_state().apic_is_off_for_l1 != 0) {
      values[Index(Msr::IA32_APIC_BASE)] &= ~ApicBase::kEnable;
    }
    return values;
  }

  const Which which_;
  lhv::GuestProgram program_;
};

class Native {
 public:
  Native(Which which, bool switching) : which_(which) {
    cpu_.MakeCurrent(VmcsRole::kVmcs01);
    const uint32_t exit = switching ? VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat |
                                          VmExit::kSaveIa32Efer | VmExit::kLoadIa32Efer
                                    : 0;
    const uint32_t entry = switching ? VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer : 0;
    constexpr uint64_t kLongMode = Efer::kLme | Efer::kLma;
    const std::pair<VmcsField, uint64_t> kFields[] = {
        {VmcsField::kPinBasedControls,
         PinBased::kDefault1 | PinBased::kNmiExiting | PinBased::kVirtualNmis},
        {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kDefault1},
        {VmcsField::kVmExitControls, VmExit::kDefault1 | VmExit::kHostAddressSpaceSize | exit},
        {VmcsField::kVmEntryControls, VmEntry::kDefault1 | VmEntry::kIa32eModeGuest | entry},
        {VmcsField::kGuestCr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg},
        {VmcsField::kGuestCr4, Cr4::kPae | Cr4::kVmxe},
        {VmcsField::kGuestIa32Efer, kLongMode},
        {VmcsField::kGuestIa32Pat, kPatReset},
        {VmcsField::kGuestRflags, Rflags::kFixed1},
        {VmcsField::kGuestCsAccessRights, 0x209B},
        {VmcsField::kGuestSsAccessRights, AccessRights::kUnusable},
        {VmcsField::kGuestDsAccessRights, AccessRights::kUnusable},
        {VmcsField::kGuestEsAccessRights, AccessRights::kUnusable},
        {VmcsField::kGuestFsAccessRights, AccessRights::kUnusable},
        {VmcsField::kGuestGsAccessRights, AccessRights::kUnusable},
        {VmcsField::kGuestLdtrAccessRights, AccessRights::kUnusable},
        {VmcsField::kGuestTrAccessRights, 0x8B},
        {VmcsField::kVmcsLinkPointer, kNoVmcs},
        {VmcsField::kHostCr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg},
        {VmcsField::kHostCr4, Cr4::kPae | Cr4::kVmxe},
        {VmcsField::kHostIa32Efer, kLongMode},
        {VmcsField::kHostIa32Pat, kPatReset},
    };
    for (const auto& [field, value] : kFields) cpu_.VmcsWrite(field, value);
    cpu_.state().switched.efer = kLongMode;
    cpu_.state().switched.pat = kPatReset;
    for (const auto& [msr, value] : kBefore) EXPECT_TRUE(cpu_.WriteMsr(msr, value));
    constexpr std::pair<VmcsField, VmcsField> kListFields[] = {
        {VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount},
        {VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount},
        {VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount}};
    cpu_.VmcsWrite(kListFields[static_cast<int>(which)].first, kPlace);
    cpu_.VmcsWrite(kListFields[static_cast<int>(which)].second, kEntries);
    start_ = cpu_.state();
  }

  Result Run(const List& list) {
    cpu_.state() = start_;
    memory_.Write(kPlace, std::as_bytes(std::span(list)));
    Result result;
    cpu_.EnterGuest();
    EXPECT_TRUE(root_.refusals.empty());
    if (cpu_.in_guest()) {
      result.in_l2 = Observe();
      cpu_.Execute({.kind = lhv::InstructionKind::kVmcall});
    } else {
      EXPECT_EQ(cpu_.VmcsRead(VmcsField::kExitReason), 0x80000022u);
      result.failed_entry = cpu_.VmcsRead(VmcsField::kExitQualification);
    }
    result.abort_indicator = cpu_.state().vmcs[0].abort_indicator;
    if (result.abort_indicator == 0 || which_ != Which::kExitStore) result.in_l1 = Observe();
    for (size_t number = 0; number < kEntries; ++number) {
      uint64_t data = 0;
      memory_.Read(kPlace + number * 16 + 8, std::as_writable_bytes(std::span(&data, 1)));
      result.data.push_back(data);
    }
    return result;
  }

 private:
  static constexpr uint64_t kPlace = lhv::kWindowBase + 0x12000;

  std::map<uint32_t, uint64_t> Observe() const {
    std::map<uint32_t, uint64_t> values;
    for (uint32_t msr : kObserved) values[msr] = *cpu_.ReadMsr(msr);
    return values;
  }

  const Which which_;
  Memory memory_{1};
  RootSoftware root_;
  // What L1 is offered: the capability MSRs can be in a list too.
  Processor cpu_{memory_, root_, OfferedCapabilities(SimulatedCapabilities())};
  ProcessorState start_{};
};

// Entries that some list accepts.
const std::vector<MsrListEntry> kLikely = {{0xC0000081, 0, 1},
                                           {0xC0000082, 0, 2},
                                           {0xC0000083, 0, 3},
                                           {0xC0000084, 0, 0x4700},
                                           {0xC0000102, 0, 4},
                                           {0xC0000103, 0, 0xFFFFFFFF},
                                           {0xC0000080, 0, 0x501},
                                           {0xC0000080, 0, 0xD00},
                                           {0xC0000080, 0, 0x100},
                                           {0x277, 0, 0x0007060400070604},
                                           {0x277, 0, 0x0606060606060606},
                                           {0x174, 0, 8},
                                           {0x175, 0, 0x7FFFFFFFFFFF},
                                           {0x176, 0, 0xFFFF800000000000},
                                           {0x1D9, 0, 1},
                                           {0x200, 0, 0x80000006},
                                           {0x201, 0, 0xFF80000800},
                                           {0x20B, 0, 0xBBBBB000},
                                           {0x20C, 0, 0xCCCCC000},
                                           {0x250, 0, 0x0606060606060606},
                                           {0x26F, 0, 0x0505050505050505},
                                           {0x2FF, 0, 0xC06},
                                           {0x400, 0, 5},
                                           {0x402, 0, 6},
                                           {0x403, 0, 7},
                                           {0x406, 0, 8},
                                           {0x10, 0, 0x1000},
                                           {0x1B, 0, 0xFEE00800},
                                           {0x1A0, 0, 9}};
// Entries that some list refuses.
const std::vector<MsrListEntry> kUnlikely = {{0xDEAD, 0, 0},
                                             {0xC0000100, 0, 1},
                                             {0xC0000101, 0, 1},
                                             {0x800, 0, 0},
                                             {0x8FF, 0, 0},
                                             {0x802, 0, 0},
                                             {0x79, 0, 0},
                                             {0x8B, 0, 0},
                                             {0x9B, 0, 0},
                                             {0x9E, 0, 0},
                                             {0xFE, 0, 0x50A},
                                             {0x3A, 0, 5},
                                             {0x480, 0, 0},
                                             {0x48C, 0, 0},
                                             {0xC0000081, 1, 1},
                                             {0xC0000081, 0x80000000, 1},
                                             {0xC0000082, 0, uint64_t{1} << 47},
                                             {0xC0000080, 0, 0},
                                             {0xC0000080, 0, 0x502},
                                             {0x277, 0, 2},
                                             {0x1D9, 0, uint64_t{1} << 40},
                                             {0x175, 0, uint64_t{1} << 63},
                                             {0x200, 0, 2},
                                             {0x200, 0, uint64_t{1} << 40},
                                             {0x201, 0, 1},
                                             {0x250, 0, 3},
                                             {0x2FF, 0, 0x100},
                                             {0x7FF, 0, 0},
                                             {0x900, 0, 0},
                                             {0xC0000103, 0, uint64_t{1} << 32},
                                             {0x214, 0, 0},
                                             {0x410, 0, 0}};

class MsrListDifferential : public testing::TestWithParam<std::tuple<Which, bool>> {};

TEST_P(MsrListDifferential, EachEntryAloneActsTheSame) {
  const auto [which, switching] = GetParam();
  Nested nested(which, switching);
  Native native(which, switching);
  for (const auto* pool : {&kLikely, &kUnlikely}) {
    for (const MsrListEntry& entry : *pool) {
      List list;
      list.fill({0xC0000083, 0, 0x83});
      list[2] = entry;
      EXPECT_EQ(nested.Run(list), native.Run(list))
          << std::hex << "MSR " << entry.index << " reserved " << entry.reserved << " data "
          << entry.data;
    }
  }
}

TEST_P(MsrListDifferential, RandomListsActTheSame) {
  const auto [which, switching] = GetParam();
  Nested nested(which, switching);
  Native native(which, switching);
  std::mt19937_64 random(20240624);
  int failures = 0;
  constexpr int kLists = 300;
  for (int number = 0; number < kLists; ++number) {
    List list;
    for (MsrListEntry& entry : list) {
      const auto& pool = random() % 12 == 0 ? kUnlikely : kLikely;
      entry = pool[random() % pool.size()];
    }
    const Result expected = native.Run(list);
    ASSERT_EQ(nested.Run(list), expected) << "list " << number;
    if (expected.failed_entry != 0 || expected.abort_indicator != 0) ++failures;
  }
  EXPECT_GT(failures, kLists / 10);
  EXPECT_LT(failures, kLists * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(Lists, MsrListDifferential,
                         testing::Combine(testing::Values(Which::kEntryLoad, Which::kExitStore,
                                                          Which::kExitLoad),
                                          testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(
                               std::get<0>(info.param) == Which::kEntryLoad   ? "EntryLoad"
                               : std::get<0>(info.param) == Which::kExitStore ? "ExitStore"
                                                                              : "ExitLoad",
                               std::get<1>(info.param) ? "Switching" : "Keeping");
                         });

}  // namespace
}  // namespace nvmx::sim
