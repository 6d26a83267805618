"""Sketch's network (engine/src/model/dit.rs) in plain PyTorch: a module for training and, through a KV window, for inference.

Modules and parameters bear the checkpoint's names; a missing, extra or misshapen tensor ends the program. `check` holds it to
tests/fixtures/dit.safetensors, numbers of diffusers and torch.nn to which tests/tests/parity.rs holds the engine too.

A pass computes every token and masks what must not be seen; or, later in the same chunk, only the tokens that noise reaches (`only`).
"""

import json
import math
import pathlib
import re
import sys
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "assets/sketch"


def config(**values):
    """model::config::Config, with what it works out."""
    c = SimpleNamespace(**values)
    c.raw, c.patch = c.id_channels * c.frames_per_latent, c.frames_per_latent * c.cell_px**2 * 3
    c.plain = c.latent_channels + c.smooth_channels + 4 * c.frames_per_latent + 2
    return c


def read_ron(path):
    text = path.read_text().partition("config:")[2]
    levels = re.search(r"noise_levels: \[([^]]*)\]", text)[1]
    numbers = {name: json.loads(value) for name, value in re.findall(r"(\w+): ([\d.]+),", text)}
    return config(noise_levels=[float(level) for level in levels.split(",") if level.strip()], normed="normed: true" in text, **numbers)


SKETCH = read_ron(MODEL / "model.ron")
TINY = config(**vars(SKETCH) | dict(  # of tests/fixtures/make_wan_block.py
    normed=True, cell_px=4, latent_channels=12, smooth_channels=4, id_channels=8, track_channels=4, stem_channels=16, stem_blocks=1, head_blocks=1,
    dim=24, heads=2, layers=2, ffn_dim=48, time_channels=16,
))


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


def reached(c, unknown):
    """Whether noise reaches a token, (batch, tokens), through the stem's convolutions; unknown (batch, latents, rows, columns)."""
    reach = 2 * c.stem_blocks
    return F.max_pool2d(unknown.float(), 2 * reach + 2, stride=2, padding=reach).flatten(1) > 0


