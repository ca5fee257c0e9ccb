// SPDX-License-Identifier: Apache-2.0
#include "core/testing/hole_embedder.h"

namespace nvmx {

EmbedderWithHole::EmbedderWithHole(const Map& map) : map_(map) {}

Ept01Mapping EmbedderWithHole::MapEpt01(const Vcpu&, GuestPhysicalAddress address) const {
  const bool in_hole = PageBase(address.value) == map_.hole;
  return {.address = PhysicalAddress{address.value + map_.shift},
          .block_shift = kPageShift,
          .readable = !in_hole || map_.hole_is_readable,
          .writable = !in_hole,
          .executable = !in_hole};
}

}  // namespace nvmx
