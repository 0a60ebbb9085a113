#pragma once

#include "engine/random/philox.h"
#include "engine/tensor/tensor.h"

namespace ghost {

struct LabelGroups {
  Tensor labels;    // [rows] i32
  Tensor group_of;  // [rows] u16
  std::int64_t num_groups;
};

struct NearestGroups {
  Tensor x;         // [rows, N]
  Tensor labels;    // [rows] i32 or undefined: a code of the label stands beside the features of x
  Tensor features;  // [rows, K + code], scratch
  Tensor anchors;   // [groups, K + code], scratch
  Tensor group_of;  // [rows] u16
  std::int64_t projection;  // K; N: x itself
  std::int64_t kmeans_rounds;
  double label_weight;
  RandomStream stream;
};

namespace cpu {
void row_groups(const LabelGroups& args);
void row_groups(const NearestGroups& args);
}  // namespace cpu

}  // namespace ghost
