// SPDX-License-Identifier: Apache-2.0
#include "core/smp/console.h"

namespace nvmx {

void PrintLine(SmpContext& context, LogLine line, uint64_t argument) {
  context.system.print_lock.Acquire(context.cpu);
  context.trace.Record(TraceKind::kLogLine, static_cast<uint64_t>(line), argument);
  context.system.print_lock.Release(context.cpu);
}

}  // namespace nvmx
