"""Times `ghostgrad bench` beside PyTorch and JAX and writes one Markdown table.

Every program runs in its own process, one after the other, for several rounds; the table has the
medians over rounds. Needs the Python of an environment that has torch and jax.

    python3 tools/peers/compare.py --ghostgrad build/release/ghostgrad --out table.md
    python3 tools/peers/compare.py --only char_gpt --rounds 1
    python3 tools/peers/compare.py --dtype bf16 --peer-dtypes bf16 bf16-master
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

PEERS = pathlib.Path(__file__).resolve().parent
ROOT = PEERS.parents[1]


@dataclasses.dataclass(frozen=True)
class Case:
    """The same training step in our program and in others."""

    name: str
    title: str
    config: str
    overrides: str  # of the config, KEY=VALUE ...
    peer: str  # script and its arguments
    steps: int = 20
    warmup: int = 3


def mamba_case(block):
    return Case(
        name=block,
        title=f"{block.capitalize()} block, 768 channels, 1 x 1024",
        config=f"configs/{block}/lbi_canonical.yaml",
        overrides="model.layers=1 model.vocab_size=256",
        peer=f"torch_mamba.py --block {block}",
    )


def basis_case(name, title, overrides, rank):
    return Case(
        name=name,
        title=title,
        config="configs/basis/parity_exact.yaml",
        overrides=overrides,
        peer=f"jax_basis.py --rank {rank}",
        steps=200,
        warmup=20,
    )


CASES = [
    Case(
        name="char_gpt",
        title="character GPT, 4 x 128, 12 x 64",
        config="configs/gpt/shakespeare_char_cpu.yaml",
        overrides="model.vocab_size=65",
        peer="torch_gpt.py --layers 4 --heads 4 --channels 128 --vocab-size 65 --no-bias"
        " --gelu none --batch 12 --seq-len 64",
        steps=100,
        warmup=20,
    ),
    Case(
        name="gpt2_124m",
        title="GPT-2 124M, 1 x 1024",
        config="configs/gpt/gpt2_124m_fineweb.yaml",
        overrides="train.batch_size=1 train.micro_steps=1",
        peer="torch_gpt.py --vocab-size 50304",
        steps=5,
        warmup=2,
    ),
    basis_case("basis_exact", "BASIS parity run, exact, 1 x 64", "", 0),
    basis_case(
        "basis_r16",
        "BASIS parity run, R = 16, 1 x 64",
        "residuals.preset=basis residuals.sketch.rank=16",
        16,
    ),
    mamba_case("mamba2"),
    mamba_case("mamba3"),
]


def our_command(case, args):
    overrides = [*case.overrides.split(), f"train.dtype={args.dtype}"]
    if args.threads:
        overrides.append(f"train.threads={args.threads}")
    settings = [part for override in overrides for part in ("--set", override)]
    counts = ["--steps", str(case.steps), "--warmup", str(case.warmup)]
    return [str(args.ghostgrad.resolve()), "bench", case.config, *settings, *counts, "--json"]


def peer_commands(case, args):
    """Label -> command, one for each dtype and mode that the peer has."""
    python = [sys.executable, *f"tools/peers/{case.peer} --json".split()]
    if not case.peer.startswith("torch_"):
        return {"JAX, jit, f32": python}
    counts = ["--steps", str(case.steps), "--warmup", str(case.warmup)]
    threads = ["--threads", str(args.threads)] if args.threads else []
    commands = {}
    for dtype in args.peer_dtypes or [args.dtype]:
        for mode in args.modes:
            flags = ["--compile"] if mode == "compiled" else []
            label = f"PyTorch, {mode}, {dtype}"
            commands[label] = [*python, "--dtype", dtype, *flags, *counts, *threads]
    return commands


def run(command):
    """The facts that a command prints as JSON, on its last line."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {shlex.join(command)} failed\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(case, args):
    """Label -> command and the facts of every round, ours first."""
    commands = {f"ghostgrad, {args.dtype}": our_command(case, args), **peer_commands(case, args)}
    rounds = {label: [] for label in commands}
    for number in range(args.rounds):
        for label, command in commands.items():
            facts = run(command)
            rounds[label].append(facts)
            print(
                f"{case.name}, round {number + 1}: {label} {facts['ms_per_step']:.2f} ms",
                file=sys.stderr,
                flush=True,
            )
    return {label: (command, rounds[label]) for label, command in commands.items()}


def table_rows(case, measured):
    def median(label, key):
        return statistics.median(facts[key] for facts in measured[label][1])

    ours = next(iter(measured))
    for label in measured:
        ms = median(label, "ms_per_step")
        peak = median(label, "process_peak_bytes")
        yield (
            f"| {case.title} | {label} | {ms:.2f} | {median(label, 'tokens_per_s'):,.0f} "
            f"| {ms / median(ours, 'ms_per_step'):.2f} | {peak / 2**20:.0f} "
            f"| {peak / median(ours, 'process_peak_bytes'):.2f} |"
        )


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def report(results, args):
    """The table, what ran where, and every command."""
    runs = [
        facts
        for measured in results.values()
        for _, rounds in measured.values()
        for facts in rounds
    ]
    programs = sorted({facts["program"] for facts in runs if "program" in facts})
    threads = sorted({facts["threads"] for facts in runs})
    yield (
        f"{processor()}, threads {', '.join(map(str, threads))}; {', '.join(programs)}, "
        f"Python {platform.python_version()}; medians of {args.rounds} alternating rounds."
    )
    yield ""
    yield "| step | program | ms | tokens/s | times ours | peak, MiB | times ours |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for case, measured in results.items():
        yield from table_rows(case, measured)
    yield "\n```sh"
    for measured in results.values():
        for command, _ in measured.values():
            program = "python3" if command[0] == sys.executable else "ghostgrad"
            yield shlex.join([program, *command[1:]])
    yield "```"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--ghostgrad", type=pathlib.Path, default=ROOT / "build/release/ghostgrad"
    )
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="ours")
    parser.add_argument(
        "--peer-dtypes", nargs="+", choices=["f32", "bf16", "bf16-master"], help="PyTorch's; as ours"
    )
    parser.add_argument(
        "--modes", nargs="+", choices=["eager", "compiled"], default=["eager", "compiled"]
    )
    parser.add_argument("--out", type=pathlib.Path, help="gets the table; else it is printed")
    args = parser.parse_args()
    if args.threads:  # for all alike: JAX has no other way
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    results = {
        case: measure(case, args) for case in CASES if args.only is None or case.name in args.only
    }
    text = "\n".join(report(results, args)) + "\n"
    if args.out:
        args.out.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
