// SPDX-License-Identifier: Apache-2.0
#include "core/nested/msr_bitmap.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "core/nested/entry_conditions.h"
#include "core/nested/msr_kinds.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/preemption_timer.h"
#include "core/vmx/bitmaps.h"
#include "core/vmx/controls.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

constexpr void Intercept(HostPage& page, uint32_t msr, bool write) {
  constexpr uint32_t kBits = 64;
  const std::optional<uint32_t> bit = MsrBitmapBit(msr, write);
  if (bit) page.words[*bit / kBits] |= uint64_t{1} << *bit % kBits;
}

struct BitmapWord {
  size_t index;
  uint64_t bits;
};

consteval HostPage WhatL0Intercepts() {
  HostPage page{};
  for (const MsrRange& range : kInterceptedMsrs) {
    for (uint32_t msr = range.first; msr <= range.last; ++msr) {
      for (bool write : {false, true}) Intercept(page, msr, write);
    }
  }
  return page;
}

constexpr bool IsUsed(uint64_t word) { return word != 0; }
constexpr size_t kInterceptedWords =
    static_cast<size_t>(std::ranges::count_if(WhatL0Intercepts().words, &IsUsed));

// Few words of the page have bits, and each entry of L2 needs them.
consteval std::array<BitmapWord, kInterceptedWords> WordsThatL0Intercepts() {
  const HostPage page = WhatL0Intercepts();
  std::array<BitmapWord, kInterceptedWords> words{};
  size_t count = 0;
  for (size_t n = 0; n < page.words.size(); ++n) {
    if (IsUsed(page.words[n])) words[count++] = {n, page.words[n]};
  }
  return words;
}
constexpr auto kWordsThatL0Intercepts = WordsThatL0Intercepts();

void AddWhatL0Intercepts(HostPage& page, const Capabilities& offered) {
  for (const BitmapWord& word : kWordsThatL0Intercepts) page.words[word.index] |= word.bits;
  // The processor would take LME, and then PG: a guest in IA-32e mode, which an L0 outside it
  // cannot enter.
  if (!OffersIa32eMode(offered)) Intercept(page, Index(Msr::IA32_EFER), /*write=*/true);
}

}  // namespace

void FillMsrBitmap01(Vcpu& vcpu) {
  if (vcpu.host_pages.pages.empty()) return;
  HostPage& page = vcpu.host_pages.pages[kMsrBitmap01Page];
  page.words.fill(0);
  AddWhatL0Intercepts(page, vcpu.state.offered);
}

void MergeMsrBitmap(Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  if (vcpu.host_pages.pages.empty() || !HasPrimary(vmcs12, PrimaryProcessorBased::kUseMsrBitmaps)) {
    return;
  }
  HostPage& page = vcpu.host_pages.pages[kMsrBitmapPage];
  const GuestPhysicalAddress of_l1{vmcs12.Get<VmcsField::kMsrBitmapAddress>()};
  if (!vcpu.ports.memory.Read(of_l1, std::as_writable_bytes(std::span(page.words)))) {
    page.words.fill(~uint64_t{0});
    return;
  }
  AddWhatL0Intercepts(page, vcpu.state.offered);
  // The timer that L0 keeps as a moment of the TSC has to follow.
  if (L1UsesPreemptionTimer(vcpu)) {
    Intercept(page, Index(Msr::IA32_TIME_STAMP_COUNTER), /*write=*/true);
  }
}

}  // namespace nvmx
