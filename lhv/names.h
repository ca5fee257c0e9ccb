// SPDX-License-Identifier: Apache-2.0
//
// The names by which the text of a guest program, and what is printed about it, call fields, MSRs
// and controls. They are those of the enumerators: VmcsField::kVmEntryMsrLoadAddress is
// VM_ENTRY_MSR_LOAD_ADDRESS, Msr::IA32_PAT is IA32_PAT.
#ifndef NVMX_LHV_NAMES_H_
#define NVMX_LHV_NAMES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace nvmx::lhv {

// The encoding of the field with this name, or, for the name of a 64-bit field with _HIGH after it,
// that of its high half.
std::optional<uint32_t> FieldByName(const std::string& name);
// The name; the encoding in hexadecimal if there is no such field.
std::string FieldText(uint32_t encoding);
// All names but the _HIGH ones.
const std::vector<std::string>& FieldNames();

// The index of the MSR with this SDM name. The banks are numbered: IA32_MTRR_PHYSBASE6,
// IA32_MC2_CTL.
std::optional<uint32_t> MsrByName(const std::string& name);
// The name; the index in hexadecimal if the project has none for it.
std::string MsrText(uint32_t index);
// All names.
const std::vector<std::string>& MsrNames();

// True if the encoding is that of a field whose bits have names and a capability MSR.
bool IsControlField(uint32_t encoding);
// The names of these fields.
std::vector<std::string> ControlFieldNames();
// The bit of the control field with this name, such as NMI_EXITING.
std::optional<uint64_t> ControlBitByName(uint32_t encoding, const std::string& name);
// The names of all bits of the control field.
std::vector<std::string> ControlBitNames(uint32_t encoding);
// The names of the bits that are 1, joined by " | ", and what has no name in hexadecimal; "0" if
// there are none.
std::string ControlBitsText(uint32_t encoding, uint64_t bits);

// The candidate that a person is likely to have meant by `name`: one that few letters tell from it,
// or that begins with it. "" if there is none.
std::string NearestName(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_NAMES_H_
