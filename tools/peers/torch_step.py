"""A training step in PyTorch and its time: what the PyTorch peers share.

A step is forward, backward, clipping at 1 and fused AdamW on one batch of random tokens. A model
takes tokens and targets and returns a loss. Its dtypes:

    f32          everything in f32
    bf16         f32 weights under autocast
    bf16-master  bf16 weights and gradients, f32 masters in the optimizer
"""

import json
import resource
import statistics
import time

import torch
from torch import nn

DTYPES = ["f32", "bf16", "bf16-master"]


class Step:
    """One training step of a model; calling it returns the loss."""

    def __init__(self, model, dtype, compiled):
        self.device_type = next(model.parameters()).device.type
        self.autocast = dtype == "bf16"
        self.masters = None
        if dtype == "bf16-master":
            self.masters = [p.detach().clone() for p in model.parameters()]
            model.to(torch.bfloat16)
        self.weights = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.masters or self.weights, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )
        self.loss_of = torch.compile(model) if compiled else model

    def __call__(self, tokens, targets):
        with torch.autocast(self.device_type, torch.bfloat16, enabled=self.autocast):
            loss = self.loss_of(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.update()
        return loss

    @torch.no_grad()
    def update(self):
        if self.masters is None:
            self.optimizer.step()
        else:
            for master, weight in zip(self.masters, self.weights):
                master.grad = weight.grad.float()
            self.optimizer.step()
            torch._foreach_copy_(self.weights, self.masters)
            self.optimizer.zero_grad(set_to_none=True)
        for weight in self.weights:
            weight.grad = None


def add_arguments(parser):
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a batch size")


def measure(args, make_model, batch, seq_len, vocab_size):
    """Median seconds of a step and peak bytes: of the process, on a GPU of its memory."""
    device = torch.device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = False  # f32 means f32
    torch.manual_seed(1)
    step = Step(make_model().to(device), args.dtype, args.compile)
    tokens, targets = torch.randint(vocab_size, (2, batch, seq_len), device=device)
    times = []
    for i in range(args.warmup + args.steps):
        begin = time.perf_counter()
        step(tokens, targets).item()  # waits for the device
        if i >= args.warmup:
            times.append(time.perf_counter() - begin)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return statistics.median(times), peak


def report(args, make_model, batches, seq_len, vocab_size):
    """Measures every batch size and prints a row for each."""
    mode = "compiled" if args.compile else "eager"
    if not args.json:
        print(f"PyTorch {torch.__version__}, {mode}, {args.dtype}\n")
        print("| batch | ms a step | tokens a second | peak, MiB |")
        print("| --- | --- | --- | --- |")
    for batch in batches:
        seconds, peak = measure(args, make_model, batch, seq_len, vocab_size)
        tokens_per_s = batch * seq_len / seconds
        facts = {
            "program": f"PyTorch {torch.__version__}",
            "mode": mode,
            "dtype": args.dtype,
            "threads": torch.get_num_threads(),
            "batch": batch,
            "seq_len": seq_len,
            "ms_per_step": 1e3 * seconds,
            "tokens_per_s": tokens_per_s,
            "process_peak_bytes": peak,
        }
        row = (
            f"| {batch} x {seq_len} | {1e3 * seconds:.2f} "
            f"| {tokens_per_s:,.0f} | {peak / 2**20:.0f} |"
        )
        print(json.dumps(facts) if args.json else row, flush=True)
