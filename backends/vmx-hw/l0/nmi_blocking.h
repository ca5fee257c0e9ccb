// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_NMI_BLOCKING_H_
#define NVMX_BACKENDS_VMX_HW_L0_NMI_BLOCKING_H_

namespace nvmx::metal {

// Whether an exit has found the guest with NMIs blocked, told from what the processor saves. A VM
// entry ends blocking that the guest state does not have (SDM Vol. 3C, 27.6.1 "Interruptibility
// State"); Bochs 2.7 keeps it from one guest to the next, until an IRET of some guest's, and saves
// it as the state of a guest that never was blocked.
class NmiBlocking {
 public:
  // Whether BeforeEntry() has anything to learn: only blocking that the processor has shown can
  // outlive its guest.
  bool platform_blocks() const { return platform_blocks_; }
  // What the guest is entered with: blocking, or an NMI that blocks.
  void BeforeEntry(bool blocked, bool injects_nmi) { guest_can_block_ = blocked || injects_nmi; }
  // Whether NMIs are blocked in the guest that exits; `saved` is what the processor says.
  bool AfterExit(bool saved) {
    const bool blocked = saved && (!platform_blocks_ || guest_can_block_);
    platform_blocks_ = saved;
    return blocked;
  }

 private:
  bool platform_blocks_ = false;
  bool guest_can_block_ = false;
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_NMI_BLOCKING_H_
