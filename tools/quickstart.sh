#!/usr/bin/env bash
# From a fresh clone to a trained language model: installs what is missing, builds ghostgrad, makes
# a corpus, trains a small GPT on it, evaluates it, prints a sample and draws the report.
#
#   tools/quickstart.sh [TEXT_FILE] [--steps N]
#
# Without TEXT_FILE the corpus is this repository's own sources and documents, read as bytes:
# nothing is downloaded. Run it again and it starts over.
set -euo pipefail

usage() {
  echo "quickstart.sh: $1" >&2
  echo "usage: tools/quickstart.sh [TEXT_FILE] [--steps N]" >&2
  exit 2
}

text_file=""
steps=""
while (($# > 0)); do
  case "$1" in
    --steps)
      (($# > 1)) || usage "--steps has no value; expected a positive whole number"
      steps=$2
      [[ $steps =~ ^[1-9][0-9]*$ ]] || usage "--steps is $steps; expected a positive whole number"
      shift 2
      ;;
    -*) usage "unknown option $1" ;;
    *)
      [[ -z $text_file ]] || usage "$1 is a second text file; expected one"
      [[ -s $1 && -r $1 ]] || usage "cannot read $1; expected a text file that is not empty"
      text_file=$(realpath -- "$1")
      shift
      ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly ghostgrad=build/release/ghostgrad
readonly run_dir=runs/quickstart
section() { printf '\n== %s\n' "$1"; }

section "Install and build"
tools/install_deps.sh
cmake --preset release >/dev/null
cmake --build --preset release --target ghostgrad

section "Corpus"
settings=(--set "run.dir=$run_dir")
if [[ -n $text_file ]]; then
  "$ghostgrad" data prepare "$text_file" --tokenizer byte --out datasets/quickstart --force
  settings+=(--set "data.train=quickstart/train_*.bin" --set "data.val=quickstart/val_*.bin")
  prompt=$'\n'
else
  "$ghostgrad" data prepare source --from . --set data.root=datasets --force
  prompt="The "
fi
[[ -z $steps ]] || settings+=(--set "train.steps=$steps")

section "Train"
"$ghostgrad" train configs/quickstart.yaml --overwrite "${settings[@]}"

section "Evaluate"
"$ghostgrad" eval "$run_dir"

section "Sample"
"$ghostgrad" sample "$run_dir" --prompt "$prompt" --tokens 200

section "Report"
"$ghostgrad" report "$run_dir"

cat <<END

Done in $((SECONDS / 60))m$(printf '%02d' $((SECONDS % 60)))s.
  curves and facts   $run_dir/report.html
  metrics            $run_dir/metrics.jsonl
  checkpoints        $run_dir/checkpoints/
  resolved config    $run_dir/config.yaml
  more text          $ghostgrad sample $run_dir --prompt "..." --tokens 500
END
