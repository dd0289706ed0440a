#!/usr/bin/env bash
# Print the folder of a CUDA toolkit that Caffe can be built with.
#
#   tools/cuda_toolkit.sh VENV GPU(1|cudnn)
#
# Of CUDA_HOME, the one of nvcc on PATH and /usr/local/cuda the first that has cuBLAS and
# cuRAND (some machines have the compiler alone); else the wheels of requirements/gpu.txt,
# which are installed into VENV.
set -euo pipefail

venv=$(realpath "$1"); gpu=$2
here=$(dirname "$(realpath "$0")")

# has TOOLKIT HEADER: some packages have headers in targets/x86_64-linux/include alone.
has() { [ -e "$1/include/$2" ] || compgen -G "$1/targets/*/include/$2" > /dev/null; }

is_whole() {
  [ -x "$1/bin/nvcc" ] && has "$1" cublas_v2.h && has "$1" curand.h \
    && { [ "$gpu" != cudnn ] || has "$1" cudnn.h; }
}

on_path=$(command -v nvcc || true)
for folder in "${CUDA_HOME:-}" "${on_path:+$(dirname "$(dirname "$(realpath "$on_path")")")}" \
    /usr/local/cuda; do
  [ -n "$folder" ] || continue
  if is_whole "$folder"; then
    echo "$folder"
    exit
  fi
done
if [ -n "${CUDA_HOME:-}" ]; then
  echo "cuda_toolkit: CUDA_HOME=$CUDA_HOME is no toolkit with all that GPU=$gpu needs (nvcc, cuBLAS, cuRAND; cuDNN for GPU=cudnn); wheels take its place." >&2
fi

wanted=(-r "$here/../requirements/gpu.txt")
[ "$gpu" != cudnn ] || wanted+=(-r "$here/../requirements/gpu-cudnn.txt")
# --no-deps: the compiler's wheel leaves out what the list has, and asks for nothing else.
"$venv/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps "${wanted[@]}" >&2
packages=$("$venv/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia
toolkit=$packages/cu13

# nvcc and CMake look for lib64 and for names without a version; wheels have neither.
[ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"
for library in "$packages"/{cu13,cudnn}/lib/lib{cudart,cublas,cublasLt,curand,cudnn}.so.*; do
  [ -e "$library" ] || continue
  ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
echo "$toolkit"
