// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_TARGET_H_
#define NVMX_FUZZ_TARGET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/sim/program/generator/random.h"
#include "fuzz/input.h"

namespace nvmx::fuzz {

using sim::Random;

// What an input showed that must not be.
struct Find {
  // What it is about, without its values: inputs with one signature probably show one defect.
  std::string signature;
  std::string text;  // the first difference, for a person
  std::string
      yaml;  // the guest program, or what else the input stands for, as a file that nvmx takes
  std::string extension = ".yaml";  // of that file
};

// What inputs have reached so far. Plain numbers, so that another process can read them.
struct Reached {
  static constexpr size_t kRules = 512;

  uint64_t executions = 0;
  uint64_t invalid = 0;                  // no input of the target
  uint64_t entered = 0;                  // L2 ran
  uint64_t unconfirmed = 0;              // the bench saw a difference, a guest program did not
  uint64_t ambiguous = 0;                // a difference that depends on stale translations
  uint64_t declared = 0;                 // a difference that is declared
  uint64_t left_open = 0;                // a difference that the SDM leaves open
  uint64_t finds = 0;                    // executions that showed a find
  std::array<uint64_t, 80> exits{};      // by basic exit reason, at the end
  std::array<uint64_t, 80> failures{};   // VM-entry failures
  std::array<uint64_t, 32> vmfails{};    // by VM-instruction error
  std::array<uint64_t, 256> vectors{};   // events delivered
  std::array<uint64_t, kRules> rules{};  // checks of VM entry that were the first to fail
};

// Changes bytes in place, to at most `capacity` of them; returns how many there are then.
// libFuzzer's own, or what a test has.
using ByteMutator = std::function<size_t(std::byte* data, size_t size, size_t capacity)>;

class Target {
 public:
  virtual ~Target() = default;

  // Runs the input. Nothing: what must hold holds. Equal bytes give equal results.
  std::optional<Find> Run(std::span<const std::byte> bytes);
  // Whether the last input was one at all.
  bool valid() const { return valid_; }
  // What the last input reached on the reference: numbers, each of which stands for something that
  // coverage of code cannot tell.
  std::span<const uint32_t> features() const { return features_; }
  // Everything that the last run came to, as a number.
  virtual uint64_t Digest() const = 0;

  // Another input made of this one, or of two: by the structure of inputs, so that most are valid.
  virtual std::vector<std::byte> Mutate(std::span<const std::byte> bytes, Random& random,
                                        const ByteMutator& mutate_bytes) = 0;
  virtual std::vector<std::byte> CrossOver(std::span<const std::byte> a,
                                           std::span<const std::byte> b, Random& random) = 0;

  Reached& reached() { return *reached_; }
  // Counts there from now on.
  void set_reached(Reached* reached) { reached_ = reached; }

 protected:
  virtual std::optional<Find> RunInput(std::span<const std::byte> bytes) = 0;
  void Refuse() { valid_ = false; }
  void AddFeature(uint64_t kind, uint64_t value);

 private:
  Reached own_;
  Reached* reached_ = &own_;
  std::vector<uint32_t> features_;
  bool valid_ = true;
};

// The target of that name (FindTarget()).
std::unique_ptr<Target> MakeTarget(const TargetInformation& information);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_TARGET_H_
