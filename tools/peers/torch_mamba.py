"""Time of a training step of Mamba-2 or Mamba-3 blocks in plain PyTorch.

The blocks are the canonical ones of the paper on latent bounded interfaces (arXiv 2605.09204): 768
channels, 24 heads of 64; Mamba-2 with 64 states in chunks of 128 tokens, Mamba-3 with one input
and output a head, 128 states and chunks of 64. Their state-space part is the chunked form, written
with matrix products and einsum. An embedding of few tokens and a tied head stand around the blocks,
so that a step is a whole one of a language model: `ghostgrad bench` measures the same.

    python3 tools/peers/torch_mamba.py --block mamba2 --threads 2
    python3 tools/peers/torch_mamba.py --block mamba3 --threads 2 --compile
"""

import argparse
import math

import torch
from torch import nn
from torch.nn import functional as F

import torch_step

HEAD_DIM = 64
EPS = 1e-5


def rms_norm(x, weight):
    return F.rms_norm(x.float(), weight.shape, weight.float(), EPS)


def segment_decays(log_decay, diagonal):
    """exp(sum of log_decay over j+1..i) for j <= i + diagonal, else 0: [..., L] -> [..., L, L]."""
    sums = log_decay.cumsum(-1)
    segments = sums.unsqueeze(-1) - sums.unsqueeze(-2)
    length = log_decay.shape[-1]
    kept = torch.ones(length, length, dtype=torch.bool, device=sums.device).tril(diagonal)
    return segments.masked_fill(~kept, -math.inf).exp()


def chunked_scan(x, log_decay, keys, queries, chunk, diagonal=0):
    """Outputs of h[t] = exp(log_decay[t]) h[t-1] + x[t] (x) keys[t], y[t] = h[t] queries[t].

    x [B, T, H, P], log_decay [B, T, H], keys and queries [B, T, N], or [B, T, H, N] where each
    head has its own. T is a multiple of chunk. diagonal -1 leaves x[t] out of y[t].
    """
    n = "hn" if keys.dim() == 4 else "n"
    h = n[:-1]
    # [B, T, ...] -> [B, M, L, ...]: M chunks of L tokens
    x, keys, queries = (part.unflatten(1, (-1, chunk)) for part in (x, keys, queries))
    decay = log_decay.unflatten(1, (-1, chunk)).transpose(2, 3)  # [B, M, H, L]
    sums = decay.cumsum(-1)
    scores = torch.einsum(f"bmi{n},bmj{n}->bm{h}ij", queries, keys)
    weights = segment_decays(decay, diagonal) * (scores if h else scores.unsqueeze(2))
    inside = torch.einsum("bmhij,bmjhp->bmihp", weights, x)

    to_end = (sums[..., -1:] - sums).exp().transpose(2, 3)  # [B, M, L, H]
    added = torch.einsum(f"bmjhp,bmj{n}->bmhpn", x * to_end.unsqueeze(-1), keys)
    # The state before chunk m is the sum of what earlier chunks added, decayed.
    between = segment_decays(F.pad(sums[..., -1].transpose(1, 2), (1, 0)), 0)[..., :-1, 1:]
    states = torch.einsum("bhmc,bchpn->bmhpn", between, added)
    from_start = sums.exp().transpose(2, 3).unsqueeze(-1)
    across = torch.einsum(f"bmi{n},bmhpn->bmihp", queries, states) * from_start
    return (inside + across).flatten(1, 2)


def initial_dt_bias(heads):
    """Inverse softplus of time steps from 0.001 to 0.1."""
    dt = torch.exp(torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)))
    return dt + torch.log(-torch.expm1(-dt))


