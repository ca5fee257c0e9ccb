// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/l0_memory.h"

#include <algorithm>
#include <span>

#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/memory_type.h"
#include "xxhash.h"

namespace nvmx::sim {
namespace {

constexpr unsigned kGByteShift = 30;
constexpr size_t kEntries = kPageSize / sizeof(uint64_t);
constexpr uint64_t kCanary = 0xCA9A'12CA'9A12'CA9A;
constexpr uint64_t kWriteBack = static_cast<uint64_t>(MemoryType::kWriteBack);

}  // namespace

L0Memory::L0Memory(Memory& memory, uint32_t cpus)
    : cpus_(cpus), pages_(kSharedPages + cpus * kPagesOfCpu) {
  FillConstantPages();
  digest_ = ConstantPagesDigest();
  memory.MapHostPages(kBase, std::as_writable_bytes(std::span(pages_)));
}

Ept01Mapping L0Memory::Map(GuestPhysicalAddress address) {
  Ept01Mapping mapping{.address = PhysicalAddress{address.value}, .block_shift = kGByteShift};
  if (address.value >= kBase) return mapping;
  mapping.readable = mapping.writable = mapping.executable = true;
  return mapping;
}

void L0Memory::FillConstantPages() {
  constexpr uint64_t kLeaf =
      EptEntry::kPermissions | kWriteBack << EptEntry::kMemoryTypeShift | EptEntry::kLarge;
  pages_[kCanaryBelow].words.fill(kCanary);
  for (size_t table = 0; table < kPdptPages; ++table) {
    pages_[kPml4].words[table] = AddressOf(kPdpts + table).value | EptEntry::kPermissions;
    for (size_t entry = 0; entry < kEntries; ++entry) {
      const uint64_t address = (table * kEntries + entry) << kGByteShift;
      pages_[kPdpts + table].words[entry] = address == kBase ? 0 : address | kLeaf;
    }
  }
  for (uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    pages_[FirstPageOf(cpu) + kHostPageCount].words.fill(kCanary);
  }
}

uint64_t L0Memory::ConstantPagesDigest() const {
  uint64_t digest = XXH3_64bits(pages_.data(), kSharedPages * sizeof(HostPage));
  for (uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    digest = XXH3_64bits_withSeed(&pages_[FirstPageOf(cpu) + kHostPageCount], sizeof(HostPage),
                                  digest);
  }
  return digest;
}

uint64_t L0Memory::Ept01Pointer() {
  constexpr uint64_t kFourLevels = uint64_t{3} << Eptp::kWalkLengthShift;
  return AddressOf(kPml4).value | kWriteBack | kFourLevels;
}

bool L0Memory::IsDamaged() const { return ConstantPagesDigest() != digest_; }

HostPages L0Memory::HostPagesOf(uint32_t cpu) {
  const size_t first = FirstPageOf(cpu);
  return {std::span(pages_).subspan(first, kHostPageCount), AddressOf(first)};
}

void L0Memory::ClearHostPages(uint32_t cpu, size_t used) {
  for (HostPage& page : HostPagesOf(cpu).pages.first(std::min(used, kHostPageCount))) {
    page.words.fill(0);
  }
}

void L0Memory::ConfigureVmcs01(Vcpu& vcpu) {
  nvmx::Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t secondary = vmcs.Read(VmcsField::kSecondaryProcessorBasedControls);
  vmcs.Write(VmcsField::kSecondaryProcessorBasedControls, secondary | Secondary::kEnableEpt);
  vmcs.Write(VmcsField::kEptPointer, Ept01Pointer());
}

}  // namespace nvmx::sim
