// SPDX-License-Identifier: Apache-2.0
//
// The inputs of a target as one text file, to be kept with the sources: fuzz/corpora has two for
// each target. TARGET.corpus is minimised: what it reaches, no smaller part of it reaches.
// TARGET.finds has inputs that have shown defects, which are no more.
//
// Each line is an input in base64. Lines are in order, so that a change of the corpus is a change
// of few lines. A line that begins with # means nothing.
#ifndef NVMX_FUZZ_CORPUS_FILE_H_
#define NVMX_FUZZ_CORPUS_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nvmx::fuzz {

// NotFound if there is no such file; InvalidArgument, with the line, for one that is no corpus.
absl::StatusOr<std::vector<std::vector<std::byte>>> ReadCorpusFile(const std::string& path);
// `about` becomes the first line. Unavailable if the file cannot be written.
absl::Status WriteCorpusFile(const std::string& path, const std::string& about,
                             const std::vector<std::vector<std::byte>>& inputs);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_CORPUS_FILE_H_
