#pragma once

#include <optional>

#include "engine/autograd/context.h"
#include "engine/random/philox.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost::test {

/// Two parameters: `weight` [size] that decays and `bias` [3] that does not, with normal values and
/// gradients that are functions of the seed.
struct SmallStore {
  SmallStore(const Context& ctx, DType dtype, std::int64_t size,
             std::optional<DType> activation_dtype = std::nullopt) {
    store.declare("weight", {size}, Decay::kYes, {.kind = InitKind::kNormal, .std = 1});
    store.declare("bias", {3}, Decay::kNo, {.kind = InitKind::kNormal, .std = 1});
    store.materialize(ctx.allocator(), dtype, activation_dtype);
    store.initialize(/*seed=*/1);
  }

  void draw_gradients(std::uint64_t seed) {
    const RandomStream stream{.seed = seed, .purpose = Purpose::kBatch};
    std::uint32_t index = 0;
    for (const auto& parameter : store.all()) {
      const Tensor place = host_place(parameter->grad);
      visit_real(place.dtype(), [&]<typename T>() {
        for (T& g : place.span<T>()) {
          const auto words = stream.words(index++);
          // The same f32 number in both dtypes, so that f32 and f64 runs can be compared.
          g = static_cast<T>(static_cast<float>(normal_pair(words[0], words[1])[0]));
        }
      });
      copy(parameter->grad, place);
    }
  }

  ParameterStore store;
};

}  // namespace ghost::test
