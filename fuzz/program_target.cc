// SPDX-License-Identifier: Apache-2.0
#include "fuzz/program_target.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/sim/program/campaign.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/generator/generator.h"
#include "backends/sim/program/program_yaml.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/address.h"
#include "core/x86/exception.h"
#include "fuzz/bench.h"
#include "fuzz/mutator.h"
#include "fuzz/vmcs12_rounding.h"
#include "lhv/layout.h"
#include "xxhash.h"

namespace nvmx::fuzz {
namespace {

using lhv::Observation;
using lhv::ObservationKind;
using lhv::Operation;
using lhv::OperationKind;
using sim::Comparison;
using sim::Likeness;

constexpr uint64_t kStepLimit = 500;
constexpr uint64_t kFarStepLimit = 20 * kStepLimit;
// Of so many inputs one, by its bytes, is run twice, and as a guest program too.
constexpr uint64_t kThoroughOneIn = 512;

bool OneReachedTheStepLimit(const sim::Difference& difference) {
  return (difference.reference_end == sim::CpuEnd::kStepLimit) !=
         (difference.nested_end == sim::CpuEnd::kStepLimit);
}

class ProgramTarget final : public Target {
 public:
  explicit ProgramTarget(const TargetInformation& information)
      : information_(information), reader_(information), mutator_(information) {
    if (information.form != InputForm::kWholeProgram) {
      bench_ = std::make_unique<Bench>(SetupOf(information.form));
    }
  }

  uint64_t Digest() const override { return bench_ ? bench_->Digest() : digest_; }

  std::vector<std::byte> Mutate(std::span<const std::byte> bytes, Random& random,
                                const ByteMutator& mutate_bytes) override {
    const lhv::GuestProgram* read = reader_.Read(bytes);
    lhv::GuestProgram own = read != nullptr ? *read : mutator_.Some(random);
    mutator_.Mutate(own, random, mutate_bytes);
    return EncodeInput(own);
  }

  std::vector<std::byte> CrossOver(std::span<const std::byte> a, std::span<const std::byte> b,
                                   Random& random) override {
    const lhv::GuestProgram* read = reader_.Read(a);
    lhv::GuestProgram own = read != nullptr ? *read : mutator_.Some(random);
    const lhv::GuestProgram* other = reader_.Read(b);
    if (other != nullptr) mutator_.CrossOver(own, *other, random);
    return EncodeInput(own);
  }

 private:
  std::optional<Find> RunInput(std::span<const std::byte> bytes) override;
  std::optional<Find> RunOnBench(const lhv::GuestProgram& own, bool thorough);
  std::optional<Find> Confirm(lhv::GuestProgram program, const BenchDifference& difference);
  std::optional<Find> RunWhole(const lhv::GuestProgram& program);
  std::optional<Find> JudgeWhole(const lhv::GuestProgram& program);
  bool PutBehindSetup(const lhv::GuestProgram& program);
  bool IsAboutVmcsData(const lhv::GuestProgram& program) const;
  static std::unique_ptr<sim::Comparer> MakeComparer(size_t cpus);
  sim::Comparer& ComparerFor(size_t cpus);
  void NoteLog(std::span<const Observation> log);
  void NoteBench(const lhv::CpuProgram& own);
  void NoteExit(ExitReasonValue reason, uint64_t qualification);

