#include "engine/autograd/op.h"

#include "engine/core/error.h"

namespace ghost {

Tensor Op::recompute(Context& /*ctx*/, const Node& /*node*/) const {
  fail("op {} cannot make its output again", name());
}

}  // namespace ghost
