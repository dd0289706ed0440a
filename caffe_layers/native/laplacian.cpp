// Closed-form matting Laplacian (Levin, Lischinski, Weiss) as a stencil.

#include <omp.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "region.h"
#include "stencil.h"

namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Mask = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

namespace {

// Windows handled together: their temporaries stay in the L1/L2 cache and the
// innermost loops run over contiguous memory, which the compiler vectorizes.
constexpr int kChunk = 128;

// Copies the colors of `columns` pixels from (y, x) on into three planes, `stride` apart, in units
// of `white`.
template <typename Value>
void take_colors(const Value* image, int width, int y, int x, int columns, double white,
                 double* colors, size_t stride) {
  const Value* source = image + 3 * (size_t(y) * width + x);
  for (int i = 0; i < columns; ++i)
    for (int c = 0; c < 3; ++c) colors[c * stride + i] = source[3 * i + c] / white;
}

// Adds the contribution of `count` windows next to each other to the planes, which lie
// `plane_size` apart.  `color` holds three planes of the `side` rows that the windows cover, a row
// after the other `row_stride` apart; `place` tells for each row where its first pixel is in a
// plane.  `whitened` is scratch of 3 * window * kChunk.
void add_windows(const double* color, size_t row_stride, int radius, double epsilon, int count,
                 const size_t* place, double* whitened, double* planes, size_t plane_size) {
  const int side = 2 * radius + 1;
  const int window = side * side;
  const double inverse_window = 1.0 / window;
  const double regularization = epsilon * inverse_window;
  const size_t color_stride = side * row_stride;

  // Mean color of every window.
  double mean[3][kChunk] = {};
  for (int c = 0; c < 3; ++c) {
    for (int wy = 0; wy < side; ++wy)
      for (int wx = 0; wx < side; ++wx) {
        const double* source = color + c * color_stride + wy * row_stride + wx;
        for (int i = 0; i < count; ++i) mean[c][i] += source[i];
      }
    for (int i = 0; i < count; ++i) mean[c][i] *= inverse_window;
  }

  // Centered colors and covariance.  Centering first (instead of E[xy]-E[x]E[y])
  // keeps flat windows exact and makes L blind to a constant color offset.
  double cov[6][kChunk] = {};
  for (int wy = 0; wy < side; ++wy)
    for (int wx = 0; wx < side; ++wx) {
      const size_t at = wy * row_stride + wx;
      double* w = whitened + size_t(wy * side + wx) * 3 * kChunk;
      const double* c0 = color + at;
      const double* c1 = color + color_stride + at;
      const double* c2 = color + 2 * color_stride + at;
      for (int i = 0; i < count; ++i) {
        const double a = c0[i] - mean[0][i];
        const double b = c1[i] - mean[1][i];
        const double c = c2[i] - mean[2][i];
        w[i] = a;
        w[kChunk + i] = b;
        w[2 * kChunk + i] = c;
        cov[0][i] += a * a;
        cov[1][i] += a * b;
        cov[2][i] += a * c;
        cov[3][i] += b * b;
        cov[4][i] += b * c;
        cov[5][i] += c * c;
      }
    }

  // Cholesky factor of cov + (epsilon / window) I.  On a color line (a gray
  // photo) the covariance has rank one and an adjugate inverse would lose
  // all its digits; Cholesky does not.
  double l10[kChunk], l20[kChunk], l21[kChunk], i0[kChunk], i1[kChunk], i2[kChunk];
  for (int i = 0; i < count; ++i) {
    const double a = cov[0][i] * inverse_window + regularization;
    i0[i] = 1.0 / std::sqrt(a);
    l10[i] = cov[1][i] * inverse_window * i0[i];
    l20[i] = cov[2][i] * inverse_window * i0[i];
    const double b = cov[3][i] * inverse_window + regularization - l10[i] * l10[i];
    i1[i] = 1.0 / std::sqrt(std::max(b, regularization));
    l21[i] = (cov[4][i] * inverse_window - l20[i] * l10[i]) * i1[i];
    const double c =
        cov[5][i] * inverse_window + regularization - l20[i] * l20[i] - l21[i] * l21[i];
    i2[i] = 1.0 / std::sqrt(std::max(c, regularization));
  }
  for (int k = 0; k < window; ++k) {
    double* w = whitened + size_t(k) * 3 * kChunk;
    for (int i = 0; i < count; ++i) {
      const double a = w[i] * i0[i];
      const double b = (w[kChunk + i] - l10[i] * a) * i1[i];
      const double c = (w[2 * kChunk + i] - l20[i] * a - l21[i] * b) * i2[i];
      w[i] = a;
      w[kChunk + i] = b;
      w[2 * kChunk + i] = c;
    }
  }

  // delta_ij - (1 + (I_i - mu)^T (cov + eps/|w|)^-1 (I_j - mu)) / |w|
  for (int p = 0; p < window; ++p) {
    const int py_ = p / side, px = p % side;
    const double* u = whitened + size_t(p) * 3 * kChunk;
    for (int q = p; q < window; ++q) {
      const int dy = q / side - py_, dx = q % side - px;
      const double* v = whitened + size_t(q) * 3 * kChunk;
      const double delta = p == q ? 1.0 : 0.0;
      double* target = planes + plane_of(dy, dx, radius) * plane_size + place[py_] + px;
      for (int i = 0; i < count; ++i)
        target[i] += delta - inverse_window * (1.0 + u[i] * v[i] + u[kChunk + i] * v[kChunk + i] +
                                               u[2 * kChunk + i] * v[2 * kChunk + i]);
    }
  }
}

void check_image(const py::array& image, int radius) {
  if (image.ndim() != 3 || image.shape(2) != 3)
    throw std::invalid_argument("the image must have shape (H, W, 3)");
  if (radius < 1) throw std::invalid_argument("the radius must be at least 1");
  if (image.shape(0) < 2 * radius + 1 || image.shape(1) < 2 * radius + 1)
    throw std::invalid_argument("the image must be at least as large as one window, " +
                                std::to_string(2 * radius + 1) + " pixels a side");
}

// The part of an image where a mask is not zero; all of it where there is none.
Region region_of(const std::optional<Mask>& mask, int height, int width) {
  if (!mask) return Region(height, width);
  if (mask->ndim() != 2 || mask->shape(0) != height || mask->shape(1) != width)
    throw std::invalid_argument("image and mask differ in shape");
  return Region(mask->data(), height, width);
}

// Raises unless `pixels` has all pixels of the windows with these centers.
void check_windows(const Region& centers, const Region& pixels, int radius) {
  for (const Span& s : centers.spans()) {
    // No window leaves the image.
    const int first = std::max(s.first, radius), last = std::min(s.last, pixels.width - radius);
    if (first >= last || s.y < radius || s.y >= pixels.height - radius) continue;
    for (int y = s.y - radius; y <= s.y + radius; ++y)
      if (!pixels.holds(y, first - radius, last + radius))
        throw std::invalid_argument("a window has pixels that are not among those asked for");
  }
}

// The sum of the windows whose centers are in `centers`, (K, n) for the n pixels of `pixels`, which
// holds them all.
template <typename Value>
Array stencil(py::array_t<Value, py::array::c_style | py::array::forcecast> image, double white,
              double epsilon, int radius, std::optional<Mask> centers, std::optional<Mask> pixels) {
  check_image(image, radius);
  const int height = int(image.shape(0)), width = int(image.shape(1));
  const Region storage = region_of(pixels, height, width);
  const Region windows = region_of(centers, height, width);
  check_windows(windows, storage, radius);
  const auto offsets = upper_offsets(radius);
  Array result({py::ssize_t(offsets.size()), py::ssize_t(storage.size())});
  double* planes = result.mutable_data();
  const Value* values = image.data();
  py::gil_scoped_release release;

  const int rows = height - 2 * radius;  // rows of windows
  const int side = 2 * radius + 1, window = side * side;
  const size_t row_stride = kChunk + 2 * radius;
  // A strip of window rows writes into 2r pixel rows of the next strip.  Even
  // strips first, then odd ones: no two threads meet, and the order of every
  // sum is the same for any number of threads.
  const int strip = std::max(16, side);
  const int strips = (rows + strip - 1) / strip;
  const size_t total = offsets.size() * storage.size();

  struct Scratch {
    std::vector<double> whitened, colors;
    std::vector<size_t> place;
  };
  // Allocated here: an exception must not leave a parallel region.
  std::vector<Scratch> scratch(
      omp_get_max_threads(),
      {std::vector<double>(size_t(3) * window * kChunk), std::vector<double>(3 * side * row_stride),
       std::vector<size_t>(side)});

#pragma omp parallel
  {
    Scratch& own = scratch[omp_get_thread_num()];
    const auto add_row = [&](int center) {
      const int top = center - radius;
      for (const Span* s = windows.begin(center); s != windows.end(center); ++s) {
        const int last = std::min(s->last, width - radius);  // no window leaves the image
        for (int x = std::max(s->first, radius); x < last; x += kChunk) {
          const int count = std::min(kChunk, last - x);
          for (int wy = 0; wy < side; ++wy) {
            own.place[wy] = storage.place(top + wy, x - radius);
            take_colors(values, width, top + wy, x - radius, count + 2 * radius, white,
                        &own.colors[wy * row_stride], side * row_stride);
          }
          add_windows(own.colors.data(), row_stride, radius, epsilon, count, own.place.data(),
                      own.whitened.data(), planes, storage.size());
        }
      }
    };
#pragma omp for
    for (long long i = 0; i < (long long)total; ++i) planes[i] = 0.0;
    for (int parity = 0; parity < 2; ++parity) {
#pragma omp for schedule(dynamic)
      for (int s = parity; s < strips; s += 2)
        for (int row = s * strip; row < std::min(rows, (s + 1) * strip); ++row)
          add_row(row + radius);
    }
  }
  return result;
}

// Raises unless `values` has one number for every pixel of the stencil.
void check_pixels(const Array& planes, const Array& values, int radius) {
  if (planes.ndim() != 3 || planes.shape(0) != py::ssize_t(upper_offsets(radius).size()) ||
      values.ndim() != 2 || values.shape(0) != planes.shape(1) ||
      values.shape(1) != planes.shape(2))
    throw std::invalid_argument("stencil and pixel values differ in shape");
}

// y = L x for a stencil and an H x W image of unknowns.
Array apply(Array planes, Array x, int radius) {
  check_pixels(planes, x, radius);
  const int height = int(x.shape(0)), width = int(x.shape(1));
  const Region whole(height, width);
  const Stencil stencil(planes.data(), whole, radius);
  Array result({py::ssize_t(height), py::ssize_t(width)});
  const double* in = x.data();
  double* out = result.mutable_data();
  py::gil_scoped_release release;

#pragma omp parallel for
  for (int y = 0; y < height; ++y) {
    double* row = out + size_t(y) * width;
    std::fill(row, row + width, 0.0);
    stencil.add_row(whole, [=](int v) { return in + size_t(v) * width; }, y, row);
  }
  return result;
}

// How many of a pixel's offsets stay in the image.
int32_t entries_of_row(const std::vector<Offset>& offsets, int y, int x, int height, int width) {
  int32_t n = 0;
  for (const Offset& o : offsets) n += y + o.dy < height && x + o.dx >= 0 && x + o.dx < width;
  return n;
}

// Row pointers and column indices of the upper triangle in CSR, row-major
// pixel order, columns ascending.  They depend on the image size alone.
py::tuple upper_csr_pattern(int height, int width, int radius) {
  const auto offsets = upper_offsets(radius);
  const size_t pixels = size_t(height) * width;
  if (pixels * offsets.size() > size_t(INT32_MAX))
    throw std::invalid_argument("the image is too large for 32-bit indices");
  py::array_t<int32_t> indptr(py::ssize_t(pixels + 1));
  int32_t* rows = indptr.mutable_data();
  rows[0] = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const size_t i = size_t(y) * width + x;
      rows[i + 1] = rows[i] + entries_of_row(offsets, y, x, height, width);
    }
  py::array_t<int32_t> indices(py::ssize_t(rows[pixels]));
  int32_t* out = indices.mutable_data();
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (const auto& o : offsets)
        if (y + o.dy < height && x + o.dx >= 0 && x + o.dx < width)
          *out++ = int32_t((y + o.dy) * width + x + o.dx);
  return py::make_tuple(indptr, indices);
}

