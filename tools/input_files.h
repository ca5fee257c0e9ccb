// SPDX-License-Identifier: Apache-2.0
//
// The files that commands take: guest programs and schedules, as people write them or as fuzzers
// do.
#ifndef NVMX_TOOLS_INPUT_FILES_H_
#define NVMX_TOOLS_INPUT_FILES_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/schedule.h"
#include "lhv/assembled.h"

namespace nvmx::tools {

// The flag --target says whose fuzzer's inputs the files are; without it they are guest programs in
// their text or binary form, or, if their names end in ".schedule", schedules.

// Whether it is given.
bool TakesInputsOfATarget();

// The files that the arguments name: each itself, or, of a directory, every .yaml file below it;
// with --target, every file.
absl::StatusOr<std::vector<std::string>> InputFiles(const std::vector<std::string>& arguments);

// The guest program in the file; `cpus` as for sim::LoadProgram(). An error names the file, the
// place and the rule.
absl::StatusOr<lhv::GuestProgram> LoadProgramInput(const std::string& path, uint32_t cpus = 0);

using Input = std::variant<lhv::GuestProgram, sim::Schedule>;
absl::StatusOr<Input> LoadInput(const std::string& path);

// The input as a file that all commands take.
std::string InputText(const Input& input);

bool IsScheduleFile(const std::string& path);
// The same for a file that must hold a schedule.
absl::StatusOr<sim::Schedule> LoadScheduleInput(const std::string& path);
// From text that may begin with lines of comment; `name` is for errors.
absl::StatusOr<sim::Schedule> ParseScheduleText(const std::string& name, const std::string& text);

// The bytes of the file. An error names it.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Writes the file as a whole or not at all. An error names it.
absl::Status WriteFile(const std::string& path, const std::string& text);

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_INPUT_FILES_H_
