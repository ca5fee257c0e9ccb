// SPDX-License-Identifier: Apache-2.0
//
// What Bochs 2.7 does otherwise; machine_differences.def says why.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_BOCHS_DIFFERENCES_H_
#define NVMX_BACKENDS_SIM_PROGRAM_BOCHS_DIFFERENCES_H_

#include "backends/sim/program/place_of_difference.h"

namespace nvmx::sim {

Explained IsWrittenByFailedEntry(const PlaceOfDifference& place);
Explained IsBehindLengthOfFailedEntry(const PlaceOfDifference& place);
Explained IsMissingMsr(const PlaceOfDifference& place);
Explained IsListOfMissingMsr(const PlaceOfDifference& place);
Explained IsHalfOfSysenterCs(const PlaceOfDifference& place);
Explained IsUncheckedRip(const PlaceOfDifference& place);
Explained IsUncheckedPendingDebugExceptions(const PlaceOfDifference& place);
Explained IsUncheckedTscAux(const PlaceOfDifference& place);
Explained IsMissingCounter(const PlaceOfDifference& place);
Explained IsLostBlocking(const PlaceOfDifference& place);
Explained IsInterruptWhileIfIsClear(const PlaceOfDifference& place);
Explained IsUncheckedPerfGlobalCtrl(const PlaceOfDifference& place);
Explained IsKeptBlockingByNmi(const PlaceOfDifference& place);
Explained IsBlockingByNmi(const PlaceOfDifference& place);
Explained IsInit(const PlaceOfDifference& place);
Explained IsVmcallInRoot(const PlaceOfDifference& place);
Explained IsInjectionOfType7(const PlaceOfDifference& place);
Explained IsQualificationOfRegister(const PlaceOfDifference& place);
Explained IsTableUnderEptFlags(const PlaceOfDifference& place);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_BOCHS_DIFFERENCES_H_
