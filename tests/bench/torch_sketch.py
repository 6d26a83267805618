"""Sketch's network in plain PyTorch on the CPU: what our kernels are measured against, back to back, in one run.

    pip install torch safetensors
    cargo build --release --workspace
    OMP_WAIT_POLICY=PASSIVE python tests/bench/torch_sketch.py                   # inference: a table and one line of JSON
    python tests/bench/torch_sketch.py --sizes 384x216 --rounds 5 --json         # the line alone
    python tests/bench/torch_sketch.py --check                                   # only whether it is the same network
    python tests/bench/torch_sketch.py --training --count 5                      # the training step instead

Inference is one chunk through a full KV window with the shipped weights, as `Session::next_chunk` makes it: a pass for each noise
level, the commit, which ends at the last layer's keys and values, and the decoding of the correction. Rounds alternate between
`kinebrush bench` and PyTorch's modes (eager and torch.compile, f32 and bf16); a figure is the median over rounds of a round's median.
* passes: ours is levels x denoise + commit + sampler of the bench's stages (noise, the condition's share of the stem, latents between the
  passes; noise drawn beforehand for PyTorch).
* whole: ours is the whole chunk, with the guide's warp, the condition, compositing; PyTorch's is passes + decoding: unfavourable to us.
PyTorch gets what suits it: channels-last convolutions, fused attention into a preallocated window that is never moved, modulations and
noise beforehand, inference mode, the whole model in bf16 (faster than autocast); torch.compile also folds and packs the frozen weights.

Before anything is measured, the same classes with the weights of tests/fixtures/dit.safetensors must give what that file says to 1e-4, over
the whole clip with its mask and chunk by chunk through the window. tests/tests/parity.rs holds the engine to the same numbers, which
come from diffusers and torch.nn. Shipped weights are loaded by name: a missing, extra or misshapen tensor ends the program.

`--training`: forward, loss, backward, clipping and AdamW on 8 clips of 4 chunks x 2 latents x 16x16 cells (128x128 px); ours is
`kinebrush bench --training`. The lean to the smooth guide is left out of the loss, in PyTorch's favour.

Where other programs run too, set OMP_WAIT_POLICY=PASSIVE, or PyTorch's threads wait in a busy loop for one another and everything takes
several times as long.
"""

import argparse
import copy
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "assets/sketch"


def config(**values):
    """What model::config::Config holds and works out."""
    c = SimpleNamespace(**values)
    c.raw = c.id_channels * c.frames_per_latent
    c.plain = c.latent_channels + c.smooth_channels + 4 * c.frames_per_latent + 2
    c.patch = c.frames_per_latent * c.cell_px**2 * 3
    return c


def read_ron(path):
    text = path.read_text().partition("config:")[2]
    numbers = re.findall(r"(\w+): ([\d.]+),", text)
    levels = re.search(r"noise_levels: \[([^]]*)\]", text)[1]
    levels = [float(level) for level in levels.split(",") if level.strip()]
    return config(noise_levels=levels, **{name: float(v) if "." in v else int(v) for name, v in numbers})


SKETCH = read_ron(MODEL / "model.ron")
TINY = config(  # of tests/fixtures/make_wan_block.py
    cell_px=4, frames_per_latent=2, latent_channels=12, smooth_channels=4, id_channels=8, track_channels=4, stem_channels=16, stem_blocks=1,
    head_blocks=1, dim=24, heads=2, layers=2, ffn_dim=48, time_channels=16, chunk_latents=2, sink_chunks=1, window_chunks=2,
)
LATENT, RAW, PLAIN, PATCH = SKETCH.latent_channels, SKETCH.raw, SKETCH.plain, SKETCH.patch
CHUNK, SINK, WINDOW = SKETCH.chunk_latents, SKETCH.sink_chunks, SKETCH.window_chunks


