//! The device to compute on, by name.
//!
//! Invariant: a device that this build cannot use is refused with what to do instead. Guarded by the tests below.

use crate::error::{Error, Result};
use candle_core::Device;

/// `cpu`, `cuda`, `cuda:N` or `metal`.
pub fn device_by_name(name: &str) -> Result<Device> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: usize = index.parse().map_err(|_| Error::field("device", format!("`{name}` has no number after the colon")))?;
    let refused = |e: candle_core::Error| Error::field("device", format!("`{name}` cannot be used ({e}); choose cpu"));
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" if cfg!(feature = "cuda") => Device::new_cuda(index).map_err(refused),
        "metal" if cfg!(feature = "metal") => Device::new_metal(index).map_err(refused),
        "cuda" | "metal" => Err(Error::field(
            "device",
            format!("this build has no {kind}; build with `cargo build --release --features {kind}` or choose cpu"),
        )),
        _ => Err(Error::field("device", format!("`{name}` is not known; choose cpu, cuda, cuda:N or metal"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_understood_or_refused_with_a_way_out() {
        assert!(device_by_name("cpu").unwrap().is_cpu());
        for name in ["gpu", "cuda:x", ""] {
            assert!(device_by_name(name).unwrap_err().to_string().starts_with("device"));
        }
    }
}
