#pragma once

#include "engine/autograd/context.h"
#include "engine/config/enum_names.h"

namespace ghost {

enum class SuffixMethod {
  kChain,  // from the last matrix to the first
  kScan,   // ceil(log2 n) rounds of products at distance 1, 2, 4, ..., all of a round independent
};

template <>
struct EnumNames<SuffixMethod> {
  static constexpr EnumName<SuffixMethod> kNames[] = {{SuffixMethod::kChain, "chain"},
                                                      {SuffixMethod::kScan, "scan"}};
};

/// Products of all suffixes of a sequence of matrices, sample by sample; lower indices stand left.
///
///   S_k = P_k P_(k+1) ... P_(n-1),   S_n = I
///
/// matrices [n, B, r, r]  f32, bf16 or f64, n >= 1
/// returns  [n + 1, B, r, r]
/// source   Hillis and Steele 1986, "Data parallel algorithms", for kScan
Tensor suffix_products(Context& ctx, const Tensor& matrices, SuffixMethod method);

/// y[k, b] = matrices[k, b] x[b].
///
/// matrices [n, B, r, r]  f32, bf16 or f64
/// x        [B, ...]      r numbers a sample, dtype of the matrices
/// returns  [n, B, r]
Tensor apply_matrices(Context& ctx, const Tensor& matrices, const Tensor& x);

}  // namespace ghost
