// SPDX-License-Identifier: Apache-2.0
#include "core/nested/ept02_pages.h"

#include <algorithm>

namespace nvmx {
namespace {

uint64_t PageCount(const HostPages& host) {
  return std::min<uint64_t>(host.pages.size() - kFirstEpt02Page, kMostEpt02Pages);
}

}  // namespace

std::optional<PhysicalAddress> AllocateEpt02Page(Vcpu& vcpu) {
  Ept02State& state = vcpu.state.ept02;
  if (state.first_free != 0) {
    const PhysicalAddress page{state.first_free};
    uint64_t& link = vcpu.host_pages.At(page).words[0];
    state.first_free = link;
    link = 0;
    return page;
  }
  if (state.pages_begun == PageCount(vcpu.host_pages)) return std::nullopt;
  return vcpu.host_pages.AddressOf(kFirstEpt02Page + state.pages_begun++);
}

void FreeEpt02Page(Vcpu& vcpu, PhysicalAddress page) {
  Ept02State& state = vcpu.state.ept02;
  HostPage& contents = vcpu.host_pages.At(page);
  contents.words.fill(0);
  contents.words[0] = state.first_free;
  state.first_free = page.value;
}

}  // namespace nvmx
