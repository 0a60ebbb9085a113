#include "engine/autograd/parameter.h"

#include "engine/random/philox.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

void draw_normal(const Tensor& values, double std, const RandomStream& stream) {
  const std::int64_t n = values.numel();
  visit_real(values.dtype(), [&]<typename T>() {
    T* out = values.data<T>();
#pragma omp parallel for schedule(static)
    for (std::int64_t begin = 0; begin < n; begin += 4) {
      const auto words = stream.words(static_cast<std::uint32_t>(begin / 4));
      const auto low = normal_pair(words[0], words[1]);
      const auto high = normal_pair(words[2], words[3]);
      const double draws[4] = {low[0], low[1], high[0], high[1]};
      for (std::int64_t i = begin; i < std::min(begin + 4, n); ++i) {
        out[i] = static_cast<T>(std * draws[i - begin]);
      }
    }
  });
}

}  // namespace

Parameter& ParameterStore::declare(std::string name, const Shape& shape, Decay decay, Init init) {
  GHOST_CHECK(find(name) == nullptr, "parameter {} is declared twice", name);
  GHOST_CHECK(groups_.empty(), "parameter {} is declared after the store was laid out", name);
  parameters_.push_back(std::make_unique<Parameter>());
  Parameter& parameter = *parameters_.back();
  parameter.name = std::move(name);
  parameter.shape = shape;
  parameter.decay = decay;
  parameter.init = init;
  return parameter;
}

void ParameterStore::materialize(const std::shared_ptr<Allocator>& allocator, DType dtype) {
  for (const Decay decay : {Decay::kYes, Decay::kNo}) {
    ParameterGroup group{.decay = decay};
    std::int64_t count = 0;
    for (const auto& parameter : parameters_) {
      if (parameter->decay == decay) {
        group.members.push_back(parameter.get());
        count += parameter->shape.numel();
      }
    }
    if (group.members.empty()) {
      continue;
    }
    group.values = Tensor(allocator, {count}, dtype, MemoryTag::kParameters);
    group.grads = Tensor(allocator, {count}, dtype, MemoryTag::kGradients);
    std::int64_t offset = 0;
    for (Parameter* parameter : group.members) {
      const std::int64_t end = offset + parameter->shape.numel();
      parameter->value = group.values.slice(offset, end).reshape(parameter->shape);
      parameter->grad = group.grads.slice(offset, end).reshape(parameter->shape);
      offset = end;
    }
    groups_.push_back(std::move(group));
  }
}

void ParameterStore::initialize(std::uint64_t seed) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = *parameters_[i];
    if (parameter.value.device().is_dry()) {
      continue;
    }
    switch (parameter.init.kind) {
      case InitKind::kZeros:
        fill_zero(parameter.value);
        break;
      case InitKind::kOnes:
        fill(parameter.value, 1.0);
        break;
      case InitKind::kNormal:
        draw_normal(
            parameter.value, parameter.init.std,
            {.seed = seed, .site = static_cast<std::int64_t>(i), .purpose = Purpose::kInit});
        break;
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
    if (!parameter->claim_grad()) {
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