class Mamba2(nn.Module):
    states, chunk, taps = 64, 128, 4

    def __init__(self, channels):
        super().__init__()
        inner = 2 * channels
        heads = inner // HEAD_DIM
        mixed = inner + 2 * self.states
        self.sizes = [inner, mixed, heads]
        self.parts = [inner, self.states, self.states]
        self.in_proj = nn.Linear(channels, sum(self.sizes), bias=False)
        self.conv = nn.Conv1d(mixed, mixed, self.taps, groups=mixed, padding=self.taps - 1)
        self.dt_bias = nn.Parameter(initial_dt_bias(heads))
        self.a_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.d = nn.Parameter(torch.ones(heads))
        self.norm = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, u):
        z, mixed, dt = self.in_proj(u).split(self.sizes, dim=-1)
        mixed = F.silu(self.conv(mixed.transpose(1, 2))[..., : u.shape[1]]).transpose(1, 2)
        x, keys, queries = mixed.split(self.parts, dim=-1)
        x = x.unflatten(-1, (-1, HEAD_DIM))
        dt = F.softplus(dt.float() + self.dt_bias)
        y = chunked_scan(
            x * dt.unsqueeze(-1), -dt * self.a_log.float().exp(), keys, queries, self.chunk
        )
        y = (y + self.d.unsqueeze(-1) * x).flatten(2)
        return self.out_proj(rms_norm(y * F.silu(z), self.norm).to(u.dtype))


class Mamba3(nn.Module):
    states, chunk = 128, 64

    def __init__(self, channels):
        super().__init__()
        inner = 2 * channels
        heads = inner // HEAD_DIM
        self.sizes = [inner, inner, self.states, self.states, heads, heads, heads, self.states // 4]
        self.in_proj = nn.Linear(channels, sum(self.sizes), bias=False)
        self.dt_bias = nn.Parameter(initial_dt_bias(heads))
        self.d = nn.Parameter(torch.ones(heads))
        self.key_norm = nn.Parameter(torch.ones(self.states))
        self.query_norm = nn.Parameter(torch.ones(self.states))
        self.key_bias = nn.Parameter(torch.ones(heads, self.states))
        self.query_bias = nn.Parameter(torch.ones(heads, self.states))
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, u):
        z, x, keys, queries, dt, decay, trap, angles = self.in_proj(u).split(self.sizes, dim=-1)
        x = x.unflatten(-1, (-1, HEAD_DIM))
        dt = F.softplus(dt.float() + self.dt_bias)
        decay = -F.softplus(decay.float()).clamp(min=1e-4)
        now = torch.sigmoid(trap.float()) * dt  # weight of a token at its own step
        later = F.pad((dt - now)[:, 1:], (0, 0, 0, 1))  # and at the next one
        keys = rms_norm(keys, self.key_norm).unsqueeze(2) + self.key_bias
        queries = rms_norm(queries, self.query_norm).unsqueeze(2) + self.query_bias
        own = now * (keys * queries).sum(-1) + self.d
        turns = dt.unsqueeze(-1) * (math.pi * torch.tanh(angles.float())).unsqueeze(2)
        phases = turns.cumsum(1) % (2 * math.pi)
        y = chunked_scan(
            x * (now + later).unsqueeze(-1),
            decay * dt,
            rotate(keys, phases),
            rotate(queries, phases),
            self.chunk,
            diagonal=-1,
        )
        y = (y + own.unsqueeze(-1) * x).flatten(2) * F.silu(z)
        return self.out_proj(y.to(u.dtype))


def rotate(x, phases):
    """Turns the first pairs of neighbours of x [..., N] by phases [..., S]."""
    turned, rest = x.split([2 * phases.shape[-1], x.shape[-1] - 2 * phases.shape[-1]], dim=-1)
    a, b = turned.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = phases.cos(), phases.sin()
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    return torch.cat([turned, rest], dim=-1)


class LanguageModel(nn.Module):
    def __init__(self, block, layers, channels, vocab_size):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, channels)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.mixers = nn.ModuleList(block(channels) for _ in range(layers))
        self.norms = nn.ParameterList(torch.ones(channels) for _ in range(layers + 1))

    def forward(self, tokens, targets):
        x = self.tokens(tokens)
        for mixer, norm in zip(self.mixers, self.norms):
            x = x + mixer(rms_norm(x, norm).to(x.dtype))
        logits = F.linear(rms_norm(x, self.norms[-1]).to(x.dtype), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    torch_step.add_arguments(parser)
    parser.add_argument("--block", choices=["mamba2", "mamba3"], required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--vocab-size", type=int, default=256)
    args = parser.parse_args()
    block = {"mamba2": Mamba2, "mamba3": Mamba3}[args.block]

    def make_model():
        return LanguageModel(block, args.layers, args.channels, args.vocab_size)

    torch_step.report(args, make_model, args.batch, args.seq_len, args.vocab_size)


if __name__ == "__main__":
    main()
