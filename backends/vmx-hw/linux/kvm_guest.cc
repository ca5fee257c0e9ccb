// SPDX-License-Identifier: Apache-2.0
//
// Runs a guest of a few instructions by /dev/kvm, and says how many ticks of the time-stamp counter
// one CPUID of the guest, which is a VM exit to KVM, takes. Documentation of Linux, "The Definitive
// KVM (Kernel-based Virtual Machine) API Documentation".
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr uint32_t kRounds = 1000;
constexpr uint16_t kPort = 0x10;
constexpr uint64_t kCode = 0x1000;
constexpr size_t kMemoryBytes = 0x2000;

// 16-bit code, in real mode: the ticks of kRounds times CPUID go to the port, as 32 bits.
constexpr uint8_t kGuest[] = {
    0x0F, 0x31,                                // rdtsc
    0x66, 0x89, 0xC7,                          // mov %eax, %edi
    0x66, 0xBE, kRounds & 0xFF, kRounds >> 8,  // mov $kRounds, %esi
    0x00, 0x00,                                //
    0x66, 0x31, 0xC0,                          // 1: xor %eax, %eax
    0x0F, 0xA2,                                // cpuid
    0x66, 0x4E,                                // dec %esi
    0x75, 0xF7,                                // jnz 1b
    0x0F, 0x31,                                // rdtsc
    0x66, 0x29, 0xF8,                          // sub %edi, %eax
    0x66, 0xE7, kPort,                         // out %eax, $kPort
    0xF4,                                      // hlt
};
static_assert(kRounds <= 0xFFFF && kPort <= 0xFF);

[[noreturn]] void Fail(const char* what) {
  std::printf("kvm_guest: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int Call(const char* what, int file, unsigned long request, void* argument) {
  const int result = ioctl(file, request, argument);
  if (result < 0) Fail(what);
  return result;
}

int MakeVm(int kvm) {
  const int vm = Call("KVM_CREATE_VM", kvm, KVM_CREATE_VM, nullptr);
  void* const memory =
      mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap of the guest's memory");
  std::memcpy(static_cast<uint8_t*>(memory) + kCode, kGuest, sizeof kGuest);
  kvm_userspace_memory_region region{};
  region.memory_size = kMemoryBytes;
  region.userspace_addr = reinterpret_cast<uintptr_t>(memory);
  Call("KVM_SET_USER_MEMORY_REGION", vm, KVM_SET_USER_MEMORY_REGION, &region);
  return vm;
}

void StartAtCode(int vcpu) {
  kvm_sregs sregs{};
  Call("KVM_GET_SREGS", vcpu, KVM_GET_SREGS, &sregs);
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  Call("KVM_SET_SREGS", vcpu, KVM_SET_SREGS, &sregs);
  kvm_regs regs{};
  regs.rip = kCode;
  regs.rflags = 2;
  Call("KVM_SET_REGS", vcpu, KVM_SET_REGS, &regs);
}

// Runs the guest up to its next exit to this program, which must be of that kind.
void RunUntil(int vcpu, const kvm_run& run, uint32_t wanted, const char* what) {
  Call("KVM_RUN", vcpu, KVM_RUN, nullptr);
  if (run.exit_reason == wanted) return;
  std::printf("kvm_guest: the guest ends with exit reason %u of KVM instead of %s (%u)\n",
              run.exit_reason, what, wanted);
  std::exit(1);
}

}  // namespace

int main() {
  const int kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0) Fail("/dev/kvm");
  const int vm = MakeVm(kvm);
  const int vcpu = Call("KVM_CREATE_VCPU", vm, KVM_CREATE_VCPU, nullptr);
  const int bytes = Call("KVM_GET_VCPU_MMAP_SIZE", kvm, KVM_GET_VCPU_MMAP_SIZE, nullptr);
  void* const mapped =
      mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (mapped == MAP_FAILED) Fail("mmap of the virtual CPU");
  const auto* const run = static_cast<const kvm_run*>(mapped);
  StartAtCode(vcpu);

  RunUntil(vcpu, *run, KVM_EXIT_IO, "KVM_EXIT_IO");
  if (run->io.port != kPort || run->io.size != sizeof(uint32_t)) {
    std::printf("kvm_guest: the guest writes %u bytes to port %u\n", run->io.size, run->io.port);
    return 1;
  }
  uint32_t ticks = 0;
  std::memcpy(&ticks, static_cast<const uint8_t*>(mapped) + run->io.data_offset, sizeof ticks);
  RunUntil(vcpu, *run, KVM_EXIT_HLT, "KVM_EXIT_HLT");
  std::printf("kvm_guest: the guest has run; %u ticks for each of %u CPUID exits\n",
              ticks / kRounds, kRounds);
  return 0;
}
