//! The matting network's loss and gradient on one crop.
//!
//! Invariant: the value is the error of the network's answer, two of which make a [`matte`](crate::guide::matting::Matting::matte); the
//! gradient agrees with finite differences. Guarded by the tests below, each convolution by those of `guide::matting::conv`.

use super::crop::{Crop, SIDE};
use crate::error::{Error, Result};
use crate::guide::matting::conv::Plane;
use crate::guide::matting::{CONVS, LAYERS, activate, names, place};
use crate::kernels::vector::{dispatch, silu_slope};

/// Mean squared error, weighed by contrast, below which a crop is good enough.
const LEAST_ERROR: f64 = 1e-4;

/// Where each convolution's weight and bias are among the parameters.
pub struct Places([[usize; 2]; LAYERS]);

impl Places {
    /// Among parameters of these names.
    pub fn new(all: &[String]) -> Result<Self> {
        let mut places = [[0; 2]; LAYERS];
        for (layer, places) in places.iter_mut().enumerate() {
            for (place, name) in places.iter_mut().zip(names(layer)) {
                let found = all.iter().position(|other| *other == name);
                *place = found.ok_or_else(|| Error::field(name, "is not among the trained parameters"))?;
            }
        }
        Ok(Self(places))
    }

    /// What each convolution sees, then what the last one says; and what the others gave before their activation.
    fn forward(&self, values: &[Vec<f32>], input: &Plane) -> (Vec<Plane>, Vec<Plane>) {
        let (mut seen, mut before) = (vec![input.clone()], Vec::new());
        for (i, (conv, [weight, bias])) in CONVS.iter().zip(self.0).enumerate() {
            let x = &seen[i];
            let mut y = Plane::new(x.rows, x.columns, conv.to);
            let cells = y.cells();
            conv.forward(x, cells.clone(), &values[weight], &values[bias], y.at_mut(cells.clone()));
            y.clear_border();
            if i + 1 < LAYERS {
                before.push(y.clone());
                activate(y.at_mut(cells.clone()), (i > 0).then(|| x.at(cells)));
            }
            seen.push(y);
        }
        (seen, before)
    }

    /// Mean squared error of the crop's matte, weighed; `None` if nothing of it counts.
    pub fn error(&self, values: &[Vec<f32>], crop: &Crop) -> Option<f64> {
        let (seen, _) = self.forward(values, &crop.input);
        error(crop, |x, y| said(&seen[LAYERS], x, y))
    }

    /// The loss of a crop, the logarithm of its error; its gradient is added to `gradients`.
    pub fn loss(&self, values: &[Vec<f32>], crop: &Crop, gradients: &mut [Vec<f32>]) -> Option<f64> {
        let (seen, before) = self.forward(values, &crop.input);
        let out = &seen[LAYERS];
        let mean = error(crop, |x, y| said(out, x, y))?;
        let total: f64 = crop.weight.data.iter().map(|w| f64::from(*w)).sum();
        let scale = (2.0 / (total * (mean + LEAST_ERROR))) as f32;
        let mut dy = Plane::new(out.rows, out.columns, CONVS[LAYERS - 1].to);
        for (x, y) in pixels(crop) {
            let at = place(&dy, x, y);
            dy.data[at] = scale * crop.weight.at(x, y) * off(crop, x, y, said(out, x, y)) * (1.0 - crop.drawn.fixed(x, y));
        }
        for (i, (conv, [weight, bias])) in CONVS.iter().zip(self.0).enumerate().rev() {
            let x = &seen[i];
            // What a convolution adds to gets its gradient, too; the last adds to nothing, and nobody asks for the input's.
            let dx = match i {
                0 => None,
                _ if i + 1 < LAYERS => Some(dy.clone()),
                _ => Some(Plane::new(x.rows, x.columns, conv.from)),
            };
            if i + 1 < LAYERS {
                through_activation(&before[i].data, &mut dy.data);
            }
            let [mut dweight, mut dbias] = [weight, bias].map(|list| std::mem::take(&mut gradients[list]));
            conv.weight_gradient(x, &dy, &mut dweight, &mut dbias);
            (gradients[weight], gradients[bias]) = (dweight, dbias);
            if let Some(mut dx) = dx {
                conv.backward(&dy, &values[weight], &mut dx);
                dy = dx;
            }
        }
        Some((mean + LEAST_ERROR).ln())
    }
}

