// SPDX-License-Identifier: Apache-2.0
#include "core/nested/ept02.h"

#include <algorithm>
#include <optional>

#include "core/nested/ept02_pages.h"
#include "core/x86/memory_type.h"

namespace nvmx {
namespace {

constexpr size_t kRoots = Ept02State::kRoots;

std::array<Ept02Root, kRoots>& Roots(Vcpu& vcpu) { return vcpu.state.ept02.roots; }

Ept02Table TableOf(const Ept02Root& root) {
  return {PhysicalAddress{root.table}, Eptp::WalkLength(root.context)};
}

// The EPT pointer that VMCS02 has for it.
uint64_t EptpOf(const Ept02Root& root) {
  return root.table | static_cast<uint64_t>(MemoryType::kWriteBack) |
         (root.context & (Eptp::kWalkLength | Eptp::kAccessedAndDirty));
}

void ForgetCachedTranslations(Vcpu& vcpu, const Ept02Root& root) {
  vcpu.ports.cpu.Invalidate({.kind = Invalidation::Kind::kEptSingleContext, .eptp = EptpOf(root)});
}

// The EPT02 is no more; those behind it move up.
void DropRoot(Vcpu& vcpu, size_t n) {
  auto& roots = Roots(vcpu);
  ForgetCachedTranslations(vcpu, roots[n]);
  ClearEpt02Table(vcpu, TableOf(roots[n]));
  FreeEpt02Page(vcpu, PhysicalAddress{roots[n].table});
  std::move(roots.begin() + n + 1, roots.end(), roots.begin() + n);
  roots.back() = {};
}

size_t RootCount(Vcpu& vcpu) {
  const auto& roots = Roots(vcpu);
  return static_cast<size_t>(std::count_if(
      roots.begin(), roots.end(), [](const Ept02Root& root) { return root.context != 0; }));
}

void DropLeastRecentlyUsed(Vcpu& vcpu) { DropRoot(vcpu, RootCount(vcpu) - 1); }

// An EPT02 that maps nothing, in front of all others.
void MakeRoot(Vcpu& vcpu, uint64_t context) {
  if (RootCount(vcpu) == kRoots) DropLeastRecentlyUsed(vcpu);
  std::optional<PhysicalAddress> table = AllocateEpt02Page(vcpu);
  while (!table) {
    DropLeastRecentlyUsed(vcpu);
    table = AllocateEpt02Page(vcpu);
  }
  auto& roots = Roots(vcpu);
  std::move_backward(roots.begin(), roots.end() - 1, roots.end());
  roots.front() = {context, table->value};
}

}  // namespace

uint64_t UseEpt02(Vcpu& vcpu, uint64_t eptp12) {
  auto& roots = Roots(vcpu);
  const uint64_t context = Ept02Context(eptp12);
  const auto found = std::find_if(roots.begin(), roots.end(), [context](const Ept02Root& root) {
    return root.context == context;
  });
  if (found == roots.end()) {
    MakeRoot(vcpu, context);
  } else {
    std::rotate(roots.begin(), found, found + 1);
  }
  return EptpOf(roots.front());
}

void MapInEpt02(Vcpu& vcpu, GuestPhysicalAddress address, const Ept02Leaf& leaf) {
  for (;;) {
    const Ept02Root& root = Roots(vcpu).front();
    switch (PutEpt02Leaf(vcpu, TableOf(root), address, leaf)) {
      case Ept02Change::kDone:
        return;
      case Ept02Change::kStructureChanged:
        ForgetCachedTranslations(vcpu, root);
        return;
      case Ept02Change::kNoPage:
        break;
    }
    if (RootCount(vcpu) > 1) {
      DropLeastRecentlyUsed(vcpu);
    } else {
      EmptyEpt02s(vcpu);
    }
  }
}

void DropFromEpt02(Vcpu& vcpu, GuestPhysicalAddress address) {
  DropEpt02Leaf(vcpu, TableOf(Roots(vcpu).front()), address);
}

void DropEpt02sOf(Vcpu& vcpu, uint64_t eptp12) {
  for (size_t n = RootCount(vcpu); n-- > 0;) {
    if (Eptp::Ep4ta(Roots(vcpu)[n].context) == Eptp::Ep4ta(eptp12)) DropRoot(vcpu, n);
  }
}

void DropAllEpt02s(Vcpu& vcpu) {
  while (RootCount(vcpu) != 0) DropLeastRecentlyUsed(vcpu);
}

void DropFromEpt02sWhatLeadsTo(Vcpu& vcpu, PhysicalAddress first, uint64_t bytes) {
  for (size_t n = 0; n < RootCount(vcpu); ++n) {
    const Ept02Root& root = Roots(vcpu)[n];
    if (DropEpt02LeavesTo(vcpu, TableOf(root), first, bytes)) {
      ForgetCachedTranslations(vcpu, root);
    }
  }
}

void EmptyEpt02s(Vcpu& vcpu) {
  while (RootCount(vcpu) > 1) DropLeastRecentlyUsed(vcpu);
  if (RootCount(vcpu) == 0) return;
  const Ept02Root& root = Roots(vcpu).front();
  ClearEpt02Table(vcpu, TableOf(root));
  ForgetCachedTranslations(vcpu, root);
}

}  // namespace nvmx
