#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/enum_names.h"
#include "engine/config/values.h"

namespace ghost {

enum class LayerType { kMamba2, kMamba3, kAttention };

template <>
struct EnumNames<LayerType> {
  static constexpr EnumName<LayerType> kNames[] = {{LayerType::kMamba2, "mamba2"},
                                                   {LayerType::kMamba3, "mamba3"},
                                                   {LayerType::kAttention, "attention"}};
};

/// Which mixer each layer has: a pattern that is repeated from the first layer to the last. In
/// YAML a list, [mamba3, mamba3, mamba3, attention], or its short form, 3*mamba3 + attention.
struct LayerTypes {
  std::vector<LayerType> pattern;  // not empty

  LayerType at(std::int64_t layer) const {
    return pattern[static_cast<std::size_t>(layer) % pattern.size()];
  }
  bool operator==(const LayerTypes&) const = default;
};

/// Throws the ConfigError of a value that is not of either form.
void read_value(const ConfigNode& node, const std::string& key, LayerTypes& value);
/// The short form.
std::string write_value(const LayerTypes& value);

template <>
struct TypeText<LayerTypes> {
  static std::string get() { return "list of " + TypeText<LayerType>::get(); }
};

}  // namespace ghost