// Values, in the order of upper_csr_pattern, of L + diag(diagonal).
Array upper_csr_values(Array planes, Array diagonal, Indices indptr, int radius) {
  check_pixels(planes, diagonal, radius);
  const auto offsets = upper_offsets(radius);
  const int height = int(diagonal.shape(0)), width = int(diagonal.shape(1));
  const size_t plane_size = size_t(height) * width;
  const int32_t* rows = indptr.data();
  bool fits = size_t(indptr.size()) == plane_size + 1 && rows[0] == 0;
  for (int y = 0; fits && y < height; ++y)
    for (int x = 0; fits && x < width; ++x) {
      const size_t i = size_t(y) * width + x;
      fits = rows[i + 1] - rows[i] == entries_of_row(offsets, y, x, height, width);
    }
  if (!fits) throw std::invalid_argument("stencil and pattern differ in shape");
  Array result(py::ssize_t(rows[plane_size]));
  const double *p = planes.data(), *d = diagonal.data();
  double* values = result.mutable_data();
  py::gil_scoped_release release;

#pragma omp parallel for
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const size_t i = size_t(y) * width + x;
      double* out = values + rows[i];
      for (size_t k = 0; k < offsets.size(); ++k) {
        const Offset o = offsets[k];
        if (y + o.dy < height && x + o.dx >= 0 && x + o.dx < width)
          *out++ = p[k * plane_size + i] + (k == 0 ? d[i] : 0.0);
      }
    }
  return result;
}

}  // namespace

PYBIND11_MODULE(_laplacian, m) {
  m.doc() = "Matting Laplacian stencil; see caffe_layers/laplacian.py.";
  m.def("stencil", &stencil<float>, py::arg("image").noconvert(), py::arg("white"),
        py::arg("epsilon"), py::arg("radius"), py::arg("centers"), py::arg("pixels"));
  m.def("stencil", &stencil<double>, py::arg("image"), py::arg("white"), py::arg("epsilon"),
        py::arg("radius"), py::arg("centers"), py::arg("pixels"));
  m.def("apply", &apply, py::arg("planes"), py::arg("x"), py::arg("radius"));
  m.def("upper_csr_pattern", &upper_csr_pattern, py::arg("height"), py::arg("width"),
        py::arg("radius"));
  m.def("upper_csr_values", &upper_csr_values, py::arg("planes"), py::arg("diagonal"),
        py::arg("indptr"), py::arg("radius"));
  // OpenMP keeps the number by calling thread; the extensions share one OpenMP.
  m.def("threads", &omp_get_max_threads);
  m.def("set_threads", &omp_set_num_threads, py::arg("number"));
}
