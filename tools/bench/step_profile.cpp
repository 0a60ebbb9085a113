#include "tools/bench/step_profile.h"

#include <algorithm>
#include <set>

#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

double bytes_of(const Tensor& x) { return x.defined() ? static_cast<double>(x.bytes()) : 0; }

double bytes_of(const Tensors& tensors) {
  double bytes = 0;
  for (const Tensor& x : tensors) {
    bytes += bytes_of(x);
  }
  return bytes;
}

/// Of an input that is read. `out`: bytes of the outputs, all that is read of a table of rows.
double bytes_of_input(const Node& node, std::size_t input, double out) {
  const double bytes = bytes_of(node.input(input));
  return node.op().name().ends_with("embedding") ? std::min(bytes, out) : bytes;
}

}  // namespace

StepProfile::StepProfile(Context& ctx) : ctx_(ctx), probe_(ctx.zeros({1}, DType::kF32)) {
  ctx_.attach_timer(this);
}

StepProfile::~StepProfile() { ctx_.attach_timer(nullptr); }

void StepProfile::begin() {
  wait();
  Open& opened = open_.emplace_back();
  opened.outer = ctx_.attach_gemm_counts(&opened.gemms);
  opened.begin = Clock::now();
}

void StepProfile::end_forward(const Node& node, const Tensors& outputs) {
  const double out = bytes_of(outputs);
  double bytes = out;
  std::set<std::uint64_t> counted;  // storages: what is kept is often an input or an output
  for (const Tensor& output : outputs) {
    if (output.defined()) {
      counted.insert(output.storage()->serial());
    }
  }
  for (std::size_t i = 0; i < node.num_inputs(); ++i) {
    if (node.input(i).defined()) {
      bytes += bytes_of_input(node, i, out);
      counted.insert(node.input(i).storage()->serial());
    }
  }
  for (const Node::KeptFacts& kept : node.kept()) {
    bytes += counted.insert(kept.storage).second ? static_cast<double>(kept.bytes) : 0;
  }
  end(node.op().name(), Pass::kForward, bytes);
}

void StepProfile::end_backward(const Node& node, const Tensors& cotangents) {
  double bytes = bytes_of(cotangents);
  for (const Node::KeptFacts& kept : node.kept()) {
    bytes += static_cast<double>(kept.bytes);
  }
  end(node.op().name(), Pass::kBackward, bytes);
}

void StepProfile::end_part(std::string_view name) { end(name, Pass::kNone, /*bytes=*/0); }

void StepProfile::end(std::string_view name, Pass pass, double bytes) {
  wait();
  const Open& ended = open_.back();
  const double seconds = std::chrono::duration<double>(Clock::now() - ended.begin).count();
  ctx_.attach_gemm_counts(ended.outer);
  ProfileEntry& entry = entries_[{.name = std::string(name), .pass = pass}];
  ++entry.calls;
  entry.seconds += seconds - ended.inside;
  entry.bytes += bytes;
  for (const auto& [shape, count] : ended.gemms) {
    entry.gemms[shape] += count;
  }
  open_.pop_back();
  if (!open_.empty()) {
    open_.back().inside += seconds;
  }
}

void StepProfile::wait() const {
  if (ctx_.device().is_cuda()) {
    item(probe_);
  }
}

}  // namespace ghost
