// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/local_model.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace nvmx::sim {
namespace {

bool NamesCpu(CellKind kind) { return kind == CellKind::kCpu || kind == CellKind::kLock; }

}  // namespace

absl::StatusOr<std::unique_ptr<LocalModel>> LocalModel::Create(const Scenario& scenario,
                                                               uint32_t cpu) {
  std::unique_ptr<LocalModel> model(new LocalModel(scenario, cpu));
  absl::StatusOr<std::unique_ptr<Machine>> machine =
      BuildMachine(scenario, /*keep_trace=*/false, /*enable_keys=*/true);
  if (!machine.ok()) return machine.status();
  model->machine_ = *std::move(machine);
  model->machine_->IsolateCpu();
  for (const CellPlace& place : model->machine_->cells()) {
    if (place.cpu != CellPlace::kSystem && place.cpu != cpu) continue;
    model->cells_.push_back({place.cell->name(), place.cell->kind(), place.cpu == cpu});
    model->cell_pointers_.push_back(place.cell);
    if (place.cell->kind() == CellKind::kBlock) {
      const std::span<std::byte> bytes = place.cell->bytes();
      model->block_contents_.emplace_back(bytes.begin(), bytes.end());
    }
  }
  model->machine_->cpu(cpu).SaveStart();
  model->Intern(0, Choice::kStep, 0);
  return model;
}

void LocalModel::Fail(const std::string& why) {
  if (status_.ok()) {
    status_ = absl::FailedPreconditionError(
        absl::StrCat(scenario_.name, " cannot be explored: CPU ", cpu_, " ", why,
                     ". It can still be replayed and run"));
  }
}

CellValue LocalModel::ReadCell(uint8_t number) {
  SharedCell* cell = cell_pointers_[number];
  if (cell->kind() == CellKind::kBlock) {
    const std::span<std::byte> bytes = cell->bytes();
    for (size_t content = 0; content < block_contents_.size(); ++content) {
      if (std::equal(bytes.begin(), bytes.end(), block_contents_[content].begin())) {
        return static_cast<CellValue>(content);
      }
    }
    block_contents_.emplace_back(bytes.begin(), bytes.end());
    return static_cast<CellValue>(block_contents_.size() - 1);
  }
  const uint64_t value = cell->Peek();
  if (NamesCpu(cell->kind())) {
    return value == 0 ? kNobody : value == cpu_ + 1 ? kSelf : kOther;
  }
  constexpr uint64_t kMost = 15;
  if (value > kMost) Fail(absl::StrCat("gives ", cell->name(), " a value above ", kMost));
  return static_cast<CellValue>(value);
}

void LocalModel::WriteCell(uint8_t number, CellValue value) {
  SharedCell* cell = cell_pointers_[number];
  const std::span<std::byte> bytes = cell->bytes();
  if (cell->kind() == CellKind::kBlock) {
    std::copy(block_contents_[value].begin(), block_contents_[value].end(), bytes.begin());
    return;
  }
  uint64_t word = value;
  if (NamesCpu(cell->kind()) && value != kNobody) {
    const uint32_t other = cpu_ == 0 ? 1 : 0;
    word = (value == kSelf ? cpu_ : other) + 1;
  }
  std::memcpy(bytes.data(), &word, sizeof word);
}

void LocalModel::Make(Choice choice, CellValue value) {
  SimCpu& cpu = machine_->cpu(cpu_);
  const LocalStateInfo& info = states_[cursor_].info;
  if (choice == Choice::kTakeNmi) {
    cpu.latch().Put(NmiSource::kGuest);
  } else if (info.cell != kNoCell) {
    WriteCell(info.cell, info.kind == PointKind::kSpin ? info.wanted : value);
  }
  cpu.Advance(choice);
}

void LocalModel::GoTo(LocalState state) {
  if (cursor_ == state) return;
  std::vector<LocalState> path;
  for (LocalState at = state; at != 0; at = states_[at].parent) path.push_back(at);
  machine_->cpu(cpu_).RestoreStart();
  cursor_ = 0;
  for (auto next = path.rbegin(); next != path.rend(); ++next) {
    Make(states_[*next].parent_choice, states_[*next].parent_value);
    cursor_ = *next;
  }
}

LocalState LocalModel::Intern(LocalState parent, Choice choice, CellValue value) {
  SimCpu& cpu = machine_->cpu(cpu_);
  const auto [found, inserted] =
      by_key_.try_emplace(cpu.LocalKey(), static_cast<LocalState>(states_.size()));
  if (!inserted) return found->second;
  const Point& point = cpu.point();
  Known known{};
  known.info = {point.kind,
                point.operation,
                point.comparison == SpinCondition::Comparison::kAtLeast,
                point.acquires() ||
                    (point.kind == PointKind::kAccess && point.operation != SharedOperation::kLoad),
                kNoCell,
                static_cast<CellValue>(point.wanted),
                cpu.CanTakeNmi()};
  if (point.cell != nullptr) {
    const auto place = std::find(cell_pointers_.begin(), cell_pointers_.end(), point.cell);
    known.info.cell = static_cast<uint8_t>(place - cell_pointers_.begin());
    if (place == cell_pointers_.end()) Fail("uses a cell of another CPU");
    if (point.kind == PointKind::kSpin && point.wanted > 15) {
      // Nothing ever has that value: the CPU waits for ever.
      known.info.kind = PointKind::kStopped;
      known.info.cell = kNoCell;
    }
  }
  known.depends = point.kind == PointKind::kAccess && (point.operation == SharedOperation::kLoad ||
                                                       point.operation == SharedOperation::kAdd);
  known.parent = parent;
  known.parent_choice = choice;
  known.parent_value = value;
  states_.push_back(std::move(known));
  return static_cast<LocalState>(states_.size() - 1);
}

const LocalStep* LocalModel::Learn(LocalState state, Choice choice, CellValue value) {
  if (!status_.ok()) return nullptr;
  GoTo(state);
  const LocalStateInfo info = states_[state].info;
  Make(choice, value);
  SimCpu& cpu = machine_->cpu(cpu_);
  LocalStep step{};
  step.effects = cpu.effects();
  if (choice == Choice::kStep && info.cell != kNoCell && info.writes)
    step.new_value = ReadCell(info.cell);
  if (cpu.nmi_context_was_impure()) {
    Fail("changes private state in NMI context, so its states cannot be told apart by their keys");
  }
  if (step.effects.sends_other_ipi) Fail("sends an IPI that is no NMI");
  if (choice == Choice::kStep && info.kind == PointKind::kAccess &&
      info.operation == SharedOperation::kLoad && cells_[info.cell].kind == CellKind::kBlock) {
    block_is_read_ = true;
  }
  if (!status_.ok()) return nullptr;
  step.to = Intern(state, choice, value);
  cursor_ = step.to;
  if (!status_.ok()) return nullptr;
  steps_.push_back(step);
  const auto index = static_cast<int32_t>(steps_.size() - 1);
  Known& known = states_[state];
  if (choice == Choice::kTakeNmi) {
    known.by_nmi = index;
  } else {
    const size_t input = known.depends ? value : 0;
    if (known.by_value.size() <= input) known.by_value.resize(input + 1, -1);
    known.by_value[input] = index;
  }
  return &steps_.back();
}

}  // namespace nvmx::sim
