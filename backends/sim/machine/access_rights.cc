// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/access_rights.h"

#include "core/vmx/ept.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/exception.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

bool UserModeAllows(const Mapping& page, AccessKind kind) {
  if (!page.user) return false;
  switch (kind) {
    case AccessKind::kRead:
      return true;
    case AccessKind::kWrite:
      return page.writable;
    case AccessKind::kFetch:
      return !page.no_execute;
  }
  return false;
}

bool SupervisorModeAllows(const TranslationContext& context, const Mapping& page, AccessKind kind) {
  if (kind == AccessKind::kFetch) {
    const bool prevented = page.user && (context.cr4 & Cr4::kSmep) != 0;
    return !prevented && !page.no_execute;
  }
  if (page.user && (context.cr4 & Cr4::kSmap) != 0) {
    const bool overridden = (context.rflags & Rflags::kAc) != 0 && !context.implicit;
    if (!overridden) return false;
  }
  return kind == AccessKind::kRead || page.writable || (context.cr0 & Cr0::kWp) == 0;
}

}  // namespace

bool PagingAllows(const TranslationContext& context, const Mapping& page, AccessKind kind) {
  return context.user ? UserModeAllows(page, kind) : SupervisorModeAllows(context, page, kind);
}

uint32_t PageFaultErrorCodeOf(const TranslationContext& context, AccessKind kind) {
  uint32_t code = 0;
  if (kind == AccessKind::kWrite) code |= PageFaultErrorCode::kWr;
  if (context.user) code |= PageFaultErrorCode::kUs;
  const bool fetches_are_checked =
      (context.cr4 & Cr4::kSmep) != 0 ||
      ((context.cr4 & Cr4::kPae) != 0 && (context.efer & Efer::kNxe) != 0);
  if (kind == AccessKind::kFetch && fetches_are_checked) code |= PageFaultErrorCode::kId;
  return code;
}

uint64_t EptPermissionFor(AccessKind kind) {
  switch (kind) {
    case AccessKind::kRead:
      return EptEntry::kRead;
    case AccessKind::kWrite:
      return EptEntry::kWrite;
    case AccessKind::kFetch:
      return EptEntry::kExecute;
  }
  return 0;
}

}  // namespace nvmx::sim
