// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_IMAGE_PACK_WRITER_H_
#define NVMX_LHV_IMAGE_PACK_WRITER_H_

#include <string>
#include <vector>

#include "lhv/assembled.h"

namespace nvmx::lhv {

struct NamedProgram {
  std::string name;
  GuestProgram program;
};

// The programs as a pack (program_pack.h), for a boot module of the image.
std::string WritePack(const std::vector<NamedProgram>& programs);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_PACK_WRITER_H_
