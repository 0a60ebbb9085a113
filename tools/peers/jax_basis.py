"""Time of the BASIS paper's training step (arXiv 2604.16324) in JAX.

The published run: a GPT of 2 layers, 64 channels and 2 heads on one sequence of 64 tokens, an
untied head of 50,257 tokens, SGD with momentum; `configs/basis/parity_exact.yaml` says all of it.
With --rank R the linears of the MLPs and the head keep R rows of signed sums instead of their
input, and their weight gradients are formed of two such sketches. Written from the paper's
description. A step is one jitted call that updates its weights in place.

    python3 tools/peers/jax_basis.py
    python3 tools/peers/jax_basis.py --rank 16
"""

import argparse
import functools
import json
import os
import resource
import statistics
import time

import jax
import jax.numpy as jnp

VOCAB_SIZE, CHANNELS, HEADS, LAYERS, SEQ_LEN = 50257, 64, 2, 2, 64
LEARNING_RATE, MOMENTUM = 0.01, 0.9
LAMBDA, EPS = 0.01, 1e-8  # of the sketch


def row_sketch(key, rows, rank):
    """S [rank, rows]: every row in one bin, the bins equally full, under a random sign."""
    bin_key, sign_key = jax.random.split(key)
    bins = jax.random.permutation(bin_key, jnp.arange(rows) % rank)
    signs = jax.random.rademacher(sign_key, (rows,), jnp.float32)
    return jax.nn.one_hot(bins, rank, axis=0) * signs


def sketched(sketch, x):
    """S x and the factor that gives it the norm of x."""
    sums = sketch @ x
    return sums, jnp.linalg.norm(x) / (jnp.linalg.norm(sums) + EPS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def sketched_product(x, weight, key, rank):
    """x @ weight; the gradient of weight is estimated from rank rows."""
    return x @ weight


def sketched_product_forward(x, weight, key, rank):
    sums, factor = sketched(row_sketch(key, len(x), rank), x)
    return x @ weight, (sums, factor, weight, key)


def sketched_product_backward(rank, kept, dy):
    sums, factor, weight, key = kept
    dy_sums, dy_factor = sketched(row_sketch(key, len(dy), rank), dy)
    scale = (1 - LAMBDA) ** 2 * factor * dy_factor
    return dy @ weight.T, scale * (sums.T @ dy_sums), None


sketched_product.defvjp(sketched_product_forward, sketched_product_backward)


def product(x, weight, key, rank):
    return sketched_product(x, weight, key, rank) if rank else x @ weight


def layer_norm(x, parameters):
    scale, bias = parameters
    mean = x.mean(-1, keepdims=True)
    variance = (x * x).mean(-1, keepdims=True) - mean * mean
    return (x - mean) * jax.lax.rsqrt(variance + 1e-6) * scale + bias


def attention(x, block):
    def heads_of(name):
        weight, bias = block[name]
        return (x @ weight + bias).reshape(SEQ_LEN, HEADS, -1)

    q, k, v = (heads_of(name) for name in ("query", "key", "value"))
    scores = jnp.einsum("ihc,jhc->hij", q / q.shape[-1] ** 0.5, k)
    scores = jnp.where(jnp.tri(SEQ_LEN, dtype=bool), scores, -1e30)
    mixed = jnp.einsum("hij,jhc->ihc", jax.nn.softmax(scores), v)
    weight, bias = block["out"]
    return mixed.reshape(SEQ_LEN, CHANNELS) @ weight + bias


def loss_of(parameters, tokens, targets, key, rank):
    keys = jax.random.split(key, 2 * LAYERS + 1)
    x = parameters["tokens"][tokens] + parameters["positions"]
    for i, block in enumerate(parameters["blocks"]):
        x = x + attention(layer_norm(x, block["norm_1"]), block)
        weight, bias = block["up"]
        hidden = product(layer_norm(x, block["norm_2"]), weight, keys[2 * i], rank) + bias
        weight, bias = block["down"]
        x = x + product(jax.nn.gelu(hidden), weight, keys[2 * i + 1], rank) + bias
    logits = product(layer_norm(x, parameters["norm"]), parameters["head"], keys[-1], rank)
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()


def initial_parameters(key):
    keys = iter(jax.random.split(key, 6 * LAYERS + 3))

    def matrix(rows, columns):
        draws = jax.random.truncated_normal(next(keys), -2, 2, (rows, columns))
        return draws / (0.87962566 * rows**0.5)

    def linear(rows, columns):
        return matrix(rows, columns), jnp.zeros(columns)

    def table(rows):
        return jax.random.normal(next(keys), (rows, CHANNELS)) / CHANNELS**0.5

    def norm():
        return jnp.ones(CHANNELS), jnp.zeros(CHANNELS)

    def block():
        projections = {
            name: linear(CHANNELS, CHANNELS) for name in ("query", "key", "value", "out")
        }
        return {
            "norm_1": norm(),
            "norm_2": norm(),
            "up": linear(CHANNELS, 4 * CHANNELS),
            "down": linear(4 * CHANNELS, CHANNELS),
            **projections,
        }

    return {
        "tokens": table(VOCAB_SIZE),
        "positions": table(SEQ_LEN),
        "blocks": [block() for _ in range(LAYERS)],
        "norm": norm(),
        "head": matrix(CHANNELS, VOCAB_SIZE),
    }


@functools.partial(jax.jit, static_argnums=3, donate_argnums=0)
def train_step(state, tokens, targets, rank):
    parameters, momenta, key = state
    key, step_key = jax.random.split(key)
    loss, gradients = jax.value_and_grad(loss_of)(parameters, tokens, targets, step_key, rank)
    momenta = jax.tree.map(lambda m, g: MOMENTUM * m + g, momenta, gradients)
    parameters = jax.tree.map(lambda p, m: p - LEARNING_RATE * m, parameters, momenta)
    return (parameters, momenta, key), loss


def time_steps(args):
    """Median seconds of a step over windows of steps, each waited for at its end."""
    key, token_key, seed = jax.random.split(jax.random.key(1), 3)
    parameters = initial_parameters(seed)
    state = parameters, jax.tree.map(jnp.zeros_like, parameters), key
    del parameters
    batches = jax.random.randint(token_key, (args.window, 2, SEQ_LEN), 0, VOCAB_SIZE)
    batches = [(batch[0], batch[1]) for batch in batches]
    times = []
    for _ in range(1 + args.windows):
        begin = time.perf_counter()
        for tokens, targets in batches:
            state, loss = train_step(state, tokens, targets, args.rank)
        loss.block_until_ready()
        times.append((time.perf_counter() - begin) / args.window)
    return statistics.median(times[1:])  # the first one compiles


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, default=0, help="rows of a sketch; 0: exact gradients")
    parser.add_argument("--window", type=int, default=20, help="steps between looks at the clock")
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    seconds = time_steps(args)
    facts = {
        "program": f"JAX {jax.__version__}",
        "mode": "jit",
        "dtype": "f32",
        "threads": len(os.sched_getaffinity(0)),
        "rank": args.rank,
        "ms_per_step": 1e3 * seconds,
        "tokens_per_s": SEQ_LEN / seconds,
        "process_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    if args.json:
        print(json.dumps(facts))
    else:
        print(f"JAX {jax.__version__}: {1e3 * seconds:.2f} ms a step, {1 / seconds:.1f} steps/s")


if __name__ == "__main__":
    main()
