"""Sketch's network in plain PyTorch (f32, eager, CPU): what our kernels are measured against. Prints one line of JSON.

    pip install torch
    python tests/bench/torch_sketch.py --threads 2 --count 5 [--training]

`training_step_ms`: forward, loss, backward, clipping and AdamW on 4 clips of 4 chunks x 2 latents x 16x16 cells (128x128 px); ours is
`kinebrush bench --training`. `inference_chunk_ms`: the passes of one chunk at 384x216 through a full KV window,
and its decoding; ours is `Session::next_chunk`. PyTorch gets what suits it: channels-last convolutions, its own fused attention, fused
AdamW, no average of the parameters. Where other programs run too, set OMP_WAIT_POLICY=PASSIVE, or its threads wait in a busy loop for
one another and everything takes several times as long.
"""

import argparse
import json
import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

# Config::sketch()
CELL, FRAMES, LATENT, SMOOTH, ID, TRACK, STEM = 8, 2, 96, 12, 64, 16, 96
STEM_BLOCKS, HEAD_BLOCKS, DIM, HEADS, LAYERS, FFN, TIME = 1, 2, 192, 3, 5, 768, 256
CHUNK, SINK, WINDOW, LEVELS = 2, 1, 2, (1.0, 0.5)
RAW, PATCH = ID * FRAMES, FRAMES * CELL * CELL * 3
PLAIN = LATENT + SMOOTH + 4 * FRAMES + 2


