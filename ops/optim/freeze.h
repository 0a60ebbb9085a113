#pragma once

#include <string>
#include <vector>

#include "engine/autograd/parameter.h"

namespace ghost {

/// Freezes the parameters whose names match one of `globs` (`optimizer.freeze`): backward passes
/// form no gradient of them and optimizers leave them alone. Throws ghost::ConfigError for a glob
/// that matches no parameter and when nothing would be left to train.
void freeze_parameters(ParameterStore& store, const std::vector<std::string>& globs);

}  // namespace ghost