  const TargetInformation& information_;
  InputReader reader_;
  const ProgramMutator mutator_;
  std::unique_ptr<Bench> bench_;
  std::array<std::unique_ptr<sim::Comparer>, kMostCpus> comparers_;
  Comparison comparison_;
  lhv::GuestProgram behind_;
  // Remembers the setup of generated programs; runs from reset would make it forget that.
  std::unique_ptr<sim::Comparer> behind_setup_;
  uint64_t digest_ = 0;
};

std::optional<Find> ProgramTarget::RunInput(std::span<const std::byte> bytes) {
  const lhv::GuestProgram* own = reader_.Read(bytes);
  if (own == nullptr) {
    Refuse();
    return std::nullopt;
  }
  const bool thorough = XXH3_64bits(bytes.data(), bytes.size()) % kThoroughOneIn == 0;
  if (bench_) return RunOnBench(*own, thorough);
  return RunWhole(*own);
}

// --- One CPU behind a setup

std::optional<Find> ProgramTarget::RunOnBench(const lhv::GuestProgram& own, bool thorough) {
  const std::optional<BenchDifference> difference = bench_->Run(own.cpus[0], thorough);
  NoteBench(own.cpus[0]);
  if (difference) return Confirm(WholeProgram(information_.form, own), *difference);
  if (!thorough) return std::nullopt;
  const uint64_t first = bench_->Digest();
  bench_->Run(own.cpus[0]);
  if (bench_->Digest() != first) {
    return Find{"not deterministic", "The same input ended in two ways.\n",
                sim::ProgramYaml(WholeProgram(information_.form, own))};
  }
  return JudgeWhole(WholeProgram(information_.form, own));
}

// Lets L1 look at what differs, and asks the machines that count.
std::optional<Find> ProgramTarget::Confirm(lhv::GuestProgram program,
                                           const BenchDifference& difference) {
  lhv::CpuProgram& cpu = program.cpus[0];
  using What = BenchDifference::What;
  switch (difference.what) {
    case What::kField:
      cpu.l1.push_back(
          {.kind = OperationKind::kVmread, .selector = static_cast<uint32_t>(difference.selector)});
      break;
    case What::kMsr:
      cpu.l1.push_back(
          {.kind = OperationKind::kRdmsr, .selector = static_cast<uint32_t>(difference.selector)});
      break;
    case What::kMemory:
      for (const lhv::MemoryBlock& block : cpu.memory) {
        if (block.offset < kFirstInputMemory) continue;
        const size_t words = std::min<size_t>((block.bytes.size() + 7) / 8, 64);
        for (size_t word = 0; word < words; ++word) {
          cpu.l1.push_back({.kind = OperationKind::kReadMemory,
                            .flags = lhv::kValueIsWindowOffset,
                            .selector = sizeof(uint64_t),
                            .value = block.offset + word * sizeof(uint64_t)});
        }
      }
      break;
    case What::kControlRegister:
      cpu.l1.push_back({.kind = OperationKind::kMovFromCr,
                        .selector = static_cast<uint32_t>(difference.selector)});
      break;
    default:
      break;
  }
  cpu.l1_lines.assign(cpu.l1.size(), 0);
  std::optional<Find> find = JudgeWhole(program);
  if (!find && comparison_.likeness == Likeness::kSame) ++reached().unconfirmed;
  return find;
}

// --- Whole programs

std::unique_ptr<sim::Comparer> ProgramTarget::MakeComparer(size_t cpus) {
  auto comparer = std::make_unique<sim::Comparer>(static_cast<uint32_t>(cpus));
  comparer->set_step_limit(kStepLimit);
  comparer->nested().CheckL0MemoryEvery(64);
  // The targets with a bench run L1 without.
  comparer->nested().GiveShadowVmcs();
  return comparer;
}

sim::Comparer& ProgramTarget::ComparerFor(size_t cpus) {
  std::unique_ptr<sim::Comparer>& comparer = comparers_[cpus - 1];
  if (!comparer) comparer = MakeComparer(cpus);
  return *comparer;
}

// Most programs of one CPU begin with the setup of generated ones: they run behind it.
bool ProgramTarget::PutBehindSetup(const lhv::GuestProgram& program) {
  static const auto& setup = *new lhv::GuestProgram(sim::GeneratedSetup());
  const std::vector<Operation>& code = setup.cpus[0].l1;
  const size_t size = setup.cpus[0].run_begin;
  if (program.l1_mode != setup.l1_mode || program.cpus.size() != 1 ||
      program.cpus[0].l1.size() <= size ||
      !std::equal(code.begin(), code.begin() + static_cast<ptrdiff_t>(size),
                  program.cpus[0].l1.begin())) {
    return false;
  }
  const std::vector<lhv::MemoryBlock>& own = program.cpus[0].memory;
  if (!own.empty() && own[0].offset < kFirstInputMemory) return false;
  if (!behind_setup_) {
    behind_setup_ = MakeComparer(1);
    behind_setup_->RememberSetup(setup);
  }
  behind_ = program;
  std::vector<lhv::MemoryBlock>& memory = behind_.cpus[0].memory;
  // In place of those of the setup, which are zeros.
  memory.insert(memory.begin(), setup.cpus[0].memory.size(), lhv::MemoryBlock{});
  return true;
}

std::optional<Find> ProgramTarget::RunWhole(const lhv::GuestProgram& program) {
  std::optional<Find> find;
  if (PutBehindSetup(program)) {
    behind_setup_->CompareBehindSetup(behind_, comparison_);
    // What counts is the program from its beginning.
    if (comparison_.likeness != Likeness::kSame) find = JudgeWhole(program);
  } else {
    find = JudgeWhole(program);
  }
  digest_ = 0;
  for (const sim::CpuResult& cpu : comparison_.nested.cpus) {
    digest_ = XXH3_64bits_withSeed(cpu.log.data(), cpu.log.size() * sizeof(Observation), digest_);
    digest_ += static_cast<uint64_t>(cpu.end);
  }
  for (const sim::CpuResult& cpu : comparison_.keep.cpus) NoteLog(cpu.log);
  return find;
}

std::optional<Find> ProgramTarget::JudgeWhole(const lhv::GuestProgram& program) {
  sim::Comparer& comparer = ComparerFor(program.cpus.size());
  comparer.CompareQuickly(program, comparison_);
  if (comparison_.IsDefect() && comparison_.difference &&
      OneReachedTheStepLimit(*comparison_.difference)) {
    // Events count as steps, and L0 can split one: only one that goes on far beyond is a find.
    comparer.set_step_limit(kFarStepLimit);
    comparer.CompareQuickly(program, comparison_);
    comparer.set_step_limit(kStepLimit);
  }
  switch (comparison_.likeness) {
    case Likeness::kSame:
      return std::nullopt;
    case Likeness::kSameAsOnePolicy:
    case Likeness::kTlbDependent:
      ++reached().ambiguous;
      return std::nullopt;
    case Likeness::kDeclared:
      ++reached().declared;
      return std::nullopt;
    case Likeness::kLeftOpen:
      ++reached().left_open;
      return std::nullopt;
    case Likeness::kDifferent:
      if (!comparison_.nested.defect.empty() || !IsAboutVmcsData(program)) {
        break;
      }
      ++reached().declared;
      return std::nullopt;
  }
  lhv::GuestProgram named = program;
  for (lhv::CpuProgram& cpu : named.cpus) {
    cpu.l1_lines.assign(cpu.l1.size(), 0);
    cpu.l2_lines.assign(cpu.l2.size(), 0);
    for (lhv::MemoryBlock& block : cpu.memory) {
      if (block.name.empty()) block.name = absl::StrCat("at_0x", absl::Hex(block.offset));
    }
  }
  named.name = absl::StrCat("found by ", information_.name);
  return Find{sim::SignatureOf(named, comparison_), sim::DifferenceText(named, comparison_),
              sim::ProgramYaml(named)};
}

// The format of the data in a VMCS region is not architectural, so that a program that reads
// some has no one right log. (nvmx's own generator leaves them alone.)
bool ProgramTarget::IsAboutVmcsData(const lhv::GuestProgram& program) const {
  if (!comparison_.difference) return false;
  const sim::Difference& difference = *comparison_.difference;
  const auto page_of = [&](const Operation& operation) {
    const bool is_offset = (operation.flags & lhv::kValueIsWindowOffset) != 0;
    return PageBase(is_offset ? operation.value + lhv::WindowOf(difference.cpu) : operation.value);
  };
  std::set<uint64_t> regions, tables;
  const lhv::CpuProgram& cpu = program.cpus[difference.cpu];
  for (const std::vector<Operation>* code : {&cpu.l1, &cpu.l2}) {
    for (const Operation& operation : *code) {
      const bool is_region = operation.kind == OperationKind::kInitializeVmxRegion ||
                             operation.kind == OperationKind::kVmxon ||
                             operation.kind == OperationKind::kVmclear ||
                             operation.kind == OperationKind::kVmptrld ||
                             (operation.kind == OperationKind::kVmwrite &&
                              operation.selector == Encoding(VmcsField::kVmcsLinkPointer));
      if (is_region) regions.insert(page_of(operation));
      // Where the table is then follows from the data.
      const bool loads_table =
          operation.kind == OperationKind::kLgdt || operation.kind == OperationKind::kLidt;
      if (loads_table) tables.insert(page_of(operation));
    }
  }
  const auto has_region = [&](uint64_t page) { return regions.count(page) != 0; };
  if (std::any_of(tables.begin(), tables.end(), has_region)) return true;
  for (const std::optional<Observation>* seen : {&difference.reference, &difference.nested}) {
    if (*seen && (*seen)->kind == ObservationKind::kMemoryValue &&
        has_region(PageBase((*seen)->selector))) {
      return true;
    }
  }
  return false;
}

// --- What was reached

// What L1 reads there need not be from a VM exit: only what can be is noted.
void ProgramTarget::NoteExit(ExitReasonValue reason, uint64_t qualification) {
  const uint32_t flags = reason.value & ~ExitReasonValue::kBasicMask;
  if (!IsExitReason(static_cast<uint16_t>(reason.value)) ||
      (flags & ~ExitReasonValue::kVmEntryFailure) != 0) {
    return;
  }
  Reached& r = reached();
  const size_t basic = std::min<size_t>(reason.value & 0xFFFF, r.exits.size() - 1);
  ++(reason.is_vm_entry_failure() ? r.failures : r.exits)[basic];
  AddFeature(1, reason.value);
  // Which check of the guest state failed, or which entry of the MSR list.
  constexpr uint64_t kMostQualifications = 32;
  if (reason.is_vm_entry_failure()) {
    AddFeature(2, std::min(qualification, kMostQualifications));
  }
}

// What tells kinds of faults apart: all bits of a page fault's error code, and of others all but
// the number of the selector.
uint64_t KindOfErrorCode(uint64_t vector, uint64_t error_code) {
  constexpr uint64_t kPageFaultBits = 0x3F, kSelectorBits = 0x7, kHasSelector = 0x8;
  if (vector == static_cast<uint64_t>(Vector::kPageFault)) return error_code & kPageFaultBits;
  return (error_code & kSelectorBits) | (error_code > kSelectorBits ? kHasSelector : 0);
}

void ProgramTarget::NoteLog(std::span<const Observation> log) {
  Reached& r = reached();
  bool entered = false;
  for (const Observation& o : log) {
    if (o.level == 2) entered = true;
    AddFeature(3, static_cast<uint64_t>(o.kind) << 32 | o.level);
    switch (o.kind) {
      case ObservationKind::kVmfailValid:
        ++r.vmfails[std::min<size_t>(o.value, r.vmfails.size() - 1)];
        AddFeature(4, o.selector << 8 | o.value);
        break;
      case ObservationKind::kVmfailInvalid:
        AddFeature(5, o.selector);
        break;
      case ObservationKind::kFault:
      case ObservationKind::kNmi:
      case ObservationKind::kInterrupt:
        ++r.vectors[o.selector & 0xFF];
        AddFeature(
            6, (o.selector & 0xFF) << 8 | o.level << 16 |
                   (o.kind == ObservationKind::kFault ? KindOfErrorCode(o.selector & 0xFF, o.value)
                                                      : 0));
        break;
      case ObservationKind::kVmExit:
        if (o.selector == Encoding(VmcsField::kExitReason)) {
          NoteExit(ExitReasonValue{static_cast<uint32_t>(o.value)}, 0);
        }
        break;
      default:
        break;
    }
  }
  if (entered) ++r.entered;
}

void ProgramTarget::NoteBench(const lhv::CpuProgram& own) {
  const BenchReached bench = bench_->reached();
  NoteLog(bench.log);
  Reached& r = reached();
  if (bench.entered || bench.exit) ++r.entered;
  if (bench.exit) NoteExit(ExitReasonValue{*bench.exit}, bench.exit_qualification);
  // Which check it was that a VM entry failed: not for what lies behind a first entry.
  const bool failed = std::any_of(bench.log.begin(), bench.log.end(), [](const Observation& o) {
    return o.kind == ObservationKind::kVmfailValid && (o.value == 7 || o.value == 8);
  });
  const bool refused =
      bench.exit &&
      (*bench.exit & 0xFFFF) == static_cast<uint32_t>(ExitReason::kVmEntryFailureInvalidGuestState);
  if (!failed && !refused) return;
  const BrokenRule rule = FirstBrokenRule(Vmcs12Of(information_.form, own));
  ++r.rules[std::min<size_t>(rule.number, Reached::kRules - 1)];
  AddFeature(7, rule.number);
}

}  // namespace

std::unique_ptr<Target> MakeProgramTarget(const TargetInformation& information) {
  return std::make_unique<ProgramTarget>(information);
}

}  // namespace nvmx::fuzz
