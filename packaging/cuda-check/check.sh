#!/bin/sh
# Type-checks the engine's `cuda` feature on a machine without CUDA, with the stand-in nvcc beside this script. Nothing is built
# that could run. A target folder of its own keeps the real build's untouched.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
export PATH="$here:$PATH:$HOME/.cargo/bin"
# The stand-in must not be passed over for an installed one, nor ask a device for its generation.
export NVCC="$here/nvcc" CUDA_COMPUTE_CAP=89
unset CUDA_HOME CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR || true
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/cuda-check"
exec cargo check --locked -p kinebrush-engine --features cuda
