// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_LABELS_H_
#define NVMX_LHV_LABELS_H_

#include <cstdint>
#include <map>
#include <string>

namespace nvmx::lhv {

// The names that a program gives to places in its code, and the index of the operation that is next
// there. An operation can name a place further on, so the code is assembled twice: while the labels
// are not complete, each stands for 0.
struct Labels {
  std::map<std::string, uint64_t> l1;
  std::map<std::string, uint64_t> l2;
  bool complete = false;

  std::map<std::string, uint64_t>& Of(uint32_t level) { return level == 1 ? l1 : l2; }
  const std::map<std::string, uint64_t>& Of(uint32_t level) const { return level == 1 ? l1 : l2; }
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_LABELS_H_
