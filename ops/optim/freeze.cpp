#include "ops/optim/freeze.h"

#include <algorithm>

#include "engine/autograd/residual_plan.h"
#include "engine/config/nearest_key.h"
#include "engine/core/error.h"

namespace ghost {

void freeze_parameters(ParameterStore& store, const std::vector<std::string>& globs) {
  for (std::size_t i = 0; i < globs.size(); ++i) {
    bool is_matched = false;
    std::vector<std::string> names;
    for (const auto& parameter : store.all()) {
      const bool matches = glob_match(globs[i], parameter->name);
      parameter->is_frozen = parameter->is_frozen || matches;
      is_matched = is_matched || matches;
      names.push_back(path_pattern(parameter->name));
    }
    if (!is_matched) {
      fail<ConfigError>("optimizer.freeze.{} \"{}\" matches no parameter; the nearest is {}", i,
                        globs[i], nearest_text(globs[i], names));
    }
  }
  const bool is_any_trained = std::any_of(store.all().begin(), store.all().end(),
                                          [](const auto& each) { return !each->is_frozen; });
  if (!is_any_trained) {
    fail<ConfigError>("optimizer.freeze matches every parameter; expected one at least to train");
  }
}

}  // namespace ghost
