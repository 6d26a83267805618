//! The KV window against a block-causal pass over all chunks, whatever of them is known, and against what it must hold, written out.
//! Every parameter is random, so nothing here passes because a layer is zero.
#![allow(clippy::unwrap_used)]

use candle_core::{CpuStorage, D, Device, Storage, Tensor};
use kinebrush_engine::model::activity::Activity;
use kinebrush_engine::model::config::{Config, KeyPolicy};
use kinebrush_engine::model::dit::{Dit, Past};
use kinebrush_engine::model::kv_window::KvWindow;
use kinebrush_engine::model::ops::{self, Visibility};
use kinebrush_engine::model::rope;
use kinebrush_tests::{error, flat, network, random};

const POLICIES: [KeyPolicy; 2] = [KeyPolicy::SinkRotated, KeyPolicy::AllUnrotated];
/// Cells of a latent; tokens are half as many each way.
const CELLS: (usize, usize) = (6, 10);

/// What of a chunk is unknown.
#[derive(Clone, Copy, Debug)]
enum Unknown {
    All,
    Nothing,
    /// The right border of the first latent.
    Border,
    /// A few cells, other ones for another number.
    Few(usize),
}

use Unknown::{All, Border, Few, Nothing};

impl Unknown {
    fn at(self, cell: usize) -> bool {
        match self {
            All => true,
            Nothing => false,
            Border => cell < CELLS.0 * CELLS.1 && cell % CELLS.1 + 1 == CELLS.1,
            Few(number) => (cell * 7919 + number * 104_729) % 97 < 3,
        }
    }
}

/// All that is known, some of it, or nothing, in turns.
const MIXED: [Unknown; 8] = [Few(1), All, Border, Nothing, Few(2), Few(3), Nothing, Border];

/// Random latents, noisy latents and conditions of a stream of chunks. What is known has no noise.
struct Stream {
    dit: Dit,
    window: KvWindow,
    clean: Tensor,
    noisy: Tensor,
    condition: Tensor,
    unknown: Vec<bool>,
}

impl Stream {
    fn new(config: &Config, chunks: &[Unknown]) -> Self {
        let latents = chunks.len() * config.chunk_latents;
        let shape = |channels| [1, latents, CELLS.0, CELLS.1, channels];
        let cells = config.chunk_latents * CELLS.0 * CELLS.1;
        let clean = random(3, &shape(config.latent_channels));
        let mut stream = Self {
            dit: network(config),
            window: Self::window(config),
            noisy: clean.clone(),
            clean,
            condition: random(5, &shape(config.condition_channels())),
            unknown: chunks.iter().flat_map(|unknown| (0..cells).map(|cell| unknown.at(cell))).collect(),
        };
        stream.renew_noise(4);
        stream
    }

    fn renew_noise(&mut self, seed: u64) {
        let marks: Vec<u8> = self.unknown.iter().map(|unknown| u8::from(*unknown)).collect();
        let (_, latents, rows, columns, _) = self.clean.dims5().unwrap();
        let marks = Tensor::from_vec(marks, (1, latents, rows, columns, 1), &Device::Cpu).unwrap();
        let noise = random(seed, self.clean.dims());
        self.noisy = marks.broadcast_as(noise.shape()).unwrap().where_cond(&noise, &self.clean).unwrap();
    }

    fn window(config: &Config) -> KvWindow {
        KvWindow::new(config, CELLS.0 / 2, CELLS.1 / 2, &Device::Cpu).unwrap()
    }

    /// Chunks `from..to` of a stream's tensor.
    fn chunks(&self, tensor: &Tensor, from: usize, to: usize) -> Tensor {
        let latents = self.dit.config.chunk_latents;
        tensor.narrow(1, from * latents, (to - from) * latents).unwrap().contiguous().unwrap()
    }

    /// Which cells of chunks `from..to` are unknown.
    fn unknown(&self, from: usize, to: usize) -> &[bool] {
        let cells = self.dit.config.chunk_latents * CELLS.0 * CELLS.1;
        &self.unknown[from * cells..to * cells]
    }

    /// One pass over a chunk through the window.
    fn pass(&mut self, latents: &Tensor, chunk: usize, level: f32) -> Tensor {
        let (z, condition) = (self.chunks(latents, chunk, chunk + 1), self.chunks(&self.condition, chunk, chunk + 1));
        let unknown = self.unknown(chunk, chunk + 1).to_vec();
        self.dit.forward(&z, &condition, &[level], &unknown, &mut Past::Window(&mut self.window)).unwrap()
    }

