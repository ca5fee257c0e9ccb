// SPDX-License-Identifier: Apache-2.0
#include "core/testing/core_objects.h"

namespace nvmx {
namespace {

constinit const OrderedQuiesce kQuiesce;
constinit const OrderedChoreography kChoreography;
constinit const DefaultEmbedder kEmbedder;

}  // namespace

const QuiesceProtocol& CoreQuiesce() { return kQuiesce; }
const Choreography& CoreChoreography() { return kChoreography; }
const Embedder& CoreEmbedder() { return kEmbedder; }

}  // namespace nvmx
