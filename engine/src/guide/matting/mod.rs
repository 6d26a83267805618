//! What the picture says of a drawn border that colours alone do not: a small network corrects the matte in the band around it.
//!
//! It works on 2x2 px at a time, sees 24 px around it, and answers with how much more or less of a pixel is the object's than the guided
//! filter found ([`super::matte`]). Trained by `train::matting` on clips whose true alpha is known. Only cells that a pixel of the band
//! depends on are computed. It is asked twice, upright and upside down: what is random in its answers differs, and the mean is nearer.
//! Invariant: outside the band the matte is 0 or 1; the result does not depend on the number of threads, nor on what lies farther than
//! it sees. Guarded by the tests below and of `conv`, `train::matting`.

pub mod conv;

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use candle_core::{Device, Tensor, safetensors};
use rayon::prelude::*;

use super::distance::distance_px;
use super::matte::Drawn;
use crate::error::{Error, Result};
use crate::kernels::vector::{dispatch, sigmoid};
use crate::model::parameters::{Init, Parameters};
use crate::picture::{Mask, Picture};
use conv::{BORDER, Conv, Plane};

/// Side of a cell, px.
pub const CELL: usize = 2;
/// What the network is told of a pixel: its colour, how far foreground and background are from it, the depth, the filter's matte.
const FEATURES: usize = 11;
/// Channels between the convolutions.
const CHANNELS: usize = 32;
/// Dilations of the residual convolutions between the first and the last.
const DILATIONS: [usize; 5] = [1, 2, 4, 2, 1];
/// Convolutions.
pub const LAYERS: usize = DILATIONS.len() + 2;
/// A Chebyshev distance is at most so much less than the Euclidean one.
const DIAGONAL: f32 = 1.5;

/// The embedded weights.
const EMBEDDED: &[u8] = include_bytes!("../../../../assets/matting/matting.safetensors");

/// Sizes of the convolutions, in order; all but the first and the last add to what they read.
pub const CONVS: [Conv; LAYERS] = {
    let mut convs = [Conv { from: CHANNELS, to: CHANNELS, dilation: 1 }; LAYERS];
    let mut i = 0;
    while i < DILATIONS.len() {
        convs[i + 1].dilation = DILATIONS[i];
        i += 1;
    }
    convs[0].from = FEATURES * CELL * CELL;
    convs[LAYERS - 1].to = CELL * CELL;
    convs
};

/// The network's numbers: of each convolution weight (to, 3, 3, from) and bias (to).
#[derive(Clone, Debug, PartialEq)]
pub struct Matting {
    layers: Vec<[Vec<f32>; 2]>,
}

/// Names of a convolution's weight and bias.
pub fn names(layer: usize) -> [String; 2] {
    ["weight", "bias"].map(|part| format!("matting.{layer}.{part}"))
}

/// Weight and bias of each convolution, from wherever parameters come; the last says nothing at first: the filter's matte.
pub fn parameters(p: &Parameters) -> Result<Vec<[Tensor; 2]>> {
    let layer = |(i, conv): (usize, &Conv)| {
        let [weight, bias] = names(i);
        let spread = if i + 1 < LAYERS { Init::Normal(1.0 / (9.0 * conv.from as f32).sqrt()) } else { Init::Zeros };
        Ok([p.get(&weight, &[conv.to, 3, 3, conv.from], spread)?, p.get(&bias, &[conv.to], Init::Zeros)?])
    };
    CONVS.iter().enumerate().map(layer).collect()
}