    /// The keys and values, (tokens, dim) for each layer, that a pass leaves of a chunk.
    fn left(&mut self, latents: &Tensor, chunk: usize, level: f32) -> Vec<Vec<f32>> {
        self.pass(latents, chunk, level);
        let mut window = self.window.snapshot().unwrap();
        window.commit().unwrap();
        let numbers = self.unknown(chunk, chunk + 1).len() / 4 * self.dit.config.dim;
        window.held().unwrap().into_iter().flatten().map(|held| held[held.len() - numbers..].to_vec()).collect()
    }

    fn commit(&mut self, chunk: usize) {
        self.pass(&self.clean.clone(), chunk, 0.0);
        self.window.commit().unwrap();
    }

    /// The last chunk of a block-causal pass over a clean history and a chunk at `level`.
    fn whole(&self, chunk: usize, level: f32) -> Tensor {
        let config = &self.dit.config;
        let newest = self.chunks(&self.noisy, chunk, chunk + 1);
        let z = if chunk == 0 { newest } else { Tensor::cat(&[self.chunks(&self.clean, 0, chunk), newest], 1).unwrap() };
        let mut levels = vec![0.0; chunk];
        levels.push(level);
        let head_dim = config.dim / config.heads;
        let rotation = rope::rotation(head_dim, z.dim(1).unwrap(), CELLS.0 / 2, CELLS.1 / 2, &Device::Cpu).unwrap();
        let past = &mut Past::Whole { rotation: &rotation, causal: true };
        let (condition, unknown) = (self.chunks(&self.condition, 0, chunk + 1), self.unknown(0, chunk + 1));
        let out = self.dit.forward(&z, &condition, &levels, unknown, past).unwrap();
        self.chunks(&out, chunk, chunk + 1)
    }
}

#[test]
fn window_equals_whole_until_it_is_full() {
    let streams =
        [[All; 4], [Nothing; 4], [Few(1), Few(2), Few(3), Few(4)], [Border, Nothing, All, Few(5)], [Nothing, All, Border, Few(6)]];
    for (policy, unknown) in POLICIES.into_iter().flat_map(|policy| streams.map(|unknown| (policy, unknown))) {
        // What is known counts too, so its output is compared.
        let config = Config { key_policy: policy, covered_correction: 1.0, ..Config::tiny() };
        let mut stream = Stream::new(&config, &unknown);
        for chunk in 0..unknown.len() {
            // Several levels: a pass must replace what the one before left.
            for level in [1.0, 0.5, 0.0] {
                let ours = stream.pass(&stream.noisy.clone(), chunk, level);
                let error = error(&flat(&stream.whole(chunk, level)), &flat(&ours));
                assert!(error < 1e-5, "{policy:?}, {unknown:?}, chunk {chunk}, level {level}: {error:e}");
            }
            stream.commit(chunk);
        }
    }
}

#[test]
fn what_noise_does_not_reach_is_the_same_in_every_pass() {
    for (stem_blocks, policy) in [(0, POLICIES[0]), (1, POLICIES[0]), (1, POLICIES[1]), (2, POLICIES[1])] {
        let config = Config { stem_blocks, key_policy: policy, ..Config::tiny() };
        let mut stream = Stream::new(&config, &MIXED);
        for (chunk, unknown) in MIXED.iter().enumerate() {
            stream.renew_noise(4);
            let first = stream.left(&stream.noisy.clone(), chunk, 0.5);
            let active = Activity::new(&config, stream.unknown(chunk, chunk + 1), CELLS.0, CELLS.1).active;
            let mut differs = |seed: u64, level: f32| {
                stream.renew_noise(seed);
                let other = stream.left(&stream.noisy.clone(), chunk, level);
                let rows = |kept: &[f32]| kept.chunks_exact(config.dim).map(<[f32]>::to_vec).collect::<Vec<_>>();
                let differs = |(a, b): (&Vec<f32>, &Vec<f32>)| rows(a).iter().zip(rows(b)).map(|(a, b)| *a != b).collect::<Vec<_>>();
                first.iter().zip(&other).map(differs).collect::<Vec<_>>()
            };
            // Every number of every other token, to the bit.
            let all = vec![active.clone(); 2 * config.layers];
            assert_eq!(differs(9, 0.5), all, "other noise, {stem_blocks} blocks, {policy:?}, {unknown:?}");
            assert_eq!(differs(9, 1.0), all, "pure noise, {stem_blocks} blocks, {policy:?}, {unknown:?}");
            assert_eq!(differs(9, 0.0), all, "as at the commit, {stem_blocks} blocks, {policy:?}, {unknown:?}");
            stream.commit(chunk);
        }
    }
}

