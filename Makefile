# `make run` and `make test` are all one needs to know; both install what is missing first.
# rustup's default place, for shells that were open before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: run test lint fmt train-data cuda-check unsafe-check

# Opens the studio; without a display renders the demo scene to out/demo.mp4.
run:
	@packaging/setup.sh build
	cargo build --release --locked --workspace
	@packaging/run.sh "$${CARGO_TARGET_DIR:-target}/release/kinebrush"

# Format check and all tests. Both commands build the whole workspace in one profile, so that nothing is compiled twice.
test:
	@packaging/setup.sh test
	@if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; else echo "rustfmt is not installed: format not checked"; fi
	cargo test --release --locked --workspace

# Not part of `test`: clippy compiles every dependency once more.
lint:
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

# Photographs and cut-outs for `kinebrush train`: make train-data [DIR=folder]
train-data:
	@packaging/train-data.sh $(DIR)

# Type-checks the `cuda` feature on a machine without CUDA.
cuda-check:
	@packaging/cuda-check/check.sh

# The kernels' tests under the address sanitizer, and under Miri if a nightly toolchain has it.
unsafe-check:
	@packaging/unsafe-check.sh
