#!/usr/bin/env bash
# Build BVLC Caffe out of tree and install it into the virtual environment.
#
#   tools/build_caffe.sh VENV BUILD_DIR BLAS(mkl|open)
#
# The source is BVLC Caffe as packaged in a Python source archive (see
# data_prep/common/assets.py: pinned, sha256 checked), with the one change below.
# Only the CMake tree of that archive is used, never its setup.py.
set -euo pipefail

venv=$(realpath "$1"); build=$(realpath -m "$2"); blas=$3
python=$venv/bin/python3
prefix=$venv/opt/caffe
case $blas in
  mkl)  blas_flags=(-DBLAS=MKL "-DMKL_ROOT=$venv") ;;
  open) blas_flags=(-DBLAS=Open) ;;
  *) echo "build_caffe: BLAS must be mkl or open, not '$blas'." >&2; exit 2 ;;
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

# The archive reads messages up to 512 MiB, BVLC up to 2 GiB: an FCN-8s
# caffemodel has 539 MB.
sed -i -E 's/SetTotalBytesLimit\([^)]*\)/SetTotalBytesLimit(INT_MAX)/' \
  "$build/source/src/caffe/util/io.cpp"
grep -q 'SetTotalBytesLimit(INT_MAX)' "$build/source/src/caffe/util/io.cpp"

# CMake's find_library wants the unversioned name, the MKL wheel has only .so.N.
if [ ! -e "$venv/lib/libmkl_rt.so" ]; then
  mkl_rt=$(find "$venv/lib" -maxdepth 1 -name 'libmkl_rt.so.*' | sort | tail -n 1)
  [ -n "$mkl_rt" ] || { echo "build_caffe: no libmkl_rt in $venv/lib; run 'make' again." >&2; exit 1; }
  ln -s "$(basename "$mkl_rt")" "$venv/lib/libmkl_rt.so"
fi

# C++14: Caffe calls std::random_shuffle, which C++17 removed.  The two
# CV_LOAD_* names left OpenCV with version 4.
cmake -S "$build/source" -B "$build/cmake" -G Ninja -Wno-dev \
  -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
  -DCMAKE_CXX_FLAGS="-std=c++14 -march=native -DCV_LOAD_IMAGE_COLOR=1 -DCV_LOAD_IMAGE_GRAYSCALE=0 -Wno-deprecated-declarations" \
  -DCPU_ONLY=ON -DUSE_LEVELDB=OFF -DUSE_LMDB=ON -DUSE_OPENCV=ON -DUSE_HDF5=ON \
  -DBUILD_docs=OFF -DBUILD_matlab=OFF -DBUILD_python=ON -DBUILD_python_layer=ON \
  -DBUILD_only_tests="convolution_layer,deconvolution_layer,crop_layer,softmax_layer,data_layer,db,io,net,solver,gradient_based_solver,caffe_main" \
  -Dpython_version=3 -DPYTHON_EXECUTABLE="$python" "${blas_flags[@]}"
cmake --build "$build/cmake"
cmake --install "$build/cmake" > "$build/install.log"

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
echo "Caffe is installed in $prefix; its BLAS is $blas: $(ldd "$prefix/lib/libcaffe.so" | grep -E 'mkl|openblas' | awk '{print $1}' | xargs)"