#[test]
fn what_is_known_has_no_output() {
    let mut stream = Stream::new(&Config::tiny(), &MIXED);
    let channels = stream.dit.config.output_channels();
    for chunk in 0..MIXED.len() {
        let out = flat(&stream.pass(&stream.noisy.clone(), chunk, 0.5));
        for (out, unknown) in out.chunks_exact(channels).zip(stream.unknown(chunk, chunk + 1)) {
            assert!(out.iter().all(|v| (*v != 0.0) == *unknown));
        }
        stream.commit(chunk);
    }
}

#[test]
fn beyond_the_window_the_sink_and_the_newest_chunks_are_all_that_counts() {
    // With one layer keys depend on their own chunk alone, so a window that never saw the forgotten chunks must give the same.
    let mut results = Vec::new();
    for policy in POLICIES {
        let config = Config { key_policy: policy, layers: 1, ..Config::tiny() };
        let result = |history: &[usize]| {
            let mut stream = Stream::new(&config, &MIXED);
            history.iter().for_each(|chunk| stream.commit(*chunk));
            flat(&stream.pass(&stream.noisy.clone(), 7, 0.7))
        };
        let long = result(&[0, 1, 2, 3, 4, 5, 6]);
        assert!(error(&long, &result(&[0, 5, 6])) < 1e-6, "{policy:?}");
        for other in [[1, 5, 6], [0, 4, 6], [0, 6, 5]] {
            assert!(error(&long, &result(&other)) > 1e-3, "{policy:?}: {other:?} gives the same; the history has no effect");
        }
        results.push(long);
    }
    assert!(error(&results[0], &results[1]) < 1e-6, "the policies differ");
}

#[test]
fn policies_agree_with_all_layers() {
    let [a, b] = POLICIES.map(|policy| {
        let mut stream = Stream::new(&Config { key_policy: policy, ..Config::tiny() }, &MIXED);
        (0..7).for_each(|chunk| stream.commit(chunk));
        flat(&stream.pass(&stream.noisy.clone(), 7, 0.7))
    });
    assert!(error(&a, &b) < 1e-6);
}

/// Softmax attention written out, one head after the other.
fn plain_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Tensor {
    let head_dim = q.dim(2).unwrap() / heads;
    let part = |x: &Tensor, head: usize| x.narrow(2, head * head_dim, head_dim).unwrap().squeeze(0).unwrap().contiguous().unwrap();
    let parts: Vec<Tensor> = (0..heads)
        .map(|head| {
            let scores = part(q, head).matmul(&part(k, head).t().unwrap()).unwrap();
            let weights = (scores / (head_dim as f64).sqrt()).unwrap().exp().unwrap();
            let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1).unwrap()).unwrap();
            weights.matmul(&part(v, head)).unwrap()
        })
        .collect();
    Tensor::cat(&parts, 1).unwrap().unsqueeze(0).unwrap()
}

/// Rotates `x` (1, chunk tokens, dim) as the `slot`-th chunk of a window, written out pair by pair.
fn rotated(config: &Config, x: &Tensor, slot: usize) -> Tensor {
    let head_dim = config.dim / config.heads;
    let (rows, columns) = (CELLS.0 / 2, CELLS.1 / 2);
    let spatial = head_dim / 6;
    let parts = [head_dim / 2 - 2 * spatial, spatial, spatial];
    let mut values = flat(x);
    for (i, pair) in values.chunks_exact_mut(2).enumerate() {
        let (token, pair_index) = (i / (config.dim / 2), i % (head_dim / 2));
        let latent = slot * config.chunk_latents + token / (rows * columns);
        let at = [latent, token / columns % rows, token % columns];
        let (axis, index) = match pair_index {
            p if p < parts[0] => (0, p),
            p if p < parts[0] + parts[1] => (1, p - parts[0]),
            p => (2, p - parts[0] - parts[1]),
        };
        let angle = at[axis] as f64 * 10_000f64.powf(-(index as f64) / parts[axis] as f64);
        let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
        let [a, b] = [pair[0], pair[1]];
        (pair[0], pair[1]) = (a * cos - b * sin, a * sin + b * cos);
    }
    Tensor::from_vec(values, x.dims(), &Device::Cpu).unwrap()
}

