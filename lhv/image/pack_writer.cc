// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/pack_writer.h"

#include <cstddef>
#include <cstdint>

#include "lhv/image/program_pack.h"
#include "lhv/program_codec.h"

namespace nvmx::lhv {
namespace {

void PutNumber(std::string& pack, size_t number) {
  for (unsigned byte = 0; byte < sizeof(uint32_t); ++byte) {
    pack += static_cast<char>(number >> 8 * byte & 0xFF);
  }
}

}  // namespace

std::string WritePack(const std::vector<NamedProgram>& programs) {
  std::string pack(kPackMagic, sizeof kPackMagic);
  PutNumber(pack, programs.size());
  for (const NamedProgram& named : programs) {
    const std::vector<std::byte> bytes = EncodeProgram(named.program);
    PutNumber(pack, named.name.size());
    PutNumber(pack, bytes.size());
    pack += named.name;
    pack.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return pack;
}

}  // namespace nvmx::lhv
