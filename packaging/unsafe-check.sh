#!/bin/sh
# Runs the tests of `engine/src/kernels`, where the program's unsafe code is, under the address sanitizer (every instruction set that this
# processor has) and under Miri (the portable one; the others are intrinsics that Miri does not know). The folder is built as a crate of
# its own, so that this takes a minute and not the whole engine's time. Miri leaves out the door to the `gemm` crate: its threads go
# through crossbeam-epoch, which Miri's model of borrows refuses.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
crate="${CARGO_TARGET_DIR:-$root/target}/unsafe-check"
mkdir -p "$crate/src"
cp "$root/Cargo.lock" "$crate/"
cat >"$crate/Cargo.toml" <<END
[package]
name = "kernels"
version = "0.0.0"
edition = "2024"
[dependencies]
$(grep -E '^(gemm|half|pulp|rayon) = ' "$root/Cargo.toml")
[profile.test]
opt-level = 1
[workspace]
END
cat >"$crate/src/lib.rs" <<END
#[path = "$root/engine/src/kernels/mod.rs"]
pub mod kernels;
pub mod error {
    #[derive(Debug)]
    pub struct Error(String);
    pub type Result<T, E = Error> = std::result::Result<T, E>;
    impl Error {
        pub fn field(field: impl std::fmt::Display, what: impl std::fmt::Display) -> Self {
            Self(format!("{field}: {what}"))
        }
    }
    impl std::fmt::Display for Error {
        fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }
}
END
cd "$crate"
export CARGO_TARGET_DIR="$crate/target"
echo 'unsafe-check: address sanitizer'
# The sanitizer's library comes with the stable toolchain; only the flag does not.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --quiet --lib --target "$host"
if cargo +nightly miri --version >/dev/null 2>&1; then
    echo 'unsafe-check: Miri'
    cargo +nightly miri test --quiet --lib -- --skip kernels::gemm
else
    echo 'unsafe-check: no Miri here; `rustup toolchain install nightly --component miri,rust-src` brings it'
fi
