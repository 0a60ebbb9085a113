"""Time of a GPT training step in PyTorch, for comparison with `ghostgrad bench`.

The model is GPT-2's (learned positions, layer norm with bias, GELU by tanh, tied head, no dropout),
the step is forward, backward, clipping at 1 and fused AdamW, on random tokens. Attention is
scaled_dot_product_attention. Prints rows of a Markdown table.

    python3 tools/peers/torch_gpt.py --dtype f32 --batch 1 --threads 2
    python3 tools/peers/torch_gpt.py --device cuda --dtype bf16 --batch 8 16 32 --compile
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.ln_2 = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 4 * channels)
        self.down = nn.Linear(4 * channels, channels)

    def forward(self, x):
        batch, length, channels = x.shape
        parts = self.qkv(self.ln_1(x)).split(channels, dim=2)
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, channels))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, heads, channels, vocab_size, max_seq_len):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, channels)
        self.positions = nn.Embedding(max_seq_len, channels)
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def time_steps(args, batch):
    device = torch.device(args.device)
    torch.manual_seed(1)
    model = Gpt(args.layers, args.heads, args.channels, args.vocab_size, args.seq_len).to(device)
    run = torch.compile(model) if args.compile else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    shape = (batch, args.seq_len)
    tokens = torch.randint(args.vocab_size, shape, device=device)
    targets = torch.randint(args.vocab_size, shape, device=device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=args.dtype == "bf16")

    def step():
        with autocast:
            loss = run(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(args.warmup):
        step()
    times = []
    for _ in range(args.steps):
        wait()
        begin = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return statistics.median(times), peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    # f32 means f32: no tf32.
    torch.backends.cuda.matmul.allow_tf32 = False
    mode = "compiled" if args.compile else "eager"
    print(f"PyTorch {torch.__version__}, {mode}, {args.dtype}\n")
    print("| batch | ms a step | tokens a second | peak, MiB |")
    print("| --- | --- | --- | --- |")
    for batch in args.batch:
        seconds, peak = time_steps(args, batch)
        memory = f"{peak / 2**20:.0f}" if peak is not None else ""
        print(
            f"| {batch} x {args.seq_len} | {1e3 * seconds:.2f} "
            f"| {batch * args.seq_len / seconds:,.0f} | {memory} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
