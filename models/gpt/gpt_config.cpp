#include "models/gpt/gpt_config.h"

#include <cmath>

#include "engine/config/check_range.h"

namespace ghost {
namespace {

constexpr double kGpt2Std = 0.02;

double root(std::int64_t n) { return std::sqrt(static_cast<double>(n)); }

}  // namespace

void GptConfig::validate(const std::string& prefix) const {
  check_range(layers > 0, prefix + "layers", layers, "a positive integer");
  check_range(channels > 0, prefix + "channels", channels, "a positive integer");
  check_range(heads > 0 && channels % heads == 0, prefix + "heads", heads,
              fmt::format("a divisor of channels {}", channels));
  check_range(max_seq_len > 0, prefix + "max_seq_len", max_seq_len, "a positive integer");
  check_range(vocab_size >= 0, prefix + "vocab_size", vocab_size, "a positive integer, or 0");
  check_range(pad_vocab_to > 0, prefix + "pad_vocab_to", pad_vocab_to, "a positive integer");
  check_range(dropout >= 0 && dropout < 1, prefix + "dropout", dropout, "at least 0 and below 1");
  check_range(norm_eps > 0, prefix + "norm_eps", norm_eps, "a positive number");
}

Init GptConfig::linear_init(std::int64_t fan_in, IntoResidualStream into) const {
  switch (init) {
    case GptInit::kGpt2:
      return {.kind = InitKind::kNormal,
              .std = into == IntoResidualStream::kYes ? kGpt2Std / root(2 * layers) : kGpt2Std};
    case GptInit::kFlax:
      return {.kind = InitKind::kTruncatedNormal, .std = 1 / root(fan_in)};
  }
  fail("a model.init without a distribution");
}

Init GptConfig::embedding_init() const {
  switch (init) {
    case GptInit::kGpt2:
      return {.kind = InitKind::kNormal, .std = kGpt2Std};
    case GptInit::kFlax:
      return {.kind = InitKind::kNormal, .std = 1 / root(channels)};
  }
  fail("a model.init without a distribution");
}

}  // namespace ghost