def rotate(x, cos, sin):
    """Interleaved pairs; x (batch, heads, tokens, head_dim)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def rotation(latents, rows, columns):
    head_dim = DIM // HEADS
    spatial = 2 * (head_dim // 6)
    grid = torch.meshgrid(torch.arange(latents), torch.arange(rows), torch.arange(columns), indexing="ij")
    parts = zip(grid, (head_dim - 2 * spatial, spatial, spatial))
    angle = torch.cat([g.flatten()[:, None] * 10000.0 ** (-torch.arange(0, d, 2) / d) for g, d in parts], -1)
    return angle.cos(), angle.sin()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(DIM, DIM) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(DIM, eps=1e-6), nn.RMSNorm(DIM, eps=1e-6)
        self.norm = nn.LayerNorm(DIM, eps=1e-6, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(DIM, FFN), nn.GELU(approximate="tanh"), nn.Linear(FFN, DIM))
        self.modulation = nn.Parameter(torch.randn(1, 6, DIM) / math.sqrt(DIM))

    def forward(self, x, time, cos, sin, mask, past):
        """x (batch, tokens, dim), time (batch, chunks, 6, dim); past: rotated keys and values."""
        grouped = lambda x: x.unflatten(1, (time.shape[1], -1))
        part = (time + self.modulation).unsqueeze(3).unbind(2)
        split = lambda x: x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        y = (self.norm(grouped(x)) * (1 + part[1]) + part[0]).flatten(1, 2)
        q, k, v = split(self.norm_q(self.q(y))), split(self.norm_k(self.k(y))), split(self.v(y))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = grouped(x) + grouped(self.o(y)) * part[2]
        y = self.norm(x) * (1 + part[4]) + part[3]
        return (x + self.ffn(y) * part[5]).flatten(1, 2)


class ConvBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(STEM, eps=1e-6)
        self.convs = nn.ModuleList(nn.Conv2d(STEM, STEM, 3, padding=1) for _ in range(2))

    def forward(self, x):
        y = self.norm(x).permute(0, 3, 1, 2)  # a channels-last picture to the convolution
        y = self.convs[1](F.gelu(self.convs[0](y), approximate="tanh"))
        return x + y.permute(0, 2, 3, 1)


class Dit(nn.Module):
    def __init__(self):
        super().__init__()
        self.track_head, self.stem = nn.Linear(RAW, TRACK), nn.Linear(LATENT + PLAIN + TRACK, STEM)
        self.stem_blocks = nn.Sequential(*(ConvBlock() for _ in range(STEM_BLOCKS)))
        self.patch_embedding = nn.Linear(4 * STEM, DIM)
        self.time = nn.Sequential(nn.Linear(TIME, DIM), nn.SiLU(), nn.Linear(DIM, DIM))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(DIM, 6 * DIM))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head_modulation = nn.Parameter(torch.randn(1, 2, DIM) / math.sqrt(DIM))
        self.norm = nn.LayerNorm(DIM, eps=1e-6, elementwise_affine=False)
        self.unpatch = nn.Linear(DIM, 4 * STEM)
        self.head_blocks = nn.Sequential(*(ConvBlock() for _ in range(HEAD_BLOCKS)))
        self.out_norm, self.out = nn.RMSNorm(STEM, eps=1e-6), nn.Linear(STEM, LATENT + 1)

    def forward(self, noisy, condition, levels, cos, sin, mask=None, past=None):
        """noisy and condition (batch, latents, rows, columns, channels), levels (batch, chunks)."""
        batch, latents, rows, columns, _ = noisy.shape
        tracks = self.track_head(condition[..., PLAIN:])
        stem = self.stem(torch.cat([noisy, condition[..., :PLAIN], tracks], -1))
        stem = self.stem_blocks(stem.flatten(0, 1))
        folded = stem.reshape(batch, latents, rows // 2, 2, columns // 2, 2 * STEM).transpose(3, 4)
        x = self.patch_embedding(folded.reshape(batch, -1, 4 * STEM))
        angle = 1000 * levels[..., None] * 10000.0 ** (-torch.arange(TIME // 2) / (TIME // 2))
        embedding = self.time(torch.cat([angle.cos(), angle.sin()], -1))
        time = self.time_projection(embedding).unflatten(-1, (6, DIM))
        for i, block in enumerate(self.blocks):
            x = block(x, time, cos, sin, mask, past and past[i])
        shift, scale = (embedding.unsqueeze(2) + self.head_modulation).unsqueeze(3).unbind(2)
        x = self.unpatch(self.norm(x.unflatten(1, (levels.shape[1], -1))) * (1 + scale) + shift)
        x = x.reshape(-1, rows // 2, columns // 2, 2, 2 * STEM).transpose(2, 3)
        x = self.head_blocks(x.reshape(-1, rows, columns, STEM) + stem)
        return self.out(self.out_norm(x)).unflatten(0, (batch, latents))


def loss(out, decoder, target, uncovered):
    """train::loss::PatchLoss; every cell counts."""
    pixels = (out[..., :-1] @ decoder).unflatten(-1, (-1, 3))
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


@torch.inference_mode()
def inference_chunk(count, width=384, height=216):
    rows, columns = -(-height // (2 * CELL)) * 2, -(-width // (2 * CELL)) * 2
    held = (SINK + WINDOW) * CHUNK
    tokens = rows * columns // 4
    dit, decoder = Dit().eval(), torch.randn(LATENT, PATCH)
    noisy, condition = torch.randn(1, CHUNK, rows, columns, LATENT), torch.randn(1, CHUNK, rows, columns, PLAIN + RAW)
    past = [(torch.randn(1, HEADS, held * tokens, DIM // HEADS), torch.randn(1, HEADS, held * tokens, DIM // HEADS)) for _ in range(LAYERS)]
    cos, sin = (t[held * tokens :] for t in rotation(held + CHUNK, rows // 2, columns // 2))

    def chunk():
        for level in (*LEVELS, 0.0):  # denoising, then the pass that commits
            out = dit(noisy, condition, torch.tensor([[level]]), cos, sin, past=past)
        return out[..., :-1] @ decoder

    return measure(count, chunk)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--training", action="store_true", help="the training step only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    parameters, step = training_step(arguments.count)
    figures = {
        "torch": torch.__version__, "threads": arguments.threads, "parameters": parameters,
        "training_step_ms": step[0], "training_step_cpu_ms": step[1],
    }
    if not arguments.training:
        chunk = inference_chunk(arguments.count)
        figures |= {"inference_chunk_ms": chunk[0], "inference_chunk_cpu_ms": chunk[1]}
    print(json.dumps(figures))
