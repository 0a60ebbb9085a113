#include "engine/autograd/parameter.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/autograd/resident_parameters.h"
#include "engine/random/philox.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

using FourDraws = std::array<double, 4>;

FourDraws four_normal(const RandomStream& stream, std::uint32_t index) {
  const auto words = stream.words(index);
  const auto low = normal_pair(words[0], words[1]);
  const auto high = normal_pair(words[2], words[3]);
  return {low[0], low[1], high[0], high[1]};
}

// Standard normal numbers within +-2; what falls outside (one in 22) is drawn again, the number of
// the attempt standing where the step stands in training.
FourDraws four_truncated_normal(RandomStream stream, std::uint32_t index) {
  constexpr double kCut = 2;
  const auto is_outside = [](double draw) { return std::abs(draw) > kCut; };
  FourDraws draws = four_normal(stream, index);
  while (std::any_of(draws.begin(), draws.end(), is_outside)) {
    ++stream.step;
    const FourDraws again = four_normal(stream, index);
    for (std::size_t i = 0; i < draws.size(); ++i) {
      draws[i] = is_outside(draws[i]) ? again[i] : draws[i];
    }
  }
  return draws;
}

// Uniform in (0, 1).
FourDraws four_uniform(const RandomStream& stream, std::uint32_t index) {
  FourDraws draws{};
  const Philox::Words words = stream.words(index);
  std::transform(words.begin(), words.end(), draws.begin(),
                 [](std::uint32_t word) { return (word + 0.5) * 0x1p-32; });
  return draws;
}

// What a uniform number in (0, 1) makes of one of the kinds that have bounds.
double bounded(const Init& init, double uniform) {
  const auto between = [&](double low, double high) { return low + (high - low) * uniform; };
  switch (init.kind) {
    case InitKind::kLogOfUniform:
      return std::log(between(init.low, init.high));
    case InitKind::kInverseSoftplus: {
      const double softplus = std::exp(between(std::log(init.low), std::log(init.high)));
      return softplus + std::log(-std::expm1(-softplus));  // ln(e^s - 1) with all its digits
    }
    case InitKind::kUniform:
    case InitKind::kNormal:
    case InitKind::kTruncatedNormal:
    case InitKind::kZeros:
    case InitKind::kOnes:
      break;
  }
  return between(init.low, init.high);
}

// Drawn on the host, so that a run starts from the same numbers on every device.
// Element i of `values` is scale * draw_four(stream, i / 4)[i % 4].
template <typename DrawFour>
void draw(const Tensor& values, double scale, const RandomStream& stream, DrawFour&& draw_four) {
  const std::int64_t n = values.numel();
  const Tensor place = host_place(values);
  visit_real(values.dtype(), [&]<typename T>() {
    T* out = place.data<T>();
#pragma omp parallel for schedule(static)
    for (std::int64_t begin = 0; begin < n; begin += 4) {
      const FourDraws draws = draw_four(stream, static_cast<std::uint32_t>(begin / 4));
      for (std::int64_t i = begin; i < std::min(begin + 4, n); ++i) {
        out[i] = static_cast<T>(scale * draws[static_cast<std::size_t>(i - begin)]);
      }
    }
  });
  copy(values, place);
}

}  // namespace

Parameter& ParameterStore::declare(std::string name, const Shape& shape, Decay decay, Init init,
                                   Precision precision) {
  GHOST_CHECK(find(name) == nullptr, "parameter {} is declared twice", name);
  GHOST_CHECK(groups_.empty(), "parameter {} is declared after the store was laid out", name);
  parameters_.push_back(std::make_unique<Parameter>());
  Parameter& parameter = *parameters_.back();
  parameter.name = std::move(name);
  parameter.shape = shape;
  parameter.decay = decay;
  parameter.init = init;
  parameter.precision = precision;
  return parameter;
}

void ParameterStore::materialize(const std::shared_ptr<Allocator>& allocator, DType dtype,
                                 std::optional<DType> activation_dtype) {
  materialize_residents(
      *this, [](const Parameter&) { return true; }, allocator, dtype, activation_dtype);
}