/// What the network says of a pixel.
fn said(out: &Plane, x: usize, y: usize) -> f32 {
    out.data[place(out, x, y)]
}

/// The pixels of a crop that count.
fn pixels(crop: &Crop) -> impl Iterator<Item = (usize, usize)> {
    (0..SIDE * SIDE).map(|i| (i % SIDE, i / SIDE)).filter(|(x, y)| crop.weight.at(*x, *y) > 0.0)
}

/// How far off a pixel's matte is where `more` is added to the filter's. Beyond 0 and 1 the matte is clamped, but what is added counts
/// all the same: a step back leads into them.
fn off(crop: &Crop, x: usize, y: usize, more: f32) -> f32 {
    let (drawn, alpha) = (&crop.drawn, crop.drawn.filtered.at(x, y) + more);
    let beyond = (1.0 - drawn.fixed(x, y)) * (alpha - alpha.clamp(0.0, 1.0));
    drawn.settled(x, y, alpha) + beyond - crop.truth.at(x, y)
}

/// Weighed mean squared error of a crop where `more` is added to the filter's matte; `None` if nothing of it counts.
pub fn error(crop: &Crop, more: impl Fn(usize, usize) -> f32) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for (x, y) in pixels(crop) {
        let weight = crop.weight.at(x, y);
        sum += f64::from(weight * off(crop, x, y, more(x, y)).powi(2));
        total += f64::from(weight);
    }
    (total > 0.0).then(|| sum / total)
}

/// `gradient` of what the activation gives becomes that of what it got, `x`.
fn through_activation(x: &[f32], gradient: &mut [f32]) {
    dispatch(
        #[inline(always)]
        || {
            gradient.iter_mut().zip(x).for_each(|(gradient, x)| *gradient *= silu_slope(*x));
        },
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::crop::crops;
    use super::*;
    use crate::model::parameters::normal;
    use crate::train::pool::Pool;
    use crate::train::pool::tests::folders;
    use rand::SeedableRng;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (_root, photos, cutouts) = folders(12, 12);
        let (pool, _) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let all: Vec<Crop> = (0..6).flat_map(|seed| crops(&pool, (96, 80), seed)).collect();
        let names: Vec<String> = (0..LAYERS).flat_map(names).collect();
        let places = Places::new(&names).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let mut values: Vec<Vec<f32>> = Vec::new();
        for conv in CONVS {
            for len in [conv.weight_len(), conv.to] {
                let mut numbers = vec![0.0; len];
                normal(&mut rng, &mut numbers);
                numbers.iter_mut().for_each(|v| *v *= 0.5 / (9.0 * conv.from as f32).sqrt());
                values.push(numbers);
            }
        }
        let crop = all.iter().find(|crop| places.error(&values, crop).is_some()).unwrap();
        let mut gradients: Vec<Vec<f32>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
        let loss = places.loss(&values, crop, &mut gradients).unwrap();
        assert!((loss - (places.error(&values, crop).unwrap() + LEAST_ERROR).ln()).abs() < 1e-9);
        for list in 0..values.len() {
            // Along the gradient of each list the loss grows by its square.
            let length = gradients[list].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let step = 2e-3 / length;
            let mut at = |by: f64| {
                let kept = values[list].clone();
                values[list].iter_mut().zip(&gradients[list]).for_each(|(v, g)| *v += (by * f64::from(*g)) as f32);
                let loss = (places.error(&values, crop).unwrap() + LEAST_ERROR).ln();
                values[list] = kept;
                loss
            };
            let slope = (at(step) - at(-step)) / (2.0 * step * length);
            assert!((slope / length - 1.0).abs() < 0.02, "{}: {slope} {length}", names[list]);
        }
    }
}
