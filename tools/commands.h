// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_TOOLS_COMMANDS_H_
#define NVMX_TOOLS_COMMANDS_H_

#include <span>
#include <string>
#include <vector>

namespace nvmx::tools {

// One command of nvmx.
struct Command {
  const char* name;
  const char* arguments;  // as the usage line shows them
  const char* summary;
  const char* help;  // what a newcomer has to know
  std::vector<std::string> flags;
  // Called with the arguments that are no flags, after the flags were set. Returns the exit status.
  int (*run)(const std::vector<std::string>& arguments);
};

int RunList(const std::vector<std::string>& arguments);
int RunProgram(const std::vector<std::string>& arguments);
int RunReplay(const std::vector<std::string>& arguments);
int RunExplore(const std::vector<std::string>& arguments);
int RunCompare(const std::vector<std::string>& arguments);
int RunExperiments(const std::vector<std::string>& arguments);
int RunGenerate(const std::vector<std::string>& arguments);
int RunPack(const std::vector<std::string>& arguments);
int RunShow(const std::vector<std::string>& arguments);
int RunExplain(const std::vector<std::string>& arguments);
int RunShrink(const std::vector<std::string>& arguments);
int RunRepro(const std::vector<std::string>& arguments);
int RunVerdicts(const std::vector<std::string>& arguments);

// Prints "nvmx: message" to standard error and returns kBadInput.
int Complain(const std::string& message);

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_COMMANDS_H_
