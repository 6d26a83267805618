//! Every fused op against the plain candle graph: value and gradient, at sizes that are no multiple of any tile.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Result, Tensor, Var};
use kinebrush_engine::kernels::{Kernels, Visibility};
use rand::{RngExt, SeedableRng};

struct Random(rand_chacha::ChaCha8Rng);

impl Random {
    fn tensor(&mut self, shape: &[usize]) -> Var {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.0.random_range(-1.0..1.0)).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    }
}

/// Runs `op` in both forms on random inputs of these shapes and compares the value and every input's gradient.
fn compare(name: &str, shapes: &[&[usize]], differentiable: usize, op: impl Fn(Kernels, &[Tensor]) -> Result<Tensor>) {
    let mut random = Random(rand_chacha::ChaCha8Rng::seed_from_u64(7));
    let inputs: Vec<Var> = shapes.iter().map(|s| random.tensor(s)).collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let run = |kernels| {
        let out = op(kernels, &tensors).unwrap();
        let mut random = Random(rand_chacha::ChaCha8Rng::seed_from_u64(8));
        let weight = random.tensor(out.dims());
        let grads = (&out * weight.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        let grads: Vec<Tensor> = inputs[..differentiable].iter().map(|v| grads.get(v).expect("a gradient was dropped").clone()).collect();
        (out, grads)
    };
    let ((a, ga), (b, gb)) = (run(Kernels::Reference), run(Kernels::Fused));
    close(&format!("{name}: value"), &a, &b);
    for (i, (a, b)) in ga.iter().zip(&gb).enumerate() {
        close(&format!("{name}: gradient of input {i}"), a, b);
    }
}

fn close(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let error = norm(&(a - b).unwrap()) / norm(a);
    assert!(error < 1e-5, "{what}: relative error {error:e}");
}

#[test]
fn linear() {
    compare("linear", &[&[2, 37, 19], &[23, 19], &[23]], 3, |k, x| k.linear(&x[0], &x[1], &x[2]));
}

#[test]
fn gelu() {
    compare("gelu", &[&[3, 1001]], 1, |k, x| k.gelu(&(&x[0] * 4.0)?));
}

#[test]
fn norm_modulate() {
    compare("norm-modulate", &[&[3, 70, 37], &[3, 37], &[3, 37]], 3, |k, x| k.norm_modulate(&x[0], &x[1], &x[2]));
}

#[test]
fn gate_residual() {
    compare("gate-residual", &[&[3, 70, 37], &[3, 70, 37], &[3, 37]], 3, |k, x| k.gate_residual(&x[0], &x[1], &x[2]));
}

#[test]
fn rms_norm() {
    compare("rms-norm", &[&[2, 130, 35], &[35]], 2, |k, x| k.rms_norm(&x[0], &x[1]));
}

#[test]
fn rope() {
    compare("rope", &[&[2, 9, 24], &[9, 12]], 1, |k, x| k.rope(&x[0], &x[1].detach()));
}

#[test]
fn attention_over_everything() {
    compare("attention", &[&[2, 75, 36], &[2, 101, 36], &[2, 101, 36]], 3, |k, x| k.attention(&x[0], &x[1], &x[2], 3, Visibility::All));
}

#[test]
fn attention_by_chunks() {
    compare("chunked attention", &[&[2, 210, 24], &[2, 210, 24], &[2, 210, 24]], 3, |k, x| {
        k.attention(&x[0], &x[1], &x[2], 2, Visibility::Chunks(70))
    });
}

#[test]
fn conv3x3() {
    compare("conv3x3", &[&[2, 11, 7, 5], &[6, 3, 3, 5], &[6]], 3, |k, x| k.conv3x3(&x[0], &x[1], &x[2]));
}

#[test]
fn threads_do_not_change_a_bit() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut random = Random(rand_chacha::ChaCha8Rng::seed_from_u64(3));
            let (x, w, b) = (random.tensor(&[2, 20, 24, 48]), random.tensor(&[48, 3, 3, 48]), random.tensor(&[48]));
            let y = Kernels::Fused.conv3x3(&x, &w, &b).unwrap().reshape((2, 480, 48)).unwrap();
            let y = Kernels::Fused.attention(&y, &y, &y, 3, Visibility::All).unwrap();
            let (w, b) = (random.tensor(&[192, 48]), random.tensor(&[192]));
            let y = Kernels::Fused.gelu(&Kernels::Fused.linear(&y, &w, &b).unwrap()).unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (flat(&y), flat(grads.get(&x).unwrap()), flat(grads.get(&w).unwrap()))
        })
    };
    assert!(run(1) == run(2), "one and two threads differ");
}