def visible(active, tokens):
    """What queries see of the keys of a clip, (batch, 1, queries, keys): the chunks of `tokens` before, and of their own either all or,
    if they are not active, what is not active."""
    chunk = torch.arange(active.shape[1]) // tokens
    own = active[:, :, None] | ~active[:, None, :]
    return ((chunk[:, None] > chunk) | (chunk[:, None] == chunk) & own).unsqueeze(1)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.self_attn = nn.ModuleDict({name: nn.Linear(c.dim, c.dim) for name in "qkvo"})
        self.self_attn.update({name: nn.RMSNorm(c.dim, eps=1e-6) for name in ("norm_q", "norm_k")})
        self.norm = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / math.sqrt(c.dim))

    def forward(self, x, time, cos, sin, mask=None, window=None, only=None, keys_only=False):
        """x (batch, tokens, dim), time (batch, tokens or 1, 6, dim); window: keys, values and the slots, from and to, of the chunk in
        work, of which x are all tokens or those in `only`."""
        part = (time + self.modulation).unbind(2)
        split = lambda x: x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        attn = self.self_attn
        y = self.norm(x) * (1 + part[1]) + part[0]
        k, v = rotate(split(attn.norm_k(attn.k(y))), cos, sin), split(attn.v(y))
        if window is not None:
            keys, values, first, end = window
            for kept, new in ((keys, k), (values, v)):
                own = kept[:, :, first:end]
                own.copy_(new) if only is None else own.index_copy_(2, only, new)
            k, v = keys[:, :, :end], values[:, :, :end]
        if keys_only:
            return x
        q = rotate(split(attn.norm_q(attn.q(y))), cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = x + attn.o(y) * part[2]
        y = self.norm(x) * (1 + part[4]) + part[3]
        return x + self.ffn(y) * part[5]


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
        if c.normed:
            self.stem["norm"] = nn.RMSNorm(stem, eps=1e-6)
        self.patch_embedding = nn.Linear(4 * stem, c.dim)
        self.time_embedding = nn.Sequential(nn.Linear(c.time_channels, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.head = nn.ModuleDict({"unpatch": nn.Linear(c.dim, 4 * stem), **blocks(c.head_blocks)})
        self.head.update({"norm": nn.RMSNorm(stem, eps=1e-6), "out": nn.Linear(stem, c.latent_channels + 2)})
        self.head.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / math.sqrt(c.dim))

    def known(self, condition):
        """What is the same in every pass of a chunk: the condition's share of the stem, and the level and spread of its guide."""
        c, latent = self.c, self.c.latent_channels
        guide = condition[..., :latent].unflatten(1, (-1, c.chunk_latents))
        mean = guide.mean((2, 3, 4), keepdim=True)
        spread = ((guide - mean).square().mean((2, 3, 4, 5), keepdim=True) + 1e-4).sqrt()
        if not c.normed:
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
        mean, spread = (x.repeat_interleave(c.chunk_latents, 1).squeeze(2) for x in (mean, spread))
        smooth = (condition[..., latent : latent + c.smooth_channels] - mean[..., : c.smooth_channels]) / spread
        tracks = self.track_head(condition[..., c.plain :])
        rest = condition[..., latent + c.smooth_channels : c.plain]
        inputs = torch.cat([(condition[..., :latent] - mean) / spread, smooth, rest, tracks], -1)
        return F.linear(inputs, self.stem["in"].weight[:, latent:], self.stem["in"].bias), mean, spread

    def times(self, levels):
        """Of noise levels (batch, chunks or tokens): embedding (.., 1, dim) and its projection (.., 6, dim)."""
        half = self.c.time_channels // 2
        angle = 1000 * levels[..., None] * 10000.0 ** (-torch.arange(half) / half)
        embedding = self.time_embedding(torch.cat([angle.cos(), angle.sin()], -1))
        return embedding.unsqueeze(-2), self.time_projection(embedding).unflatten(-1, (6, -1))

    def share(self, levels, unknown):
        """The weight of each cell's noisy latent, (batch, latents, rows, columns, 1): known ones hold the guide, without noise."""
        return torch.where(unknown, 1 - levels.repeat_interleave(self.c.chunk_latents, 1)[:, :, None, None], 1.0).unsqueeze(-1)

    def step(self, noisy, known, share, embedding, time, cos, sin, mask=None, windows=None, only=None, before=None, keys_only=False):
        """The output, and the tokens after the blocks, which later passes over the tokens `only` take as `before`.

        noisy (batch, latents, rows, columns, channels)."""
        batch, latents, rows, columns, _ = noisy.shape
        width = 2 * self.c.stem_channels
        known, mean, spread = known
        noisy = (noisy - mean) / spread * share
        stem = (known + F.linear(noisy, self.stem["in"].weight[:, : self.c.latent_channels])).flatten(0, 1)
        for i in range(self.c.stem_blocks):
            stem = self.stem[str(i)](stem)
        if self.c.normed:
            stem = self.stem["norm"](stem)
        folded = stem.reshape(batch, latents, rows // 2, 2, columns // 2, width).transpose(3, 4)
        folded = folded.reshape(batch, -1, 2 * width)
        x = self.patch_embedding(folded if only is None else folded.index_select(1, only))
        for i, block in enumerate(self.blocks):
            x = block(x, time, cos, sin, mask, windows and windows[i], only, keys_only and i + 1 == self.c.layers)
        if keys_only:
            return None
        shift, scale = (embedding + self.head.modulation).unbind(2)
        after = self.norm(x) * (1 + scale) + shift
        if only is not None:
            after = before.index_copy(1, only, after)
        x = self.head.unpatch(after)
        x = x.reshape(-1, rows // 2, columns // 2, 2, width).transpose(2, 3)
        x = x.reshape(-1, rows, columns, width // 2) + stem
        for i in range(self.c.head_blocks):
            x = self.head[str(i)](x)
        out = self.head.out(self.head.norm(x)).unflatten(0, (batch, latents))
        correction, rest = out.tensor_split([self.c.latent_channels], -1)
        return torch.cat([correction * spread, rest], -1), after

    def forward(self, noisy, condition, levels, unknown, cos, sin, mask, windows=None):
        """As `step`, of levels (batch, chunks) and unknown (batch, latents, rows, columns)."""
        active = reached(self.c, unknown)
        by_token = levels.repeat_interleave(active.shape[1] // levels.shape[1], 1)
        times = self.times(torch.where(active, by_token, 0.0))
        return self.step(noisy, self.known(condition), self.share(levels, unknown), *times, cos, sin, mask, windows)


def load(c, tensors, path):
    """The network of these tensors, convolutions from (out, 3, 3, in)."""
    dit = Dit(c).eval()
    try:
        dit.load_state_dict({name: (t.permute(0, 3, 1, 2) if t.dim() == 4 else t).float() for name, t in tensors.items()})
    except RuntimeError as error:
        sys.exit(f"{path} does not fit the network: {error}")
    return dit


def windows(c, batch, tokens, held=0, dtype=torch.float32):
    """Keys, values and the slots of the chunk in work, for each layer; `held` chunks hold something."""
    shape = (batch, c.heads, (c.sink_chunks + c.window_chunks + 1) * tokens, c.dim // c.heads)
    return [(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype), held * tokens, (held + 1) * tokens) for _ in range(c.layers)]


@torch.inference_mode()
def check():
    """The largest difference from the engine's fixture, against the size of the truth: whole clips, then through the window, chunk by
    chunk, where a pass over all tokens at another level and noise comes before one over those that noise reaches."""
    path = ROOT / "tests/fixtures/dit.safetensors"
    fixture = {name: t.float() for name, t in load_file(path).items()}
    dit = load(TINY, {name[4:]: t for name, t in fixture.items() if name.startswith("dit.")}, path)
    noisy, levels, truth = fixture["noisy"], fixture["levels"], fixture["out"]
    condition, unknown = torch.stack([fixture["condition.0"], fixture["condition.1"]]), fixture["unknown"] > 0
    batch, latents, rows, columns, _ = noisy.shape
    cos, sin = rotation(latents, rows // 2, columns // 2, TINY.dim // TINY.heads)
    tokens = TINY.chunk_latents * rows * columns // 4
    active = reached(TINY, unknown)
    mask = visible(active, tokens)
    whole, _ = dit(noisy, condition, levels, unknown, cos, sin, mask)
    parts = torch.empty_like(whole)
    for clip in range(batch):
        held = windows(TINY, 1, tokens)
        for i in range(levels.shape[1]):
            frames, slots = slice(i * TINY.chunk_latents, (i + 1) * TINY.chunk_latents), slice(i * tokens, (i + 1) * tokens)
            of = lambda x: x[clip : clip + 1, frames]
            past = [(keys, values, slots.start, slots.stop) for keys, values, *_ in held]
            level, only = levels[clip, i].reshape(1, 1), active[clip, slots].nonzero().flatten()
            other = torch.where(of(unknown).unsqueeze(-1), torch.randn_like(of(noisy)), of(noisy))
            seen = mask[clip, :, slots, : slots.stop]
            out, before = dit(other, of(condition), level + 0.5, of(unknown), cos[slots], sin[slots], seen, past)
            if len(only):
                known, share, turn = dit.known(of(condition)), dit.share(level, of(unknown)), (cos[slots][only], sin[slots][only])
                out, _ = dit.step(of(noisy), known, share, *dit.times(level), *turn, None, past, only, before)
            parts[clip : clip + 1, frames] = out
    errors = [float((out - truth).abs().max() / truth.abs().max()) for out in (whole, parts)]
    if not max(errors) < 1e-4:
        sys.exit(f"not the engine's network: off by {errors} of the largest output in {path}")
    return errors
