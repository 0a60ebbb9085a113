#pragma once

#include "engine/autograd/residual_plan.h"

namespace ghost {

/// `config` with its preset written out: the preset's rules before the config's own, which go
/// before them, and its kind of recomputation. Presets none and auto add nothing.
ResidualsConfig expand_preset(ResidualsConfig config);

}  // namespace ghost
