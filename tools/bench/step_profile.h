#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "engine/autograd/context.h"

namespace ghost {

enum class Pass { kForward, kBackward, kNone };  // kNone: a part of the step that is no op

/// One kind of work of a step.
struct ProfileKey {
  std::string name;
  Pass pass = Pass::kNone;
  auto operator<=>(const ProfileKey&) const = default;
};

/// What it took over all profiled steps.
struct ProfileEntry {
  std::int64_t calls = 0;
  double seconds = 0;  // its own: not those of what ran inside
  /// A lower bound on what was read and written: every tensor that an op takes, returns, keeps or
  /// needs of what it kept, once. Workspaces and second readings come on top.
  double bytes = 0;
  GemmCounts gemms{};  // the products of dense layers; those inside of mixers are not reported
};

/// Times every op and part of the steps that run on a context while it lives. On a GPU each of them
/// is waited for, so that steps take longer than unprofiled ones.
class StepProfile final : public StepTimer {
 public:
  using Entries = std::map<ProfileKey, ProfileEntry>;

  explicit StepProfile(Context& ctx);
  ~StepProfile() override;
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  void begin() override;
  void end_forward(const Node& node, const Tensors& outputs) override;
  void end_backward(const Node& node, const Tensors& cotangents) override;
  void end_part(std::string_view name) override;

  const Entries& entries() const { return entries_; }

 private:
  using Clock = std::chrono::steady_clock;

  /// What has begun and not ended.
  struct Open {
    Clock::time_point begin;
    double inside = 0;  // seconds of what ran inside
    GemmCounts gemms{};
    GemmCounts* outer = nullptr;
  };

  void end(std::string_view name, Pass pass, double bytes);
  void wait() const;

  Context& ctx_;
  Tensor probe_;
  std::deque<Open> open_;  // its elements stay where they are
  Entries entries_;
};

}  // namespace ghost
