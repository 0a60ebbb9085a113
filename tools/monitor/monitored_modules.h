#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/autograd/context.h"

namespace ghost {

/// A linear that is watched.
struct MonitoredModule {
  std::string name;             // path of the module, as blocks.0.mlp.c_fc
  std::int64_t inputs = 0;      // d_in
  std::int64_t outputs = 0;     // d_out
  std::int64_t rows = 0;        // of one forward pass, all its calls together
  Parameter* weight = nullptr;  // [d_out, d_in]; null where it is no parameter of the model
};

/// The linears of a model, in the order in which a forward pass meets them: `linear` and the head
/// of `linear_cross_entropy`, each weight once.
class MonitoredModules {
 public:
  using Forward = std::function<void(Context& ctx)>;

  /// Those whose path matches the glob. `forward` is run once, on a dry device. Throws
  /// ghost::ConfigError when none matches.
  MonitoredModules(const Forward& forward, const ParameterStore& parameters, std::string_view glob);

  const std::vector<MonitoredModule>& all() const { return modules_; }

  /// Which of them an application of an op is; -1: none.
  std::int64_t find(const Node& node) const;

 private:
  using Place = std::pair<std::uint64_t, std::int64_t>;  // storage and offset of a weight

  static Place place_of(const Tensor& weight);
  std::string unused_name(const std::string& name, const Parameter* weight) const;

  std::vector<MonitoredModule> modules_;
  std::map<Place, std::int64_t> index_;
};

/// Whether outputs of a linear are there to be read: not those of the head, whose logits never
/// exist as a whole.
bool has_outputs(const Node& node);

}  // namespace ghost
