#!/usr/bin/env bash
# Build BVLC Caffe out of tree and install it into the virtual environment.
#
#   tools/build_caffe.sh VENV BUILD_DIR BLAS(mkl|open|scipy-openblas) GPU(0|1|cudnn)
#
# The source is BVLC Caffe as packaged in a Python source archive (see
# data_prep/common/assets.py: pinned, sha256 checked), with the changes of
# tools/caffe_patches.  Only the CMake tree of that archive is used, never its setup.py.
# PORTRAIT_MATTING_ARCH names the processor, as for our extensions (-march=native).
# A build with CUDA needs neither a GPU nor a driver, and computes on the CPU without.
set -euo pipefail

venv=$(realpath "$1"); build=$(realpath -m "$2"); blas=$3; gpu=$4
here=$(dirname "$(realpath "$0")")
python=$venv/bin/python3
prefix=$venv/opt/caffe
blas_names=
mkdir -p "$build"
case $blas in
  mkl)  blas_flags=(-DBLAS=MKL "-DMKL_ROOT=$venv") ;;
  open) blas_flags=(-DBLAS=Open) ;;
  scipy-openblas)
    "$python" -m pip install --quiet --disable-pip-version-check -r "$here/../requirements/scipy-openblas.txt"
    package=$("$python" -c 'import scipy_openblas32 as p; print(p.get_include_dir())')/..
    blas_flags=(-DBLAS=Open "-DOpenBLAS_INCLUDE_DIR=$package/include"
      "-DOpenBLAS_LIB=$package/lib/libscipy_openblas.so")
    # Its names begin with scipy_, so that it gets on with another OpenBLAS in the same process.
    grep -oE 'scipy_cblas_[a-z0-9_]+' "$package/include/cblas.h" | sort -u \
      | sed -E 's/scipy_(.*)/#define \1 scipy_\1/' > "$build/scipy_names.h"
    blas_names="-include $build/scipy_names.h" ;;
  *) echo "build_caffe: BLAS must be mkl, open or scipy-openblas, not '$blas'." >&2; exit 2 ;;
esac

# What the kernels are compiled for: CUDA_ARCHITECTURES ("80 90"), else the cards that are
# there, else every generation from Turing (2018) on that the compiler knows: code for 8.0
# runs on 8.6 and 8.9, and so on.
architectures() {
  local wanted known
  known=$("$1/bin/nvcc" --list-gpu-arch | grep -oE '[0-9]+')
  wanted=${CUDA_ARCHITECTURES:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null || true)}
  tr -d . <<< "${wanted:-75 80 90 100 120}" | tr ' ' '\n' | grep -Fx "$known" | sort -nu | xargs
}

case $gpu in
  0) gpu_flags=(-DCPU_ONLY=ON) ;;
  1|cudnn)
    toolkit=$("$here/cuda_toolkit.sh" "$venv" "$gpu")
    processors=$(architectures "$toolkit")
    [ -n "$processors" ] || { echo "build_caffe: $toolkit/bin/nvcc compiles for none of the GPUs that are wanted; set CUDA_HOME to another toolkit." >&2; exit 1; }
    # Machine code for each of them; code that later ones translate when they load it.
    gpu_flags=(-DCPU_ONLY=OFF -DUSE_NCCL=OFF "-DCUDA_TOOLKIT_ROOT_DIR=$toolkit"
      -DCUDA_ARCH_NAME=Manual "-DCUDA_ARCH_BIN=$processors" "-DCUDA_ARCH_PTX=${processors%% *}")
    if [ "$gpu" = cudnn ]; then
      cudnn=$toolkit
      [ -e "$cudnn/include/cudnn.h" ] || cudnn=$(dirname "$toolkit")/cudnn
      gpu_flags+=(-DUSE_CUDNN=ON "-DCUDNN_INCLUDE=$cudnn/include" "-DCUDNN_LIBRARY=$cudnn/lib/libcudnn.so")
    else
      gpu_flags+=(-DUSE_CUDNN=OFF)
    fi ;;
  *) echo "build_caffe: GPU must be 0, 1 or cudnn, not '$gpu'." >&2; exit 2 ;;
esac

archive=$("$python" -m data_prep.assets caffe-source)
mkdir -p "$build/source"
tar -xzf "$archive" --strip-components=1 -C "$build/source"

