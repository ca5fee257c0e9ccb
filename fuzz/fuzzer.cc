// SPDX-License-Identifier: Apache-2.0
#include "fuzz/fuzzer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "fuzz/familiar_edges.h"
#include "fuzz/target.h"
#include "xxhash.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t capacity);

namespace nvmx::fuzz {
namespace {

// libFuzzer looks at these as at the counters of edges, and forgets them before each input.
constexpr size_t kExtraCounters = 1 << 11;
__attribute__((section("__libfuzzer_extra_counters"))) uint8_t extra_counters[kExtraCounters];

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "fuzzer: %s\n", message.c_str());
  std::_Exit(2);
}

Reached* MapReached(const char* path) {
  const int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (file < 0 || ftruncate(file, sizeof(Reached)) != 0) {
    Die(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  void* place = mmap(nullptr, sizeof(Reached), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (place == MAP_FAILED) Die(absl::StrCat(path, ": ", std::strerror(errno)));
  return new (place) Reached;
}

void WriteFile(const std::string& path, std::span<const std::byte> bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const bool written =
      file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (file == nullptr || std::fclose(file) != 0 || !written) {
    Die(absl::StrCat(path, ": ", std::strerror(errno)));
  }
}

class Fuzzer {
 public:
  explicit Fuzzer(const char* name) {
    const TargetInformation* information = FindTarget(name);
    if (information == nullptr) Die(absl::StrCat("there is no target ", name));
    name_ = name;
    target_ = MakeTarget(*information);
    if (const char* path = std::getenv("NVMX_FUZZ_REACHED")) {
      target_->set_reached(MapReached(path));
    }
    if (const char* path = std::getenv("NVMX_FUZZ_FINDS")) finds_ = path;
    if (const char* count = std::getenv("NVMX_FUZZ_KEEP")) {
      if (!absl::SimpleAtoi(count, &keeping_)) Die(absl::StrCat("NVMX_FUZZ_KEEP=", count));
    }
  }

  Target& target() { return *target_; }

  int Run(std::span<const std::byte> bytes) {
    const std::optional<Find> find = target_->Run(bytes);
    for (const uint32_t feature : target_->features()) {
      uint8_t& counter = extra_counters[feature % kExtraCounters];
      if (counter != 0xFF) ++counter;
    }
    familiar_edges_.Hide();
    if (find) Report(*find, bytes);
    if (keeping_ > 0) --keeping_;
    return target_->valid() && keeping_ > 0 ? 0 : -1;
  }

 private:
  void Report(const Find& find, std::span<const std::byte> bytes) {
    if (finds_.empty()) {
      std::fprintf(stderr, "%s: %s\n%s", name_.c_str(), find.signature.c_str(), find.text.c_str());
      std::abort();
    }
    if (!known_.insert(find.signature).second) return;
    const uint64_t hash = XXH3_64bits(find.signature.data(), find.signature.size());
    const std::string base =
        absl::StrFormat("%s/%s-%08x", finds_, name_, static_cast<uint32_t>(hash));
    // Another process may have had it before.
    if (access((base + ".txt").c_str(), F_OK) == 0) return;
    WriteFile(base + ".input", bytes);
    WriteFile(base + find.extension, std::as_bytes(std::span(find.yaml)));
    const std::string text = absl::StrCat(find.signature, "\n\n", find.text);
    WriteFile(base + ".txt", std::as_bytes(std::span(text)));
  }

  std::string name_, finds_;
  uint64_t keeping_ = ~uint64_t{0};  // executions whose inputs libFuzzer may keep
  std::unique_ptr<Target> target_;
  FamiliarEdges familiar_edges_{EdgeCounters()};
  std::set<std::string> known_;
};

Fuzzer& TheFuzzer(const char* name) {
  static auto& fuzzer = *new Fuzzer(name);
  return fuzzer;
}

size_t Put(const std::vector<std::byte>& bytes, uint8_t* out, size_t capacity) {
  // Half an input is none.
  if (bytes.size() > capacity) return 0;
  std::memcpy(out, bytes.data(), bytes.size());
  return bytes.size();
}

size_t MutateBytes(std::byte* data, size_t size, size_t capacity) {
  return LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(data), size, capacity);
}

}  // namespace

int RunOne(const char* target, const uint8_t* data, size_t size) {
  return TheFuzzer(target).Run(std::as_bytes(std::span(data, size)));
}

size_t MutateOne(const char* target, uint8_t* data, size_t size, size_t capacity, unsigned seed) {
  Random random(seed);
  const size_t done = Put(
      TheFuzzer(target).target().Mutate(std::as_bytes(std::span(data, size)), random, MutateBytes),
      data, capacity);
  return done != 0 ? done : size;
}

size_t CrossOverOne(const char* target, const uint8_t* a, size_t a_size, const uint8_t* b,
                    size_t b_size, uint8_t* out, size_t capacity, unsigned seed) {
  Random random(seed);
  return Put(TheFuzzer(target).target().CrossOver(std::as_bytes(std::span(a, a_size)),
                                                  std::as_bytes(std::span(b, b_size)), random),
             out, capacity);
}

}  // namespace nvmx::fuzz