impl Matting {
    /// The network that is part of the program.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn embedded() -> &'static Self {
        static MATTING: OnceLock<Matting> = OnceLock::new();
        MATTING.get_or_init(|| match Self::read(Path::new("matting (embedded)"), EMBEDDED) {
            Ok(matting) => matting,
            Err(why) => panic!("{why}"),
        })
    }

    /// The network in a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be read, or whose tensors are not this network's.
    pub fn load(path: &Path) -> Result<Self> {
        Self::read(path, &std::fs::read(path).map_err(|e| Error::file(path, e))?)
    }

    fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let tensors = safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| Error::file(path, format!("is not a whole safetensors file ({e}); fetch it again")))?;
        let parameters = Parameters::loaded(path, tensors, &Device::Cpu, false);
        let mut layers = Vec::new();
        for [weight, bias] in self::parameters(&parameters)? {
            layers.push([weight.flatten_all()?.to_vec1()?, bias.to_vec1()?]);
        }
        parameters.finish()?;
        match layers.iter().flatten().flatten().all(|v: &f32| v.is_finite()) {
            true => Ok(Self { layers }),
            false => Err(Error::file(path, "holds numbers that are not finite; fetch it again")),
        }
    }

    /// The matte, 0..1, of what was `drawn` on `picture`.
    pub fn matte(&self, picture: &Picture, drawn: &Drawn) -> Mask {
        let upright = self.more(picture, drawn);
        let turned = self.more(&picture.turned(), &drawn.turned()).turned();
        Mask::from_fn(picture.width, picture.height, |x, y| {
            let more = 0.5 * (upright.at(x, y) + turned.at(x, y));
            drawn.settled(x, y, drawn.filtered.at(x, y) + more)
        })
    }

    /// What to add to the filter's matte in the band, by one answer.
    fn more(&self, picture: &Picture, drawn: &Drawn) -> Mask {
        let (columns, rows) = (picture.width.div_ceil(CELL), picture.height.div_ceil(CELL));
        let inside = |row: usize, column: usize| {
            let pixels = (0..CELL * CELL).map(|i| (column * CELL + i % CELL, row * CELL + i / CELL));
            pixels.filter(|(x, y)| *x < picture.width && *y < picture.height).any(|(x, y)| drawn.in_band(x, y))
        };
        let away = distance_px(columns, rows, |column, row| inside(row, column));
        let mut reach: usize = CONVS[1..].iter().map(|conv| conv.dilation).sum();
        let runs = |reach: usize| -> Vec<Vec<Range<usize>>> {
            let near = |row: usize| -> Vec<Range<usize>> {
                let cells: Vec<bool> = (0..columns).map(|column| away.at(column, row) <= reach as f32 * DIAGONAL).collect();
                let mut end = 0;
                let runs = cells.chunk_by(|a, b| a == b).map(|run| {
                    end += run.len();
                    (run[0], end - run.len()..end)
                });
                runs.filter(|(near, _)| *near).map(|(_, run)| run).collect()
            };
            (0..rows).into_par_iter().map(near).collect()
        };

        let mut x = features(picture, drawn, &runs(reach + CONVS[0].dilation));
        for (i, (conv, [weight, bias])) in CONVS.iter().zip(&self.layers).enumerate() {
            let mut y = Plane::new(rows, columns, conv.to);
            each_row(&mut y, &runs(reach), |cells, out| {
                conv.forward(&x, cells.clone(), weight, bias, out);
                if i + 1 < LAYERS {
                    activate(out, (i > 0).then(|| x.at(cells)));
                }
            });
            x = y;
            reach -= CONVS.get(i + 1).map_or(reach, |next| next.dilation);
        }
        Mask::from_fn(picture.width, picture.height, |x_px, y_px| x.data[place(&x, x_px, y_px)])
    }
}

/// Where a pixel's number is in the data of what the last convolution gives.
pub fn place(out: &Plane, x: usize, y: usize) -> usize {
    out.cell(y / CELL, x / CELL) * out.channels + y % CELL * CELL + x % CELL
}

/// Calls `f(cells, out)` for runs of columns of each row.
fn each_row(plane: &mut Plane, runs: &[Vec<Range<usize>>], f: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let (stride, channels) = (plane.stride(), plane.channels);
    let rows = plane.data.par_chunks_exact_mut(stride * channels).skip(BORDER).zip(runs);
    rows.enumerate().for_each(|(row, (line, runs))| {
        for run in runs {
            let (start, end) = (run.start + BORDER, run.end + BORDER);
            let first = (row + BORDER) * stride;
            f(first + start..first + end, &mut line[start * channels..end * channels]);
        }
    });
}

/// What the network is told, in these runs of cells.
pub fn features(picture: &Picture, drawn: &Drawn, runs: &[Vec<Range<usize>>]) -> Plane {
    let mut plane = Plane::new(picture.height.div_ceil(CELL), picture.width.div_ceil(CELL), CONVS[0].from);
    let stride = plane.stride();
    each_row(&mut plane, runs, |cells, out| {
        let (row, first) = (cells.start / stride - BORDER, cells.start % stride - BORDER);
        for (column, cell) in out.chunks_exact_mut(FEATURES * CELL * CELL).enumerate() {
            for (i, told) in cell.chunks_exact_mut(FEATURES).enumerate() {
                let x = ((first + column) * CELL + i % CELL).min(picture.width - 1);
                let y = (row * CELL + i / CELL).min(picture.height - 1);
                let (own, f, b) = (picture.at(x, y), drawn.foreground.at(x, y), drawn.background.at(x, y));
                for c in 0..3 {
                    (told[c], told[3 + c], told[6 + c]) = (own[c] - 0.5, f[c] - own[c], b[c] - own[c]);
                }
                told[9] = (drawn.depth.at(x, y) / drawn.band).clamp(-1.0, 1.0);
                told[10] = 2.0 * drawn.filtered.at(x, y) - 1.0;
            }
        }
    });
    plane
}

