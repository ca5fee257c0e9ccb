// SPDX-License-Identifier: Apache-2.0
//
// The checks of port_contract.h as tests. A backend includes this header in one of its tests and
// instantiates PortContractTest with a function that runs a check on a machine of its own:
//
//   INSTANTIATE_TEST_SUITE_P(Simulator, PortContractTest, EachCheckOn<SimulatedContractMachine>(),
//                            NameOfCheck);
#ifndef NVMX_CORE_TESTING_PORT_CONTRACT_GTEST_H_
#define NVMX_CORE_TESTING_PORT_CONTRACT_GTEST_H_

#include <string>
#include <vector>

#include "core/testing/port_contract.h"
#include "gtest/gtest.h"

namespace nvmx {

struct CheckOnMachine {
  const ContractCheck* check;
  void (*run)(const ContractCheck& check, ContractReport& report);
};

class PortContractTest : public testing::TestWithParam<CheckOnMachine>, private ContractReport {
 protected:
  void RunCheck() { GetParam().run(*GetParam().check, *this); }

 private:
  void Fail(const char* what, uint64_t found, uint64_t wanted) override {
    ADD_FAILURE() << what << " is " << found << ", not " << wanted;
  }
};

TEST_P(PortContractTest, IsKept) { RunCheck(); }

template <typename Machine>
auto EachCheckOn() {
  std::vector<CheckOnMachine> checks;
  for (const ContractCheck& check : PortContract()) {
    checks.push_back({&check, [](const ContractCheck& run, ContractReport& report) {
                        Machine machine;
                        run.run(machine, report);
                      }});
  }
  return testing::ValuesIn(checks);
}

inline std::string NameOfCheck(const testing::TestParamInfo<CheckOnMachine>& info) {
  return info.param.check->name;
}

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_PORT_CONTRACT_GTEST_H_
