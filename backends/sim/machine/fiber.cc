// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/fiber.h"

#include <boost/context/detail/fcontext.hpp>

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace nvmx::sim {
namespace {

namespace context = boost::context::detail;

void StartSwitch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                 [[maybe_unused]] size_t bytes) {
#if __has_feature(address_sanitizer)
  __sanitizer_start_switch_fiber(fake_stack, bottom, bytes);
#endif
}

void FinishSwitch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                  [[maybe_unused]] size_t* bytes) {
#if __has_feature(address_sanitizer)
  __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes);
#endif
}

// A fiber that was forgotten left its red zones behind.
void Unpoison([[maybe_unused]] void* bottom, [[maybe_unused]] size_t bytes) {
#if __has_feature(address_sanitizer)
  __asan_unpoison_memory_region(bottom, bytes);
#endif
}

}  // namespace

// What make_fcontext calls; outside the class because Boost's types stay out of the header.
struct FiberEntry {
  static void Run(context::transfer_t from) {
    auto* fiber = static_cast<Fiber*>(from.data);
    FinishSwitch(nullptr, &fiber->outer_stack_bottom_, &fiber->outer_stack_bytes_);
    fiber->context_ = from.fctx;
    fiber->entry_(fiber->argument_);
    __builtin_trap();
  }
};

Fiber::Fiber(size_t stack_bytes) : stack_(new std::byte[stack_bytes]), stack_bytes_(stack_bytes) {}

void Fiber::Start(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  frame_ = nullptr;
  inner_fake_stack_ = nullptr;
  Unpoison(stack_.get(), stack_bytes_);
  context_ = context::make_fcontext(stack_.get() + stack_bytes_, stack_bytes_, &FiberEntry::Run);
}

void Fiber::Resume() {
  StartSwitch(&outer_fake_stack_, stack_.get(), stack_bytes_);
  const context::transfer_t back = context::jump_fcontext(context_, this);
  FinishSwitch(outer_fake_stack_, nullptr, nullptr);
  context_ = back.fctx;
}

void Fiber::Suspend() {
  frame_ = __builtin_frame_address(0);
  StartSwitch(&inner_fake_stack_, outer_stack_bottom_, outer_stack_bytes_);
  const context::transfer_t back = context::jump_fcontext(context_, this);
  FinishSwitch(inner_fake_stack_, &outer_stack_bottom_, &outer_stack_bytes_);
  context_ = back.fctx;
}

std::vector<uintptr_t> Fiber::Backtrace() const {
  std::vector<uintptr_t> addresses;
  const auto low = reinterpret_cast<uintptr_t>(stack_.get());
  const uintptr_t high = low + stack_bytes_ - 2 * sizeof(uintptr_t);
  auto frame = reinterpret_cast<uintptr_t>(frame_);
  // The outermost frame's saved frame pointer is no stack address: that ends the walk.
  while (frame >= low && frame <= high && frame % sizeof(uintptr_t) == 0) {
    const auto* words = reinterpret_cast<const uintptr_t*>(frame);
    addresses.push_back(words[1]);
    if (words[0] <= frame) break;
    frame = words[0];
  }
  return addresses;
}

}  // namespace nvmx::sim
