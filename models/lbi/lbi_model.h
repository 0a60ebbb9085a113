#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/lbi/region.h"

namespace ghost {

/// How a backward pass through regions went.
struct BackwardReport {
  /// Root mean square, over regions below the last and samples, of what a region's own backward
  /// pass makes of its state's cotangent minus what the suffix products made. 0 without a scan.
  double adjoint_rms = 0;
  std::int64_t pullbacks = 0;  // region Jacobians that were formed
};

/// Latent bounded interfaces: a model whose blocks are cut into regions. Every region starts again
/// from the canvas and hears of the others through states of a few numbers; the last one's features
/// go into the readout. Parameters: the model's own and regions.initial.* (the encoder of the first
/// state), regions.K.{decoder,encoder,scale,norm}.
/// source  arXiv:2605.09204
class LbiModel final : public LanguageModel {
 public:
  /// Throws ghost::ConfigError when a region would have more layers than the model.
  LbiModel(const RegionsConfig& config, std::unique_ptr<LayeredModel> model);

  std::string_view architecture() const override { return architecture_; }
  ParameterStore& parameters() override { return model_->parameters(); }
  const RegionsConfig& config() const { return config_; }

  /// Over the scored positions of the variant. A tape that records gets one node where
  /// `regions.backward` is not tape: regions then have tapes of their own.
  Tensor loss(Context& ctx, const Tensor& tokens, const Tensor& targets) override;
  Tensor logits(Context& ctx, const Tensor& tokens) override;
  /// The same with other slots than those of training.
  Tensor logits(Context& ctx, const Tensor& tokens, const Slots& slots) const;

  /// Generation reads the text so far again for every step. The first tokens read are the prompt:
  /// what `paper` and `prefix_lm` pool.
  GenerationState start(Context& ctx, std::int64_t batch, std::int64_t max_length) override;
  Tensor step(Context& ctx, const Tensor& tokens, GenerationState& state) override;

  std::int64_t vocab_size() const override { return model_->vocab_size(); }
  std::int64_t padded_vocab_size() const override { return model_->padded_vocab_size(); }
  std::int64_t max_seq_len() const override { return model_->max_seq_len(); }
  std::int64_t num_layers() const override { return model_->num_layers(); }
  double flops_per_token(std::int64_t seq_len) const override;
  std::string_view flops_formula() const override { return model_->flops_formula(); }

  /// Features [B, T, C] of the last region: what the readout reads.
  Tensor features(Context& ctx, const Tensor& tokens, const Slots& slots) const;

  // The parts, for who runs regions apart.

  const LayeredModel& parts() const { return *model_; }
  const std::vector<Region>& regions() const { return regions_; }
  /// m_0 of a canvas, [B, S, r]. Undefined without slots.
  Tensor initial_state(Context& ctx, const Tensor& canvas, const Slots& slots) const;
  /// Index of the first region that has to run: the last one alone where nothing comes in.
  std::size_t first_region(const Slots& slots) const;
  /// The state as the ablation leaves it. Throws ghost::Error for noise and mask while a tape
  /// records.
  Tensor ablated(Context& ctx, const Tensor& state) const;
  /// Which region a parameter belongs to: its own, the first for regions.initial, the last for
  /// embedding, final norm and head.
  std::int64_t region_of(const Parameter& parameter) const;

  /// Of the last backward pass with regions of their own.
  const BackwardReport& last_backward() const { return last_backward_; }

  /// Called by backward passes with the pullbacks that they form, [n, B, S r, S r] of n regions
  /// from `first` on: those of scan and hybrid, in one process.
  using PullbackObserver =
      std::function<void(Context& ctx, std::size_t first, const Tensor& pullbacks)>;
  void attach_pullback_observer(PullbackObserver observer) { pullbacks_ = std::move(observer); }
  const PullbackObserver& pullback_observer() const { return pullbacks_; }

 private:
  RegionsConfig config_;
  std::unique_ptr<LayeredModel> model_;
  std::string architecture_;
  InterfaceMlp initial_encoder_;
  std::vector<Region> regions_;
  BackwardReport last_backward_;
  PullbackObserver pullbacks_;
};

/// `targets` without those of positions before `first_scored`, which become -1.
Tensor scored_targets(Context& ctx, const Tensor& targets, std::int64_t first_scored);

}  // namespace ghost
