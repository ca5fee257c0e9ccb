// SPDX-License-Identifier: Apache-2.0
//
// What a translation costs that is cached, and one that is walked.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backends/sim/machine/guest_tables.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/mmu.h"
#include "benchmark/benchmark.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/ept.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kHost = 0x4000'0000;
constexpr uint64_t kData = lhv::kWindowBase + lhv::kFirstBlock;

// The paging of a guest program, and EPT that maps the first 2 MBytes in pages of 4 KBytes.
class Machine {
 public:
  explicit Machine(bool ept) {
    capabilities_.physical_address_width = 40;
    capabilities_.ept_vpid_cap = EptVpidCap::k2MByteMapping | EptVpidCap::k1GByteMapping;
    WriteGuestTables(memory, 0);
    context.cr0 = Cr0::kPe | Cr0::kPg | Cr0::kWp;
    context.cr3 = lhv::kWindowBase + lhv::kPageTableOffset;
    context.cr4 = Cr4::kPae;
    context.efer = Efer::kLme | Efer::kLma;
    memory.MapHostPages(kHost, std::as_writable_bytes(std::span(host_)));
    constexpr uint64_t kWriteBack = uint64_t{6} << EptEntry::kMemoryTypeShift;
    for (uint64_t level = 0; level < 3; ++level) {
      host_[level * 512] = (kHost + (level + 1) * kPageSize) | EptEntry::kPermissions;
    }
    for (uint64_t page = 0; page < 512; ++page) {
      host_[3 * 512 + page] = page << kPageShift | EptEntry::kPermissions | kWriteBack;
    }
    context.ept = ept;
    context.eptp = kHost | uint64_t{3} << Eptp::kWalkLengthShift | 6;
    context.vpid = 1;
  }

  Memory memory{1};
  TranslationContext context{};

 private:
  Capabilities capabilities_;
  std::vector<uint64_t> host_ = std::vector<uint64_t>(4 * kPageSize / sizeof(uint64_t));

 public:
  Mmu mmu{memory, capabilities_};
};

// Reads 8 bytes from `pages` pages in turn.
void Read(benchmark::State& state, bool ept, bool keep) {
  Machine machine(ept);
  machine.mmu.KeepTranslations(keep);
  const auto pages = static_cast<uint64_t>(state.range(0));
  uint64_t page = 0;
  uint64_t value = 0;
  for (auto _ : state) {
    const auto fault = machine.mmu.Read(machine.context, kData + page * kPageSize,
                                        std::as_writable_bytes(std::span(&value, 1)));
    if (fault) state.SkipWithError("fault");
    benchmark::DoNotOptimize(value);
    page = page + 1 == pages ? 0 : page + 1;
  }
}

void Hit(benchmark::State& state) { Read(state, false, true); }
void HitWithEpt(benchmark::State& state) { Read(state, true, true); }
void Walk(benchmark::State& state) { Read(state, false, false); }
void WalkWithEpt(benchmark::State& state) { Read(state, true, false); }
BENCHMARK(Hit)->Arg(1)->Arg(64);
BENCHMARK(HitWithEpt)->Arg(1)->Arg(64);
BENCHMARK(Walk)->Arg(1);
BENCHMARK(WalkWithEpt)->Arg(1);

// The translation alone.
void Translate(benchmark::State& state) {
  Machine machine(true);
  for (auto _ : state) {
    uint64_t physical = 0;
    if (machine.mmu.Translate(machine.context, kData, AccessKind::kFetch, physical)) {
      state.SkipWithError("fault");
    }
    benchmark::DoNotOptimize(physical);
  }
}
BENCHMARK(Translate);

// What a program of a few pages leaves behind, cleared for the next.
void Clear(benchmark::State& state) {
  Machine machine(true);
  for (auto _ : state) {
    uint64_t value = 0;
    for (uint64_t page = 0; page < 8; ++page) {
      if (machine.mmu.Write(machine.context, kData + page * kPageSize,
                            std::as_bytes(std::span(&value, 1)))) {
        state.SkipWithError("fault");
      }
    }
    machine.mmu.tlb().Clear();
  }
}
BENCHMARK(Clear);

}  // namespace
}  // namespace nvmx::sim
