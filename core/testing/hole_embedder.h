// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_HOLE_EMBEDDER_H_
#define NVMX_CORE_TESTING_HOLE_EMBEDDER_H_

#include <cstdint>

#include "core/nested/embedder.h"

namespace nvmx {

// An EPT01 that maps every page `shift` bytes further up, but for one. Compiled where RTTI is off,
// as its base class is.
class EmbedderWithHole final : public Embedder {
 public:
  struct Map {
    uint64_t shift = 0;
    uint64_t hole = ~uint64_t{0};
    bool hole_is_readable = false;
  };
  explicit EmbedderWithHole(const Map& map);
  void Change(const Map& map) { map_ = map; }

  Ept01Mapping MapEpt01(const Vcpu& vcpu, GuestPhysicalAddress address) const override;

 private:
  Map map_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_HOLE_EMBEDDER_H_
