// SPDX-License-Identifier: Apache-2.0
//
// The six ports as gMock classes, for tests that say which calls a piece of code may make.
#ifndef NVMX_CORE_TESTING_MOCK_PORTS_H_
#define NVMX_CORE_TESTING_MOCK_PORTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/ports/ports.h"
#include "gmock/gmock.h"

namespace nvmx {

class MockCpu : public Cpu {
 public:
  virtual ~MockCpu() = default;
  MOCK_METHOD(CpuIndex, Index, (), (const, override));
  MOCK_METHOD(std::optional<uint64_t>, ReadMsr, (uint32_t msr), (override));
  MOCK_METHOD(bool, WriteMsr, (uint32_t msr, uint64_t value), (override));
  MOCK_METHOD(CpuidRegisters, Cpuid, (uint32_t leaf, uint32_t subleaf), (override));
  MOCK_METHOD(void, UnblockNmi, (), (override));
  MOCK_METHOD(void, Invalidate, (const Invalidation& invalidation), (override));
  MOCK_METHOD(void, WriteXcr0, (uint64_t value), (override));
  MOCK_METHOD(void, WriteCacheControl, (uint64_t cr0), (override));
  MOCK_METHOD(void, BeforeSharedAccess, (const SharedAccess& access), (override));
  MOCK_METHOD(void, SpinUntil, (const SpinCondition& condition), (override));
};

class MockVmcs : public Vmcs {
 public:
  virtual ~MockVmcs() = default;
  MOCK_METHOD(void, MakeCurrent, (VmcsRole role), (override));
  MOCK_METHOD(VmcsRole, Current, (), (const, override));
  MOCK_METHOD(uint64_t, Read, (VmcsField field), (override));
  MOCK_METHOD(void, Write, (VmcsField field, uint64_t value), (override));
};

class MockGuestMemory : public GuestMemory {
 public:
  virtual ~MockGuestMemory() = default;
  MOCK_METHOD(bool, Read, (GuestPhysicalAddress address, std::span<std::byte> bytes), (override));
  MOCK_METHOD(bool, Write, (GuestPhysicalAddress address, std::span<const std::byte> bytes),
              (override));
};

class MockApic : public Apic {
 public:
  virtual ~MockApic() = default;
  MOCK_METHOD(void, SendNmiToAllOthers, (), (override));
  MOCK_METHOD(void, SendNmi, (CpuIndex cpu), (override));
};

class MockClock : public Clock {
 public:
  virtual ~MockClock() = default;
  MOCK_METHOD(uint64_t, ReadTsc, (), (override));
};

class MockTrace : public Trace {
 public:
  virtual ~MockTrace() = default;
  MOCK_METHOD(void, Record, (TraceKind kind, uint64_t first, uint64_t second), (override));
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_MOCK_PORTS_H_
