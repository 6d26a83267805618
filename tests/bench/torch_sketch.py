"""Sketch's network in plain PyTorch on the CPU: what our kernels are measured against, back to back, in one run.

    pip install torch safetensors
    cargo build --release --workspace
    OMP_WAIT_POLICY=PASSIVE python tests/bench/torch_sketch.py             # inference: a table and one line of JSON
    python tests/bench/torch_sketch.py --sizes 384x216 --rounds 5 --json   # the line alone
    python tests/bench/torch_sketch.py --training --count 5                # the training step instead

Inference is one chunk through a full KV window with the shipped weights, as `Session::next_chunk` makes it: a pass for each noise
level, the commit, which ends at the last layer's keys and values, and the decoding of the correction. Rounds alternate between
`kinebrush bench` and PyTorch's modes (eager and torch.compile, f32 and bf16); a figure is the median over rounds of a round's median.
As many tokens are reached by noise as in the bench. PyTorch computes every token in every pass and masks what must not be seen; in modes
called `active`, passes after the first take only the tokens that noise reaches through the blocks, as ours do, but stem and head whole.
* passes: ours is denoise + commit + sampler of the bench's stages, which includes the drawing of noise.
* whole: ours is the whole chunk, with the guide's warp, the condition, compositing; PyTorch's is passes + decoding: unfavourable to us.
PyTorch gets what suits it: channels-last convolutions, fused attention into a preallocated window that is never moved, modulations, masks
and noise beforehand, inference mode, the whole model in bf16 (no slower than autocast), frozen weights for torch.compile.

First, the network (sketch_network.py) with the weights of tests/fixtures/dit.safetensors must give what that file says to 1e-4, over the
whole clip with its mask and chunk by chunk through the window, both ways: tests/tests/parity.rs holds the engine to the same numbers.

`--training`: forward, loss, backward, clipping and AdamW on 4 clips of 4 chunks x 2 latents x 16x16 cells (128x128 px); ours is
`kinebrush bench --training`. Everything is unknown. The lean to the smooth guide is left out of the loss, in PyTorch's favour.

Compiling takes minutes the first time. Where other programs run too, set OMP_WAIT_POLICY=PASSIVE, or PyTorch's threads wait in a busy
loop for one another and everything takes several times as long.
"""

import argparse
import copy
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch._inductor.config
import torch.nn.functional as F
from safetensors.torch import load_file
from sketch_network import MODEL, ROOT, SKETCH, Dit, check, load, reached, rotation, visible, windows
from torch import nn

MODES = [f"{how} {dtype}{which}" for which, how, dtype in itertools.product(("", " active"), ("eager", "compile"), ("f32", "bf16"))]
PARTS = ("passes", "whole")
LATENT, RAW, PLAIN, PATCH = SKETCH.latent_channels, SKETCH.raw, SKETCH.plain, SKETCH.patch
CHUNK, SINK, WINDOW = SKETCH.chunk_latents, SKETCH.sink_chunks, SKETCH.window_chunks
torch._inductor.config.freezing = True  # folds and packs the weights


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


