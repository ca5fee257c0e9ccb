// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_OPERATION_SYNTAX_H_
#define NVMX_LHV_OPERATION_SYNTAX_H_

#include <vector>

#include "lhv/operation_assembler.h"
#include "lhv/program.h"

namespace nvmx::lhv {

// How an operation is written.
struct OperationSyntax {
  const char* name;
  OperationKind kind;  // of macros: of the first operation
  void (OperationAssembler::*append)(const OperationAssembler::Item& item);
  const char* argument;  // what must follow the name; nullptr if it can stand alone
  // Whether L2 can perform it. What takes several instructions is L1's: a VM exit between two of
  // them would leave L2 with L1's scratch register.
  bool in_l2;

  static const std::vector<OperationSyntax>& All();
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OPERATION_SYNTAX_H_
