"""Time of a GPT training step in PyTorch, for comparison with `ghostgrad bench`.

The model is GPT-2's (learned positions, layer norm, GELU, tied head, no dropout), or nanoGPT's
with --no-bias --gelu none. Attention is scaled_dot_product_attention. Prints rows of a Markdown
table.

    python3 tools/peers/torch_gpt.py --dtype f32 --batch 1 --threads 2
    python3 tools/peers/torch_gpt.py --device cuda --dtype bf16 --batch 8 16 32 --compile
"""

import argparse

from torch import nn
from torch.nn import functional as F

import torch_step


class Block(nn.Module):
    def __init__(self, channels, heads, bias, gelu):
        super().__init__()
        self.heads = heads
        self.gelu = gelu
        self.ln_1 = nn.LayerNorm(channels, bias=bias)
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.proj = nn.Linear(channels, channels, bias=bias)
        self.ln_2 = nn.LayerNorm(channels, bias=bias)
        self.up = nn.Linear(channels, 4 * channels, bias=bias)
        self.down = nn.Linear(4 * channels, channels, bias=bias)

    def forward(self, x):
        batch, length, channels = x.shape
        parts = self.qkv(self.ln_1(x)).split(channels, dim=2)
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, channels))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate=self.gelu))


class Gpt(nn.Module):
    def __init__(self, args):
        super().__init__()
        channels = args.channels
        self.tokens = nn.Embedding(args.vocab_size, channels)
        self.positions = nn.Embedding(args.seq_len, channels)
        self.blocks = nn.ModuleList(
            Block(channels, args.heads, args.bias, args.gelu) for _ in range(args.layers)
        )
        self.norm = nn.LayerNorm(channels, bias=args.bias)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    torch_step.add_arguments(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--no-bias", dest="bias", action="store_false")
    parser.add_argument("--gelu", choices=["tanh", "none"], default="tanh", help="none: exact")
    args = parser.parse_args()
    torch_step.report(args, lambda: Gpt(args), args.batch, args.seq_len, args.vocab_size)


if __name__ == "__main__":
    main()
