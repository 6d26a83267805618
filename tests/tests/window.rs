//! The KV window against a block-causal pass over all chunks, and against what it must hold, written out. Every parameter is random, so
//! nothing here passes because a layer is zero.
#![allow(clippy::unwrap_used)]

use candle_core::{CpuStorage, D, Device, Storage, Tensor};
use kinebrush_engine::model::config::{Config, KeyPolicy};
use kinebrush_engine::model::dit::{Dit, Past};
use kinebrush_engine::model::kv_window::KvWindow;
use kinebrush_engine::model::ops::{self, Visibility};
use kinebrush_engine::model::rope;
use kinebrush_tests::{error, flat, network, random};

const POLICIES: [KeyPolicy; 2] = [KeyPolicy::SinkRotated, KeyPolicy::AllUnrotated];
/// Cells of a latent; tokens are half as many each way.
const CELLS: (usize, usize) = (4, 6);

/// Random latents, noisy latents and conditions of a stream of chunks.
struct Stream {
    dit: Dit,
    window: KvWindow,
    clean: Tensor,
    noisy: Tensor,
    condition: Tensor,
}

impl Stream {
    fn new(config: &Config, chunks: usize) -> Self {
        let shape = |channels| [1, chunks * config.chunk_latents, CELLS.0, CELLS.1, channels];
        Self {
            dit: network(config),
            window: Self::window(config),
            clean: random(3, &shape(config.latent_channels)),
            noisy: random(4, &shape(config.latent_channels)),
            condition: random(5, &shape(config.condition_channels())),
        }
    }

    fn window(config: &Config) -> KvWindow {
        KvWindow::new(config, CELLS.0 / 2, CELLS.1 / 2, &Device::Cpu).unwrap()
    }

    /// Chunks `from..to` of a stream's tensor.
    fn chunks(&self, tensor: &Tensor, from: usize, to: usize) -> Tensor {
        let latents = self.dit.config.chunk_latents;
        tensor.narrow(1, from * latents, (to - from) * latents).unwrap().contiguous().unwrap()
    }

    /// One pass over a chunk through the window.
    fn pass(&mut self, latents: &Tensor, chunk: usize, level: f32) -> Tensor {
        let (z, condition) = (self.chunks(latents, chunk, chunk + 1), self.chunks(&self.condition, chunk, chunk + 1));
        self.dit.forward(&z, &condition, &[level], &mut Past::Window(&mut self.window)).unwrap()
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
        let out = self.dit.forward(&z, &self.chunks(&self.condition, 0, chunk + 1), &levels, past).unwrap();
        self.chunks(&out, chunk, chunk + 1)
    }
}

#[test]
fn window_equals_whole_until_it_is_full() {
    for policy in POLICIES {
        let config = Config { key_policy: policy, ..Config::tiny() };
        let chunks = config.sink_chunks + config.window_chunks + 1;
        let mut stream = Stream::new(&config, chunks);
        for chunk in 0..chunks {
            // Two levels: the second pass must replace what the first one left.
            for level in [1.0, 0.5] {
                let ours = stream.pass(&stream.noisy.clone(), chunk, level);
                let error = error(&flat(&stream.whole(chunk, level)), &flat(&ours));
                assert!(error < 1e-5, "{policy:?}, chunk {chunk}, level {level}: {error:e}");
            }
            stream.commit(chunk);
        }
    }
}

#[test]
fn beyond_the_window_the_sink_and_the_newest_chunks_are_all_that_counts() {
    // With one layer keys depend on their own chunk alone, so a window that never saw the forgotten chunks must give the same.
    let mut results = Vec::new();
    for policy in POLICIES {
        let config = Config { key_policy: policy, layers: 1, ..Config::tiny() };
        let result = |history: &[usize]| {
            let mut stream = Stream::new(&config, 8);
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
        let mut stream = Stream::new(&Config { key_policy: policy, ..Config::tiny() }, 8);
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
