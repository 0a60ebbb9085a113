#!/usr/bin/env bash
# Measures a GPU in at most 8 minutes and writes docs/results/gpu.md and gpu.json:
#
#   tools/gpu_report.sh                      with build/cuda/ghostgrad
#   tools/gpu_report.sh BINARY OUT_FOLDER    with another binary, into another folder
#
# A copy and a large product for the ceilings, GPT-2 124M at several batch sizes and under every
# residual preset, its operations alone, and, where python3 has torch, the same step in PyTorch. What
# the file says under "Not yet run" stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=${1:-build/cuda/ghostgrad}
out=${2:-docs/results}
limit=$((SECONDS + 480))
mkdir -p "$out"
md=$out/gpu.md
json=$out/gpu.json
: >"$json"

config=configs/gpt/gpt2_124m_fineweb.yaml
common=(--append-json "$json" --device cuda --set train.dtype=bf16 --set train.micro_steps=1 --set model.vocab_size=50257)
steps=(--steps 20 --warmup 5)

# bench NAME ARGUMENTS...: one row of the table and one line of JSON, unless time is up.
bench() {
  local name=$1
  shift
  if ((SECONDS > limit)); then
    echo "| $name | left out: 8 minutes are over | | | | |"
    return
  fi
  if ! "$binary" bench "$config" "${common[@]}" "${steps[@]}" --row "$name" "$@" 2>>"$out/gpu.err"; then
    echo "| $name | failed: $(tail -n 1 "$out/gpu.err") | | | | |"
  fi
}

{
  echo "# GPT-2 124M on a GPU: measured"
  echo
  echo "$(date -u +%F), $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | head -n 1)."
  echo "bf16 activations, f32 parameters, random tokens; medians of 20 steps after 5. FLOP/s count 6 N + 12 L C T."
  echo "Made by \`tools/gpu_report.sh\`."
  echo
  echo "## Batch sizes, exact"
  echo
  echo "| batch x 1024 | ms a step | tokens a second | FLOP/s | peak of all | residuals and sketches |"
  echo "| --- | --- | --- | --- | --- | --- |"
  for batch in 8 16 32 64; do
    bench "$batch" --set train.batch_size="$batch"
  done
  echo
  echo "## Residual plans, batch 32"
  echo
  echo "| plan | ms a step | tokens a second | FLOP/s | peak of all | residuals and sketches |"
  echo "| --- | --- | --- | --- | --- | --- |"
  plan() { bench "$1" --set train.batch_size=32 "${@:2}"; }
  plan exact
  plan "recompute cheap" --set residuals.recompute=cheap
  plan "recompute block" --set residuals.recompute=block
  for preset in basis basis+int8 basis+int8+gelu4 basis+recompute ghost; do
    plan "$preset, R = rows / 16" --set residuals.preset="$preset" \
      --set residuals.sketch.rank_fraction=0.0625
  done
  echo
  echo "## Operations alone, batch 32"
  echo
  "$binary" bench "$config" "${common[@]}" --set train.batch_size=32 --kernels 2>>"$out/gpu.err" ||
    echo "failed: $(tail -n 1 "$out/gpu.err")"
  echo
  echo "## PyTorch, the same steps in the same run"
  echo
  if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    python3 tools/peers/torch_gpt.py --device cuda --dtype bf16 --batch 8 16 32 --compile \
      2>>"$out/gpu.err" || echo "failed: $(tail -n 1 "$out/gpu.err")"
  else
    echo "Left out: python3 has no torch that sees a GPU."
  fi
} >"$md.part"
if [[ -f $md ]]; then
  awk '/^## Not yet run/ { keep = 1; print "" } keep' "$md" >>"$md.part"
fi
mv "$md.part" "$md"
[[ -s $out/gpu.err ]] || rm -f "$out/gpu.err"
cat "$md"
