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
constexpr unsigned k2MByteShift = 21;
constexpr size_t kEntries = kPageSize / sizeof(uint64_t);
constexpr uint64_t kCanary = 0xCA9A'12CA'9A12'CA9A;
constexpr uint64_t kWriteBack = static_cast<uint64_t>(MemoryType::kWriteBack);

}  // namespace

L0Memory::L0Memory(Memory& memory, uint32_t cpus, const Capabilities& hardware)
    : cpus_(cpus),
      base_(BaseFor(hardware.physical_address_width)),
      block_shift_((hardware.ept_vpid_cap & EptVpidCap::k1GByteMapping) != 0 ? kGByteShift
                                                                             : k2MByteShift),
      shared_pages_(kPageDirectories + (block_shift_ == kGByteShift ? 0 : base_ >> kGByteShift)),
      pages_(shared_pages_ + cpus * kPagesOfCpu) {
  FillConstantPages();
  digest_ = ConstantPagesDigest();
  memory.MapHostPages(base_, std::as_writable_bytes(std::span(pages_)));
}

Ept01Mapping L0Memory::Map(GuestPhysicalAddress address) const {
  Ept01Mapping mapping{.address = PhysicalAddress{address.value}, .block_shift = block_shift_};
  if (address.value >= base_) return mapping;
  mapping.readable = mapping.writable = mapping.executable = true;
  return mapping;
}

uint64_t L0Memory::MakePdpte(uint64_t address) {
  constexpr uint64_t kLeaf =
      EptEntry::kPermissions | kWriteBack << EptEntry::kMemoryTypeShift | EptEntry::kLarge;
  if (address >= base_) return 0;
  if (block_shift_ == kGByteShift) return address | kLeaf;
  const size_t directory = kPageDirectories + (address >> kGByteShift);
  for (size_t entry = 0; entry < kEntries; ++entry) {
    pages_[directory].words[entry] = (address + (entry << k2MByteShift)) | kLeaf;
  }
  return AddressOf(directory).value | EptEntry::kPermissions;
}

void L0Memory::FillConstantPages() {
  pages_[kCanaryBelow].words.fill(kCanary);
  for (size_t table = 0; table < kPdptPages; ++table) {
    pages_[kPml4].words[table] = AddressOf(kPdpts + table).value | EptEntry::kPermissions;
    for (size_t entry = 0; entry < kEntries; ++entry) {
      pages_[kPdpts + table].words[entry] = MakePdpte((table * kEntries + entry) << kGByteShift);
    }
  }
  for (uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    pages_[FirstPageOf(cpu) + kCanaryOfCpu].words.fill(kCanary);
  }
}

uint64_t L0Memory::ConstantPagesDigest() const {
  uint64_t digest = XXH3_64bits(pages_.data(), shared_pages_ * sizeof(HostPage));
  for (uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    digest =
        XXH3_64bits_withSeed(&pages_[FirstPageOf(cpu) + kCanaryOfCpu], sizeof(HostPage), digest);
  }
  return digest;
}

uint64_t L0Memory::Ept01PointerAt(uint64_t base) {
  constexpr uint64_t kFourLevels = uint64_t{3} << Eptp::kWalkLengthShift;
  return (base + kPml4 * kPageSize) | kWriteBack | kFourLevels;
}

bool L0Memory::IsDamaged() const { return ConstantPagesDigest() != digest_; }

HostPages L0Memory::HostPagesOf(uint32_t cpu) {
  const size_t first = FirstPageOf(cpu);
  return {std::span(pages_).subspan(first, kHostPageCount), AddressOf(first)};
}

HostPages L0Memory::ShadowPagesOf(uint32_t cpu) {
  const size_t first = FirstPageOf(cpu) + kHostPageCount;
  return {std::span(pages_).subspan(first, kShadowPageCount), AddressOf(first)};
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