void materialize_residents(ParameterStore& store,
                           const std::function<bool(const Parameter&)>& is_here,
                           const std::shared_ptr<Allocator>& allocator, DType dtype,
                           std::optional<DType> activation_dtype) {
  const DType working_dtype = activation_dtype.value_or(dtype);
  for (const Decay decay : {Decay::kYes, Decay::kNo}) {
    ParameterGroup group{.decay = decay};
    std::int64_t count = 0;
    for (const auto& parameter : store.all()) {
      if (parameter->decay == decay && is_here(*parameter)) {
        group.members.push_back(parameter.get());
        count += parameter->shape.numel();
      }
    }
    if (group.members.empty()) {
      continue;
    }
    group.values = Tensor(allocator, {count}, dtype, MemoryTag::kParameters);
    group.grads = Tensor(allocator, {count}, dtype, MemoryTag::kGradients);
    group.zeros = std::make_unique<ZeroBlocks>(count);
    if (working_dtype != dtype) {
      group.working = Tensor(allocator, {count}, working_dtype, MemoryTag::kParameters);
    }
    std::int64_t offset = 0;
    for (Parameter* parameter : group.members) {
      parameter->zeros = group.zeros.get();
      parameter->offset = offset;
      const std::int64_t end = offset + parameter->shape.numel();
      parameter->value = group.values.slice(offset, end).reshape(parameter->shape);
      parameter->grad = group.grads.slice(offset, end).reshape(parameter->shape);
      if (group.working.defined() && parameter->precision == Precision::kActivation) {
        parameter->working = group.working.slice(offset, end).reshape(parameter->shape);
      }
      offset = end;
    }
    store.groups().push_back(std::move(group));
  }
}

void ParameterStore::initialize(std::uint64_t seed) {
  // Standard deviation of a standard normal cut at +-2.
  constexpr double kTruncatedStd = 0.87962566103423978;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = *parameters_[i];
    if (!is_resident(parameter) || parameter.value.device().is_dry) {
      continue;
    }
    const RandomStream stream{
        .seed = seed, .site = static_cast<std::int64_t>(i), .purpose = Purpose::kInit};
    switch (parameter.init.kind) {
      case InitKind::kZeros:
        fill_zero(parameter.value);
        break;
      case InitKind::kOnes:
        fill(parameter.value, 1.0);
        break;
      case InitKind::kNormal:
        draw(parameter.value, parameter.init.std, stream, four_normal);
        break;
      case InitKind::kTruncatedNormal:
        draw(parameter.value, parameter.init.std / kTruncatedStd, stream, four_truncated_normal);
        break;
      case InitKind::kUniform:
      case InitKind::kLogOfUniform:
      case InitKind::kInverseSoftplus:
        draw(parameter.value, 1, stream, [&](const RandomStream& from, std::uint32_t index) {
          FourDraws draws = four_uniform(from, index);
          for (double& value : draws) {
            value = bounded(parameter.init, value);
          }
          return draws;
        });
        break;
    }
  }
  refresh_working();
}

void ParameterStore::refresh_working() {
  for (const ParameterGroup& group : groups_) {
    if (group.working.defined()) {
      cast(group.working, group.values);
    }
  }
}

void ParameterStore::begin_gradients() {
  for (const auto& parameter : parameters_) {
    parameter->has_grad = false;
  }
}

void ParameterStore::finish_gradients() {
  for (const auto& parameter : parameters_) {
    if (is_resident(*parameter) && !parameter->has_grad) {
      parameter->claim_grad();
      fill_zero(parameter->grad);
    }
  }
}

Parameter* ParameterStore::find(std::string_view name) const {
  for (const auto& parameter : parameters_) {
    if (parameter->name == name) {
      return parameter.get();
    }
  }
  return nullptr;
}

std::int64_t ParameterStore::num_elements() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters_) {
    count += parameter->shape.numel();
  }
  return count;
}

}  // namespace ghost