def rotate(x, cos, sin):
    """Interleaved pairs; x (batch, heads, tokens, head_dim)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def rotation(latents, rows, columns, head_dim=SKETCH.dim // SKETCH.heads):
    spatial = 2 * (head_dim // 6)
    grid = torch.meshgrid(torch.arange(latents), torch.arange(rows), torch.arange(columns), indexing="ij")
    parts = zip(grid, (head_dim - 2 * spatial, spatial, spatial))
    angle = torch.cat([g.flatten()[:, None] * 10000.0 ** (-torch.arange(0, d, 2) / d) for g, d in parts], -1)
    return angle.cos(), angle.sin()


# Modules and parameters bear the checkpoint's names.
class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.self_attn = nn.ModuleDict({name: nn.Linear(c.dim, c.dim) for name in "qkvo"})
        self.self_attn.update({name: nn.RMSNorm(c.dim, eps=1e-6) for name in ("norm_q", "norm_k")})
        self.norm = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / math.sqrt(c.dim))

    def forward(self, x, time, cos, sin, mask=None, window=None, keys_only=False):
        """x (batch, tokens, dim), time (batch, chunks, 6, dim); window: keys, values and the first slot of the chunk in work."""
        grouped = lambda x: x.unflatten(1, (time.shape[1], -1))
        part = (time + self.modulation).unsqueeze(3).unbind(2)
        split = lambda x: x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        attn = self.self_attn
        y = (self.norm(grouped(x)) * (1 + part[1]) + part[0]).flatten(1, 2)
        k, v = rotate(split(attn.norm_k(attn.k(y))), cos, sin), split(attn.v(y))
        if window is not None:
            keys, values, first = window
            end = first + k.shape[2]
            keys[:, :, first:end], values[:, :, first:end] = k, v
            k, v = keys[:, :, :end], values[:, :, :end]
        if keys_only:
            return x
        q = rotate(split(attn.norm_q(attn.q(y))), cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = grouped(x) + grouped(attn.o(y)) * part[2]
        y = self.norm(x) * (1 + part[4]) + part[3]
        return (x + self.ffn(y) * part[5]).flatten(1, 2)


class ConvBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.RMSNorm(channels, eps=1e-6)
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x):
        y = self.norm(x).permute(0, 3, 1, 2)  # a channels-last picture to the convolution
        y = self.conv2(F.gelu(self.conv1(y), approximate="tanh"))
        return x + y.permute(0, 2, 3, 1)


class Dit(nn.Module):
    def __init__(self, c=SKETCH):
        super().__init__()
        self.c, stem = c, c.stem_channels
        blocks = lambda count: {str(i): ConvBlock(stem) for i in range(count)}
        self.track_head = nn.Linear(c.raw, c.track_channels)
        self.stem = nn.ModuleDict({"in": nn.Linear(c.latent_channels + c.plain + c.track_channels, stem), **blocks(c.stem_blocks)})
        self.patch_embedding = nn.Linear(4 * stem, c.dim)
        self.time_embedding = nn.Sequential(nn.Linear(c.time_channels, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.head = nn.ModuleDict({"unpatch": nn.Linear(c.dim, 4 * stem), **blocks(c.head_blocks)})
        self.head.update({"norm": nn.RMSNorm(stem, eps=1e-6), "out": nn.Linear(stem, c.latent_channels + 2)})
        self.head.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / math.sqrt(c.dim))

    def known(self, condition):
        """The condition's share of the stem, the same in every pass of a chunk."""
        tracks = self.track_head(condition[..., self.c.plain :])
        weight = self.stem["in"].weight[:, self.c.latent_channels :]
        return F.linear(torch.cat([condition[..., : self.c.plain], tracks], -1), weight, self.stem["in"].bias)

    def times(self, levels):
        """Of noise levels (batch, chunks): embedding (.., dim) and its projection (.., 6, dim)."""
        half = self.c.time_channels // 2
        angle = 1000 * levels[..., None] * 10000.0 ** (-torch.arange(half) / half)
        embedding = self.time_embedding(torch.cat([angle.cos(), angle.sin()], -1))
        return embedding, self.time_projection(embedding).unflatten(-1, (6, -1))

    def step(self, noisy, known, share, embedding, time, cos, sin, mask=None, windows=None, keys_only=False):
        """noisy (batch, latents, rows, columns, channels), share: the noisy latent's weight 1 - t, to be multiplied with it."""
        batch, latents, rows, columns, _ = noisy.shape
        width = 2 * self.c.stem_channels
        stem = (known + F.linear(noisy * share, self.stem["in"].weight[:, : self.c.latent_channels])).flatten(0, 1)
        for i in range(self.c.stem_blocks):
            stem = self.stem[str(i)](stem)
        folded = stem.reshape(batch, latents, rows // 2, 2, columns // 2, width).transpose(3, 4)
        x = self.patch_embedding(folded.reshape(batch, -1, 2 * width))
        for i, block in enumerate(self.blocks):
            x = block(x, time, cos, sin, mask, windows and windows[i], keys_only and i + 1 == self.c.layers)
        if keys_only:
            return None
        shift, scale = (embedding.unsqueeze(2) + self.head.modulation).unsqueeze(3).unbind(2)
        x = self.head.unpatch(self.norm(x.unflatten(1, (time.shape[1], -1))) * (1 + scale) + shift)
        x = x.reshape(-1, rows // 2, columns // 2, 2, width).transpose(2, 3)
        x = x.reshape(-1, rows, columns, width // 2) + stem
        for i in range(self.c.head_blocks):
            x = self.head[str(i)](x)
        return self.head.out(self.head.norm(x)).unflatten(0, (batch, latents))

    def forward(self, noisy, condition, levels, cos, sin, mask=None, windows=None):
        """noisy and condition (batch, latents, rows, columns, channels), levels (batch, chunks)."""
        share = (1 - levels).repeat_interleave(self.c.chunk_latents, 1)[:, :, None, None, None]
        return self.step(noisy, self.known(condition), share, *self.times(levels), cos, sin, mask, windows)


def loss(out, decoder, target, uncovered):
    """train::loss::PatchLoss; every cell counts."""
    pixels = (out[..., :LATENT] @ decoder).unflatten(-1, (-1, 3))
    u = uncovered.unsqueeze(-1)
    gate = torch.sigmoid(out[..., -1:] - 4).unsqueeze(-1)
    error = pixels * (u + (1 - u) * gate) - target
    return ((u + 0.1 * (1 - u)) * error.square()).sum() / (3 * uncovered.sum())


def measure(count, run):
    """Medians of wall time and of CPU time over all threads, ms; the latter counts where the machine is not idle."""
    run()  # warm up
    times = []
    for _ in range(count):
        start = time.perf_counter(), time.process_time()
        run()
        times.append((1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1])))
    return [round(statistics.median(column), 1) for column in zip(*times)]


def training_step(count, batch=8, rows=16, columns=16):
    chunks = SINK + WINDOW + 1
    latents = chunks * CHUNK
    dit = Dit()
    optimizer = torch.optim.AdamW(dit.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    shape = (batch, latents, rows, columns)
    noisy, condition = torch.randn(*shape, LATENT), torch.randn(*shape, PLAIN + RAW)
    target, uncovered = torch.randn(*shape, PATCH // 3, 3), torch.rand(*shape, PATCH // 3)
    decoder, levels = torch.randn(LATENT, PATCH), 1 - 0.9 * torch.rand(batch, chunks)
    chunk = torch.arange(latents * rows * columns // 4) // (CHUNK * rows * columns // 4)
    mask = chunk[:, None] >= chunk[None, :]

    def step():
        cos, sin = rotation(latents, rows // 2, columns // 2)
        value = loss(dit(noisy, condition, levels, cos, sin, mask), decoder, target, uncovered)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(dit.parameters(), 1.0)
        optimizer.step()

    return sum(p.numel() for p in dit.parameters()), measure(count, step)


def load(c, tensors, path):
    """The network of these tensors, convolutions from (out, 3, 3, in)."""
    dit = Dit(c).eval()
    try:
        dit.load_state_dict({name: (t.permute(0, 3, 1, 2) if t.dim() == 4 else t).float() for name, t in tensors.items()})
    except RuntimeError as error:
        sys.exit(f"{path} does not fit the network: {error}")
    return dit


def windows(c, batch, tokens, held=0, dtype=torch.float32):
    """Keys, values and the first slot of the chunk in work, for each layer; `held` chunks hold something."""
    shape = (batch, c.heads, (c.sink_chunks + c.window_chunks + 1) * tokens, c.dim // c.heads)
    return [(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype), held * tokens) for _ in range(c.layers)]


@torch.inference_mode()
def check():
    """The largest difference from the engine's fixture, against the size of the truth: whole clip, then through the window."""
    path = ROOT / "tests/fixtures/dit.safetensors"
    fixture = {name: t.float() for name, t in load_file(path).items()}
    dit = load(TINY, {name[4:]: t for name, t in fixture.items() if name.startswith("dit.")}, path)
    noisy, levels, truth = fixture["noisy"], fixture["levels"], fixture["out"]
    condition = torch.stack([fixture["condition.0"], fixture["condition.1"]])
    batch, latents, rows, columns, _ = noisy.shape
    cos, sin = rotation(latents, rows // 2, columns // 2, TINY.dim // TINY.heads)
    tokens = TINY.chunk_latents * rows * columns // 4
    chunk = torch.arange(len(cos)) // tokens
    whole = dit(noisy, condition, levels, cos, sin, chunk[:, None] >= chunk[None, :])
    held, parts = windows(TINY, batch, tokens), []
    for i in range(levels.shape[1]):
        frames, slots = slice(i * TINY.chunk_latents, (i + 1) * TINY.chunk_latents), slice(i * tokens, (i + 1) * tokens)
        past = [(keys, values, slots.start) for keys, values, _ in held]
        parts.append(dit(noisy[:, frames], condition[:, frames], levels[:, i : i + 1], cos[slots], sin[slots], windows=past))
    errors = [float((out - truth).abs().max() / truth.abs().max()) for out in (whole, torch.cat(parts, 1))]
    if not max(errors) < 1e-4:
        sys.exit(f"not the engine's network: off by {errors} of the largest output in {path}")
    return errors


class Chunks:
    """One of PyTorch's modes at work on chunks of one size."""

    def __init__(self, dit, decoder, width, height, dtype, compiled):
        c, token = dit.c, 2 * dit.c.cell_px
        rows, columns = -(-height // token) * 2, -(-width // token) * 2
        tokens, held = c.chunk_latents * rows * columns // 4, c.sink_chunks + c.window_chunks
        random = torch.Generator().manual_seed(1)
        cells = lambda channels: torch.randn(1, c.chunk_latents, rows, columns, channels, generator=random).to(dtype)
        self.condition, self.smooth, self.unknown = cells(c.plain + c.raw), cells(c.latent_channels), cells(1) > 0
        self.guide = self.condition[..., : c.latent_channels].contiguous()
        of = lambda level: tuple(t.to(dtype) for t in (torch.tensor(level), *dit.times(torch.tensor([[level]]))))
        self.steps, self.clean = [(cells(c.latent_channels), of(level)) for level in c.noise_levels], of(0.0)
        self.rotation = [t[held * tokens :].to(dtype) for t in rotation((held + 1) * c.chunk_latents, rows // 2, columns // 2)]
        torch.manual_seed(1)
        self.windows, self.decoder = windows(c, 1, tokens, held, dtype), decoder.to(dtype)
        self.dit = copy.deepcopy(dit).to(dtype=dtype, memory_format=torch.channels_last)
        wrap = (lambda run: torch.compile(run, dynamic=False)) if compiled else lambda run: run
        self.known, self.denoise, self.commit = wrap(self.dit.known), wrap(self._denoise), wrap(self._commit)

    def _denoise(self, clean, noise, known, level, embedding, time):
        """A pass at one noise level: its output and the clean latent after it, as in stream::session."""
        c = self.dit.c
        noisy = torch.where(self.unknown, (1 - level) * clean + level * noise, clean)
        out = self.dit.step(noisy, known, 1 - level, embedding, time, *self.rotation, windows=self.windows)
        correction, lean = out[..., : c.latent_channels], out[..., c.latent_channels : c.latent_channels + 1]
        return out, torch.where(self.unknown, self.guide + c.correction * (correction + lean * self.smooth), self.guide)

    def _commit(self, clean, known, level, embedding, time):
        self.dit.step(clean, known, 1 - level, embedding, time, *self.rotation, windows=self.windows, keys_only=True)

    @torch.inference_mode()
    def chunk(self):
        """Its correction in pixels, and milliseconds of its passes and of all."""
        start = time.perf_counter()
        known, clean = self.known(self.condition), self.guide
        for noise, level in self.steps:
            out, clean = self.denoise(clean, noise, known, *level)
        self.commit(clean, known, *self.clean)
        passes = time.perf_counter()
        pixels = out[..., : self.dit.c.latent_channels].flatten(0, 3) @ self.decoder
        return pixels, (1000 * (passes - start), 1000 * (time.perf_counter() - start))


def ours(arguments, size):
    """Milliseconds of a chunk's passes and of all, by `kinebrush bench`."""
    command = [arguments.kinebrush, "bench", "--json", "--size", size, "--chunks", str(arguments.chunks), "--threads", str(arguments.threads)]
    try:
        bench = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{' '.join(command)}: {error} {getattr(error, 'stderr', '')}")
    stages = bench["stages"]
    return len(SKETCH.noise_levels) * stages["denoise"] + stages["commit"] + stages["sampler"], bench["chunk_ms_median"]


def inference(arguments, dit, decoder, size):
    """Everything at one size: milliseconds by mode, ratios of ours to PyTorch's, and what could not run."""
    width, height = map(int, size.split("x"))
    modes, skipped, apart, truth = {}, {}, {}, None
    for name, compiled, dtype in MODES:
        mode = Chunks(dit, decoder, width, height, dtype, compiled)
        try:
            pixels = [mode.chunk()[0] for _ in range(3)][-1].float()  # compiles, warms up
        except Exception as error:  # inductor needs a C++ compiler and may fail in many ways
            if not compiled:
                raise
            skipped[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        truth = pixels if truth is None else truth
        modes[name], apart[name] = mode, round(float((pixels - truth).abs().max() / truth.abs().max()), 5)
    rounds = {name: [] for name in ("ours", *modes)}
    for _ in range(arguments.rounds):
        rounds["ours"].append(ours(arguments, size))
        for name, mode in modes.items():
            times = [mode.chunk()[1] for _ in range(arguments.count + 1)][1:]
            rounds[name].append([statistics.median(column) for column in zip(*times)])
    ms = {name: [round(statistics.median(column), 2) for column in zip(*times)] for name, times in rounds.items()}
    result = {"ms": {name: dict(zip(PARTS, values)) for name, values in ms.items()}, "apart_from_eager_f32": apart, "skipped": skipped}
    for i, part in enumerate(PARTS):
        best = min(modes, key=lambda name: ms[name][i])
        to = lambda name: round(ms["ours"][i] / ms[name][i], 3)
        result[f"ratio_{part}"] = {"best": to(best), "best_mode": best, "eager_f32": to("eager f32")}
    return result


MODES = [(f"{how} {name}", how == "compile", dtype) for how in ("eager", "compile") for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16))]
PARTS = ("passes", "whole")


def table(size, result):
    print(f"\n{size:<14}{'passes ms':>12}{'whole ms':>12}{'ours/passes':>13}{'ours/whole':>12}")
    ms = result["ms"]
    for name, values in ms.items():
        ratios = "".join(f"{ms['ours'][part] / values[part]:>13.3f}" for part in PARTS) if name != "ours" else ""
        print(f"{name:<14}" + "".join(f"{values[part]:>12.1f}" for part in PARTS) + ratios)
    for name, why in result["skipped"].items():
        print(f"{name:<14}could not run: {why}")
    for part in PARTS:
        ratio = result[f"ratio_{part}"]
        print(f"ours / PyTorch, {part}: {ratio['best']} of its best ({ratio['best_mode']}), {ratio['eager_f32']} of f32 eager")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["384x216", "512x288"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=5, help="PyTorch's chunks of a round, or training steps, of which the median is taken")
    parser.add_argument("--chunks", type=int, default=30, help="our chunks of a round; the first 20 are not counted")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kinebrush", default=str(ROOT / "target/release/kinebrush"))
    parser.add_argument("--json", action="store_true", help="no table")
    parser.add_argument("--check", action="store_true", help="only compare the network with the engine's fixture")
    parser.add_argument("--training", action="store_true", help="measure the training step instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    report = {"torch": torch.__version__, "threads": arguments.threads, "load": os.getloadavg()[0], "off_fixture": check()}
    if arguments.training:
        parameters, (step, cpu) = training_step(arguments.count)
        report |= {"parameters": parameters, "training_step_ms": step, "training_step_cpu_ms": cpu}
    elif not arguments.check:
        path = MODEL / "model.safetensors"
        tensors = load_file(path)
        try:
            basis, scale, _ = (tensors.pop(f"codec.{name}").float() for name in ("basis", "scale", "mean"))
        except KeyError as error:
            sys.exit(f"{path}: no tensor {error}")
        dit = load(SKETCH, tensors, path)
        torch._inductor.config.freezing = True
        for size in arguments.sizes:
            report[size] = inference(arguments, dit, basis * scale[:, None], size)
            if not arguments.json:
                table(size, report[size])
    print(json.dumps(report))


if __name__ == "__main__":
    main()