#[test]
fn keys_stand_where_their_slot_says_for_every_shape_of_window() {
    for (sink, rolling) in [(1, 2), (0, 2), (2, 1), (1, 0), (0, 0), (2, 3)] {
        for policy in POLICIES {
            let config = Config { key_policy: policy, sink_chunks: sink, window_chunks: rolling, ..Config::tiny() };
            let tokens = config.chunk_latents * CELLS.0 * CELLS.1 / 4;
            let raw = |chunk: usize, layer: usize, what: u64| random((chunk * 10 + layer) as u64 * 3 + what, &[1, tokens, config.dim]);
            let mut window = Stream::window(&config);
            // What the window should hold, by number.
            let mut held: Vec<usize> = Vec::new();
            for chunk in 0..10 {
                if chunk == 6 {
                    window.refresh_sink().unwrap();
                    if sink > 0 && held.len() > sink {
                        held[0] = held[held.len() - 1];
                    }
                }
                for layer in 0..config.layers {
                    // A first denoising step leaves other keys behind.
                    window.attend(layer, &raw(99, layer, 0), &raw(99, layer, 1)).unwrap();
                    let (k, v) = window.attend(layer, &raw(chunk, layer, 0), &raw(chunk, layer, 1)).unwrap();
                    let seen: Vec<usize> = held.iter().copied().chain([chunk]).collect();
                    let keys: Vec<Tensor> = seen.iter().enumerate().map(|(slot, c)| rotated(&config, &raw(*c, layer, 0), slot)).collect();
                    let values: Vec<Tensor> = seen.iter().map(|c| raw(*c, layer, 1)).collect();
                    let (keys, values) = (Tensor::cat(&keys, 1).unwrap(), Tensor::cat(&values, 1).unwrap());
                    let what = format!("sink {sink}, window {rolling}, {policy:?}, chunk {chunk}, layer {layer}");
                    assert_eq!(flat(&values), flat(&v), "{what}");
                    assert!(error(&flat(&keys), &flat(&k)) < 1e-6, "{what}");
                    let q = rotated(&config, &raw(chunk, layer, 2), held.len());
                    let ours = ops::rope(&raw(chunk, layer, 2), &window.current_rotation().unwrap()).unwrap();
                    let ours = ops::attention(&ours, &k, &v, config.heads, Visibility::All).unwrap();
                    let error = error(&flat(&plain_attention(&q, &keys, &values, config.heads)), &flat(&ours));
                    assert!(error < 1e-5, "{what}: {error:e}");
                }
                window.commit().unwrap();
                if held.len() < sink + rolling {
                    held.push(chunk);
                } else if rolling > 0 {
                    held.remove(sink);
                    held.push(chunk);
                }
                assert_eq!(window.filled(), held.len() * tokens);
            }
        }
    }
}

#[test]
fn window_keeps_its_size_and_place_over_fifty_chunks() {
    let place = |tensor: &Tensor| {
        let (storage, _) = tensor.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(values)) = &*storage else { panic!("not on the CPU") };
        (values.as_ptr() as usize, values.len())
    };
    for policy in POLICIES {
        let config = Config { key_policy: policy, ..Config::tiny() };
        let tokens = config.chunk_latents * CELLS.0 * CELLS.1 / 4;
        let mut window = Stream::window(&config);
        let mut first = None;
        for chunk in 0..50 {
            let x = random(chunk, &[1, tokens, config.dim]);
            let places: Vec<_> = (0..config.layers)
                .flat_map(|layer| {
                    let (k, v) = window.attend(layer, &x, &x).unwrap();
                    assert_eq!(k.dim(1).unwrap(), (chunk as usize + 1).min(4) * tokens);
                    [place(&k), place(&v)]
                })
                .collect();
            assert!(places.iter().all(|(_, len)| *len == 4 * tokens * config.dim));
            assert_eq!(*first.get_or_insert(places.clone()), places, "the window moved at chunk {chunk}");
            window.commit().unwrap();
            assert_eq!(window.filled(), (chunk as usize + 1).min(3) * tokens);
        }
    }
}