/// `x = silu(x)`, plus `skipped`.
pub fn activate(x: &mut [f32], skipped: Option<&[f32]>) {
    dispatch(
        #[inline(always)]
        || {
            x.iter_mut().for_each(|v| *v *= sigmoid(*v));
            if let Some(skipped) = skipped {
                x.iter_mut().zip(skipped).for_each(|(v, skipped)| *v += skipped);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guide::matte::drawn;
    use crate::model::parameters::normal;
    use rand::SeedableRng;

    /// Weights that say something.
    fn random(seed: u64) -> Matting {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut layer = |conv: &Conv| {
            [conv.weight_len(), conv.to].map(|len| {
                let mut values = vec![0.0; len];
                normal(&mut rng, &mut values);
                values.iter_mut().for_each(|v| *v *= 0.7 / (9.0 * conv.from as f32).sqrt());
                values
            })
        };
        Matting { layers: CONVS.iter().map(&mut layer).collect() }
    }

    fn scene(width: usize, height: usize) -> (Picture, Mask) {
        let picture = Picture::from_fn(width, height, |x, y| [0.2 + (x * 7 % 31) as f32 * 0.02, (y * 5 % 23) as f32 * 0.04, 0.4]);
        let region = Mask::from_fn(width, height, |x, y| f32::from((x as f32 - 40.0).hypot(y as f32 - 34.0) < 17.0));
        (picture, region)
    }

    #[test]
    fn the_embedded_network_can_be_read_and_files_that_are_none_are_refused() {
        assert_eq!(Matting::embedded().layers.len(), LAYERS);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.safetensors");
        for bytes in [&EMBEDDED[..EMBEDDED.len() / 2], b"", b"no such thing"] {
            std::fs::write(&path, bytes).unwrap();
            assert!(Matting::load(&path).unwrap_err().to_string().contains("other.safetensors"));
        }
        let tensor = Tensor::zeros(&[3, 3], candle_core::DType::F32, &Device::Cpu).unwrap();
        for name in ["something", "matting.0.weight"] {
            safetensors::save(&std::collections::HashMap::from([(name, tensor.clone())]), &path).unwrap();
            assert!(Matting::load(&path).unwrap_err().to_string().contains("`matting.0.weight`"));
        }
        assert!(Matting::load(&folder.path().join("none")).is_err());
    }

    /// One answer, from every cell of every layer, the border cut off in between.
    fn answers(matting: &Matting, picture: &Picture, drawn: &Drawn) -> Mask {
        let all = vec![vec![0..picture.width.div_ceil(CELL)]; picture.height.div_ceil(CELL)];
        let mut x = features(picture, drawn, &all);
        for (i, (conv, [weight, bias])) in CONVS.iter().zip(&matting.layers).enumerate() {
            let mut y = Plane::new(x.rows, x.columns, conv.to);
            let cells = y.cells();
            conv.forward(&x, cells.clone(), weight, bias, y.at_mut(cells.clone()));
            if i + 1 < LAYERS {
                activate(y.at_mut(cells.clone()), (i > 0).then(|| x.at(cells)));
            }
            y.clear_border();
            x = y;
        }
        Mask::from_fn(picture.width, picture.height, |x_px, y_px| x.data[place(&x, x_px, y_px)])
    }

    #[test]
    fn outside_the_band_the_matte_is_what_was_drawn_and_inside_what_all_cells_give() {
        let matting = random(1);
        for (width, height) in [(96, 80), (95, 77)] {
            let (picture, region) = scene(width, height);
            let drawn = drawn(&picture, &region, 4.0);
            let matte = matting.matte(&picture, &drawn);
            let upright = answers(&matting, &picture, &drawn);
            let turned = answers(&matting, &picture.turned(), &drawn.turned()).turned();
            let mut moved = [0; 2];
            for (i, &alpha) in matte.data.iter().enumerate() {
                let (x, y) = (i % width, i / width);
                if !drawn.in_band(x, y) {
                    assert_eq!(alpha, region.data[i]);
                    continue;
                }
                let said = |more: f32| drawn.settled(x, y, drawn.filtered.data[i] + more);
                let whole = said(0.5 * (upright.data[i] + turned.data[i]));
                assert!((alpha - whole).abs() < 1e-4, "{alpha} {whole}");
                moved[0] += usize::from((alpha - said(0.0)).abs() > 0.01);
                moved[1] += usize::from((said(upright.data[i]) - said(turned.data[i])).abs() > 0.01);
            }
            assert!(moved.iter().all(|moved| *moved > 100), "{moved:?}");
        }
    }
}