# The archive leaves out examples/, which Caffe's CMakeLists.txt adds.
mkdir -p "$build/source/examples"
: > "$build/source/examples/CMakeLists.txt"

# Caffe's own tests read two 480 x 360 photos from there, one of them in a file
# of 140,391 bytes (decoders ignore what follows the end of a JPEG).
mkdir -p "$build/source/examples/images"
"$python" - "$("$python" -m data_prep.assets astronaut)" "$build/source/examples/images" <<EOF
import sys, cv2
photo = cv2.resize(cv2.imread(sys.argv[1])[:384], (480, 360))
code = cv2.imencode(".jpg", photo)[1].tobytes()
open(sys.argv[2] + "/cat.jpg", "wb").write(code.ljust(140391, b"\0"))
cv2.imwrite(sys.argv[2] + "/cat_gray.jpg", cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY))
EOF

# Each says what it is for; one that does not fit ends the build.
for change in "$here"/caffe_patches/*.patch; do
  patch --directory "$build/source" --strip=1 --forward --fuzz=0 --silent < "$change" \
    || { echo "build_caffe: $change does not fit the source; is the archive another one?" >&2; exit 1; }
done

# CMake's find_library wants the unversioned name, the MKL wheel has only .so.N.
if [ ! -e "$venv/lib/libmkl_rt.so" ]; then
  mkl_rt=$(find "$venv/lib" -maxdepth 1 -name 'libmkl_rt.so.*' | sort | tail -n 1)
  [ -n "$mkl_rt" ] || { echo "build_caffe: no libmkl_rt in $venv/lib; run 'make' again." >&2; exit 1; }
  ln -s "$(basename "$mkl_rt")" "$venv/lib/libmkl_rt.so"
fi

# C++17, which nvcc's headers want; libstdc++ still has the std::random_shuffle that it
# dropped.  The two CV_LOAD_* names left OpenCV with version 4.  Files are compiled by the
# dozen, so that headers are read less often.
cmake -S "$build/source" -B "$build/cmake" -G Ninja -Wno-dev \
  -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
  -DCMAKE_CXX_FLAGS="-std=c++17 ${PORTRAIT_MATTING_ARCH--march=native} $blas_names -DCV_LOAD_IMAGE_COLOR=1 -DCV_LOAD_IMAGE_GRAYSCALE=0 -Wno-deprecated-declarations" \
  -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=12 \
  "${gpu_flags[@]}" -DUSE_OPENMP=ON -DUSE_LEVELDB=OFF -DUSE_LMDB=ON -DUSE_OPENCV=ON -DUSE_HDF5=ON \
  -DBUILD_docs=OFF -DBUILD_matlab=OFF -DBUILD_python=ON -DBUILD_python_layer=ON \
  -DBUILD_only_tests="convolution_layer,deconvolution_layer,crop_layer,softmax_layer,data_layer,db,io,net,solver,gradient_based_solver,caffe_main" \
  -Dpython_version=3 -DPYTHON_EXECUTABLE="$python" "${blas_flags[@]}"
cmake --build "$build/cmake"
cmake --install "$build/cmake" > "$build/install.log"
# In a variable: ldd dies, and the pipe fails, where `grep -q` has seen enough before its end.
libraries=$(ldd "$prefix/lib/libcaffe.so")
# CMake goes on without CUDA where it does not find it.
if [ "$gpu" != 0 ] && ! grep -q libcublas <<< "$libraries"; then
  echo "build_caffe: CMake did not find CUDA in $toolkit." >&2; exit 1
fi

# `import caffe` from any directory: a .pth file beside the other packages.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$prefix/python" > "$site/caffe.pth"

# The caffe binary embeds Python, which finds the environment of the first
# python3 on PATH: the launcher puts ours there, so no activation is needed.
cat > "$venv/bin/caffe" <<EOF
#!/bin/sh
PATH="$venv/bin:\$PATH" exec "$prefix/bin/caffe" "\$@"
EOF
chmod +x "$venv/bin/caffe"
echo "$blas" > "$prefix/BLAS"
echo "$gpu" > "$prefix/GPU"
echo "Caffe is installed in $prefix; its BLAS is $blas, GPU ${processors:-none}: $(grep -E 'mkl|openblas|cublas|cudnn' <<< "$libraries" | awk '{print $1}' | xargs)"