def training_step(count, batch=4, rows=16, columns=16):
    chunks = SINK + WINDOW + 1
    latents = chunks * CHUNK
    dit = Dit()
    optimizer = torch.optim.AdamW(dit.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    shape = (batch, latents, rows, columns)
    noisy, condition = torch.randn(*shape, LATENT), torch.randn(*shape, PLAIN + RAW)
    target, uncovered = torch.randn(*shape, PATCH // 3, 3), torch.rand(*shape, PATCH // 3)
    decoder, levels = torch.randn(LATENT, PATCH), 1 - 0.9 * torch.rand(batch, chunks)
    unknown = torch.ones(shape, dtype=torch.bool)
    mask = visible(reached(SKETCH, unknown[:1]), CHUNK * rows * columns // 4)

    def step():
        cos, sin = rotation(latents, rows // 2, columns // 2)
        out, _ = dit(noisy, condition, levels, unknown, cos, sin, mask)
        value = loss(out, decoder, target, uncovered)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(dit.parameters(), 1.0)
        optimizer.step()

    return sum(p.numel() for p in dit.parameters()), measure(count, step)


def bare(c, rows, columns, share):
    """Unknown cells, (1, latents, rows, columns): a disc just so large that noise reaches `share` of the tokens."""
    away = torch.hypot(torch.arange(rows)[:, None] - (rows - 1) / 2, torch.arange(columns) - (columns - 1) / 2)
    discs = ((away <= radius).expand(1, c.chunk_latents, rows, columns) for radius in away.flatten().sort().values)
    return next(disc for disc in discs if reached(c, disc).float().mean() >= share)


class Chunks:
    """One of PyTorch's modes at work on chunks of one size."""

    def __init__(self, dit, decoder, width, height, share, dtype, compiled, active_alone):
        c, token = dit.c, 2 * dit.c.cell_px
        rows, columns = -(-height // token) * 2, -(-width // token) * 2
        tokens, held = c.chunk_latents * rows * columns // 4, c.sink_chunks + c.window_chunks
        random = torch.Generator().manual_seed(1)
        cells = lambda channels: torch.randn(1, c.chunk_latents, rows, columns, channels, generator=random).to(dtype)
        self.condition, self.smooth = cells(c.plain + c.raw), cells(c.latent_channels)
        self.guide = self.condition[..., : c.latent_channels].contiguous()
        unknown = bare(c, rows, columns, share)
        active, self.unknown = reached(c, unknown), unknown.unsqueeze(-1)
        only = active[0].nonzero().flatten()
        mask = F.pad(visible(active, tokens), (held * tokens, 0), value=True)
        turn = [t[held * tokens :] for t in rotation((held + 1) * c.chunk_latents, rows // 2, columns // 2)]

        def of(level, first):
            """Of a pass: the weight of its latent, modulations, rotation, mask, and the tokens that it computes if not all."""
            level, alone = torch.tensor([[level]]), active_alone and not first
            times = dit.times(level if alone else torch.where(active, level, 0.0))
            floats = (dit.share(level, unknown), *times, *(t[only] if alone else t for t in turn))
            return *(t.to(dtype) for t in floats), *((None, only) if alone else (mask, None))

        self.steps = [(cells(c.latent_channels), level, of(level, i == 0)) for i, level in enumerate(c.noise_levels)]
        self.clean = of(0.0, False)
        torch.manual_seed(1)
        self.windows, self.decoder = windows(c, 1, tokens, held, dtype), decoder.to(dtype)
        self.dit = copy.deepcopy(dit).to(dtype=dtype, memory_format=torch.channels_last)
        wrap = (lambda run: torch.compile(run, dynamic=False)) if compiled else lambda run: run
        self.known, self.denoise, self.commit = wrap(self.dit.known), wrap(self._denoise), wrap(self._commit)

    def _denoise(self, clean, noise, level, known, before, share, embedding, time, cos, sin, mask, only):
        """A pass at one noise level: its output, the clean latent after it, as in stream::session, and its tokens."""
        c = self.dit.c
        noisy = torch.where(self.unknown, (1 - level) * clean + level * noise, clean)
        out, before = self.dit.step(noisy, known, share, embedding, time, cos, sin, mask, self.windows, only, before)
        correction, lean = out[..., : c.latent_channels], out[..., c.latent_channels : c.latent_channels + 1]
        return out, torch.where(self.unknown, self.guide + c.correction * (correction + lean * self.smooth), self.guide), before

    def _commit(self, clean, known, share, embedding, time, cos, sin, mask, only):
        self.dit.step(clean, known, share, embedding, time, cos, sin, mask, self.windows, only, keys_only=True)

    @torch.inference_mode()
    def chunk(self):
        """Its correction in pixels, and milliseconds of its passes and of all."""
        start = time.perf_counter()
        known, clean, before = self.known(self.condition), self.guide, None
        for noise, level, inputs in self.steps:
            out, clean, before = self.denoise(clean, noise, level, known, before, *inputs)
        self.commit(clean, known, *self.clean)
        passes = time.perf_counter()
        pixels = out[..., : self.dit.c.latent_channels].flatten(0, 3) @ self.decoder
        return pixels, (1000 * (passes - start), 1000 * (time.perf_counter() - start))


def bench(arguments, *options):
    """What `kinebrush bench` says."""
    command = [arguments.kinebrush, "bench", "--json", "--threads", str(arguments.threads), *options]
    try:
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{' '.join(command)}: {error}")


def training(arguments):
    """The training step of both, back to back: medians over the rounds, and of the rounds' ratios."""
    rounds = []
    for _ in range(arguments.rounds):
        own = bench(arguments, "--training", str(arguments.count))["step_ms_median"]
        _, (theirs, _) = training_step(arguments.count)
        rounds.append((own, theirs, theirs / own))
    own, theirs, speed = (statistics.median(column) for column in zip(*rounds))
    return {"training_step_ms": theirs, "ours_ms": own, "times_as_fast": round(speed, 2)}


def ours(arguments, size):
    """Milliseconds of a chunk's passes and of all, by `kinebrush bench`."""
    report = bench(arguments, "--size", size, "--chunks", str(arguments.chunks))
    return sum(report["stages"][stage] for stage in ("denoise", "commit", "sampler")), report["chunk_ms_median"]


def inference(arguments, dit, decoder, size):
    """Everything at one size: milliseconds by mode, ratios of ours to PyTorch's, and what could not run."""
    modes, skipped, apart = {}, {}, {}
    share = bench(arguments, "--size", size, "--chunks", str(arguments.chunks))["tokens"]["active"]
    for name in [mode for mode in MODES if mode == MODES[0] or mode in arguments.modes]:
        how, dtype, *alone = name.split()
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        mode = Chunks(dit, decoder, *map(int, size.split("x")), share, dtype, how == "compile", bool(alone))
        try:
            pixels = [mode.chunk()[0] for _ in range(3)][-1].float()  # compiles, warms up
        except Exception as error:  # without a C++ compiler, for one
            if how == "eager":
                raise
            skipped[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        truth = pixels if not modes else truth
        modes[name], apart[name] = mode, round(float((pixels - truth).abs().max() / truth.abs().max()), 5)
    rounds = {name: [] for name in ("ours", *modes)}
    for _ in range(arguments.rounds):
        rounds["ours"].append(ours(arguments, size))
        for name, mode in modes.items():
            mode.chunk()
            rounds[name].append(medians(mode.chunk()[1] for _ in range(arguments.count)))
    ms = {name: dict(zip(PARTS, medians(times))) for name, times in rounds.items()}
    report = {"ms": ms, "active_tokens": round(share, 3), "apart_from_eager_f32": apart, "skipped": skipped}
    for part in PARTS:
        best = min(modes, key=lambda name: ms[name][part])
        to = {name: round(ms["ours"][part] / ms[name][part], 3) for name in modes}
        report[f"ratio_{part}"] = {"best": to[best], "best_mode": best, "eager_f32": to["eager f32"], **to}
    return report


def medians(rows):
    return [round(statistics.median(column), 2) for column in zip(*rows)]


def table(size, report):
    print(f"\n{size:<22}{'passes ms':>12}{'whole ms':>12}{'ours/passes':>13}{'ours/whole':>12}")
    for name, ms in report["ms"].items():
        ratios = "".join(f"{report[f'ratio_{part}'].get(name, 1):>12.3f}" for part in PARTS)
        print(f"{name:<22}{ms['passes']:>12.1f}{ms['whole']:>12.1f} {ratios}")
    for name, why in report["skipped"].items():
        print(f"{name} could not run: {why}")
    print(f"noise reaches {report['active_tokens']:.0%} of the tokens")
    for part in PARTS:
        ratio = report[f"ratio_{part}"]
        print(f"ours / PyTorch, {part}: {ratio['best']} of its best ({ratio['best_mode']}), {ratio['eager_f32']} of its f32 eager")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["384x216", "512x288"])
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES, help="f32 eager always runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=5, help="PyTorch's chunks of a round, or training steps, of which the median is taken")
    parser.add_argument("--chunks", type=int, default=30, help="our chunks of a round; the first 20 are not counted")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kinebrush", default=str(ROOT / "target/release/kinebrush"))
    parser.add_argument("--json", action="store_true", help="no table")
    parser.add_argument("--training", action="store_true", help="measure the training step instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    report = {"torch": torch.__version__, "threads": arguments.threads, "load": os.getloadavg()[0], "off_fixture": check()}
    if arguments.training:
        report |= training(arguments)
    else:
        tensors = load_file(MODEL / "model.safetensors")
        basis, scale, _ = (tensors.pop(f"codec.{name}").float() for name in ("basis", "scale", "mean"))
        dit, decoder = load(SKETCH, tensors, MODEL / "model.safetensors"), basis * scale[:, None]
        for size in arguments.sizes:
            report[size] = inference(arguments, dit, decoder, size)
            if not arguments.json:
                table(size, report[size])
    print(json.dumps(report))


if __name__ == "__main__":
    main()
