// What the colors of a photo say about its matte: the foreground's own colors
// (Germer et al. 2020), and alpha from pairs of known colors (Wang and Cohen
// 2007).

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <stdexcept>
#include <tuple>
#include <vector>

namespace py = pybind11;
using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;
using ByteArray = py::array_t<unsigned char, py::array::c_style>;
using IntArray = py::array_t<int, py::array::c_style>;
using DoubleArray = py::array_t<double, py::array::c_style>;

namespace {

constexpr int kChannels = 3;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// --- foreground colors ---------------------------------------------------------

// One level of the pyramid: foreground and background colors of every pixel.
struct Level {
  int height, width;
  std::vector<float> foreground, background;

  Level(int height, int width)
      : height(height),
        width(width),
        foreground(size_t(height) * width * kChannels),
        background(foreground.size()) {}
};

// Minimizes at one pixel, its neighbors held,
//   |a F + (1 - a) B - I|^2 + sum over neighbors of
//   (regularization + |a - a'|) (|F - F'|^2 + |B - B'|^2).
void relax(Level& level, const float* image, const float* alpha, float regularization, int y,
           int x) {
  const int height = level.height, width = level.width;
  const size_t here = size_t(y) * width + x;
  const size_t neighbors[4] = {here - (x > 0 ? 1 : 0), here + (x < width - 1 ? 1 : 0),
                               here - (y > 0 ? width : 0), here + (y < height - 1 ? width : 0)};
  const float a = alpha[here], b = 1.0f - a;
  float weights[4], total = 0.0f;
  for (int n = 0; n < 4; ++n) {
    weights[n] = regularization + std::fabs(a - alpha[neighbors[n]]);
    total += weights[n];
  }
  const float aa = a * a + total, ab = a * b, bb = b * b + total;
  const float inverse = 1.0f / (aa * bb - ab * ab);
  for (int c = 0; c < kChannels; ++c) {
    const float color = image[here * kChannels + c];
    float f = a * color, g = b * color;
    for (int n = 0; n < 4; ++n) {
      f += weights[n] * level.foreground[neighbors[n] * kChannels + c];
      g += weights[n] * level.background[neighbors[n] * kChannels + c];
    }
    level.foreground[here * kChannels + c] = std::clamp(inverse * (bb * f - ab * g), 0.0f, 1.0f);
    level.background[here * kChannels + c] = std::clamp(inverse * (aa * g - ab * f), 0.0f, 1.0f);
  }
}

// Row or column of an image of another size that is nearest to one here.
inline int nearest(int place, int source_length, int length) {
  return int(int64_t(place) * source_length / length);
}

// Nearest-neighbor copy of `source` into a target, `depth` values a pixel, in units of `white`.
template <typename Value>
void resize_nearest(const Value* source, int source_height, int source_width, float white,
                    float* target, int height, int width, int depth) {
#pragma omp parallel for schedule(static)
  for (int y = 0; y < height; ++y) {
    const size_t row = size_t(nearest(y, source_height, height)) * source_width;
    for (int x = 0; x < width; ++x) {
      const Value* pixel = source + (row + nearest(x, source_width, width)) * depth;
      for (int c = 0; c < depth; ++c)
        target[(size_t(y) * width + x) * depth + c] = float(pixel[c]) / white;
    }
  }
}

// Mean color of the pixels whose alpha is inside the limits.
template <typename Value>
void mean_color(const Value* image, const float* alpha, size_t count, float white, float least,
                float most, float* mean) {
  double sum[kChannels] = {}, pixels = 1e-5;
  for (size_t i = 0; i < count; ++i)
    if (alpha[i] >= least && alpha[i] <= most) {
      for (int c = 0; c < kChannels; ++c) sum[c] += float(image[i * kChannels + c]) / white;
      pixels += 1;
    }
  for (int c = 0; c < kChannels; ++c) mean[c] = float(sum[c] / pixels);
}

// Red and black pixels in turn: the neighbors of one kind are all of the other, so the result
// does not depend on the number of threads.
void sweep_all(Level& level, const float* image, const float* alpha, float regularization,
               int sweeps) {
  for (int sweep = 0; sweep < sweeps; ++sweep)
    for (int parity = 0; parity < 2; ++parity)
#pragma omp parallel for schedule(static)
      for (int y = 0; y < level.height; ++y)
        for (int x = (y + parity) % 2; x < level.width; x += 2)
          relax(level, image, alpha, regularization, y, x);
}

constexpr int kTile = 64;  // pixels a side, of the largest level

// The largest level, tile by tile, from the level below.  Where all of a tile and its neighbors
// have alpha 1 the foreground is the photo; where they have 0 nobody sees it, and it is taken from
// the level below.  Elsewhere a pixel depends on those within 2 sweeps, which each tile takes with
// it: the result is that of sweeps over the whole level.
template <typename Value>
void largest_level(const Level& below, const Value* photo, const float* alpha, float white,
                   float regularization, int sweeps, int height, int width, Value* result) {
  const int halo = 2 * sweeps + 1;
  const int rows = (height + kTile - 1) / kTile, columns = (width + kTile - 1) / kTile;
  const auto solve = [=, &below](int tile) {
    const int top = tile / columns * kTile, bottom = std::min(height, top + kTile);
    const int left = tile % columns * kTile, right = std::min(width, left + kTile);
    const float first = alpha[size_t(top) * width + left];
    bool even = first == 0.0f || first == 1.0f;
    for (int y = std::max(0, top - 1); even && y < std::min(height, bottom + 1); ++y)
      for (int x = std::max(0, left - 1); even && x < std::min(width, right + 1); ++x)
        even = alpha[size_t(y) * width + x] == first;
    if (even && first == 1.0f) {
      for (int y = top; y < bottom; ++y) {
        const size_t row = size_t(y) * width * kChannels;
        std::copy(photo + row + left * kChannels, photo + row + right * kChannels,
                  result + row + left * kChannels);
      }
      return;
    }
    const int around = even ? 0 : halo;
    const int y0 = std::max(0, top - around), y1 = std::min(height, bottom + around);
    const int x0 = std::max(0, left - around), x1 = std::min(width, right + around);
    Level part(y1 - y0, x1 - x0);
    std::vector<float> colors(part.foreground.size()), matte(size_t(part.height) * part.width);
    for (int y = y0; y < y1; ++y)
      for (int x = x0; x < x1; ++x) {
        const size_t here = size_t(y - y0) * part.width + (x - x0);
        const size_t source =
            size_t(nearest(y, below.height, height)) * below.width + nearest(x, below.width, width);
        matte[here] = alpha[size_t(y) * width + x];
        for (int c = 0; c < kChannels; ++c) {
          part.foreground[here * kChannels + c] = below.foreground[source * kChannels + c];
          part.background[here * kChannels + c] = below.background[source * kChannels + c];
          colors[here * kChannels + c] =
              float(photo[(size_t(y) * width + x) * kChannels + c]) / white;
        }
      }
    // A pixel at the cut lacks a neighbor, so it stays as it is.
    const int first_y = y0 > 0 ? y0 + 1 : 0, last_y = y1 < height ? y1 - 1 : height;
    const int first_x = x0 > 0 ? x0 + 1 : 0, last_x = x1 < width ? x1 - 1 : width;
    for (int sweep = 0; !even && sweep < sweeps; ++sweep)
      for (int parity = 0; parity < 2; ++parity)
        for (int y = first_y; y < last_y; ++y)
          for (int x = first_x + (first_x + y + parity) % 2; x < last_x; x += 2)
            relax(part, colors.data(), matte.data(), regularization, y - y0, x - x0);
    for (float& value : part.foreground) value *= white;
    for (int y = top; y < bottom; ++y)
      for (int x = left; x < right; ++x)
        for (int c = 0; c < kChannels; ++c)
          result[(size_t(y) * width + x) * kChannels + c] = Value(
              part.foreground[(size_t(y - y0) * part.width + (x - x0)) * kChannels + c] + 0.5f);
  };
  std::exception_ptr error;  // must not leave the parallel region by itself
#pragma omp parallel for schedule(dynamic)
  for (int tile = 0; tile < rows * columns; ++tile) {
    try {
      solve(tile);
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

template <typename Value>
py::array_t<Value> foreground(py::array_t<Value, py::array::c_style> image, Array alpha,
                              float regularization, int small_side, int small_sweeps,
                              int large_sweeps) {
  require(image.ndim() == 3 && image.shape(2) == kChannels, "the image must have shape (H, W, 3)");
  require(alpha.ndim() == 2 && alpha.shape(0) == image.shape(0) && alpha.shape(1) == image.shape(1),
          "alpha and image differ in size");
  const int height = int(image.shape(0)), width = int(image.shape(1));
  require(height > 0 && width > 0, "the image is empty");
  const float white = float(std::numeric_limits<Value>::max());
  const Value* photo = image.data();
  const float* matte = alpha.data();
  py::array_t<Value> result({height, width, kChannels});
  Value* target = result.mutable_data();
  {
    py::gil_scoped_release release;
    Level level(1, 1);
    const size_t count = size_t(height) * width;
    mean_color(photo, matte, count, white, 0.9f, 1.0f, level.foreground.data());
    mean_color(photo, matte, count, white, 0.0f, 0.1f, level.background.data());
    const int levels = std::max(1, int(std::ceil(std::log2(double(std::max(height, width))))));
    for (int k = 0; k < levels; ++k) {
      const double part = double(k) / levels;
      Level next(int(std::lround(std::pow(height, part))), int(std::lround(std::pow(width, part))));
      resize_nearest(level.foreground.data(), level.height, level.width, 1.0f,
                     next.foreground.data(), next.height, next.width, kChannels);
      resize_nearest(level.background.data(), level.height, level.width, 1.0f,
                     next.background.data(), next.height, next.width, kChannels);
      level = std::move(next);
      std::vector<float> colors(level.foreground.size()), alphas(colors.size() / kChannels);
      resize_nearest(photo, height, width, white, colors.data(), level.height, level.width,
                     kChannels);
      resize_nearest(matte, height, width, 1.0f, alphas.data(), level.height, level.width, 1);
      const bool small = level.height <= small_side && level.width <= small_side;
      sweep_all(level, colors.data(), alphas.data(), regularization,
                small ? small_sweeps : large_sweeps);
    }
    const bool small = height <= small_side && width <= small_side;
    largest_level(level, photo, matte, white, regularization, small ? small_sweeps : large_sweeps,
                  height, width, target);
  }
  return result;
}

// --- alpha from pairs of known colors --------------------------------------------

// For each place and each of K points around it, at an angle and a radius: the color of the known
// pixel that is nearest to the point, and how far that is from the place.
std::tuple<Array, Array> candidates(ByteArray colors, IntArray labels, IntArray of_label,
                                    IntArray places, DoubleArray angles, DoubleArray radii) {
  require(colors.ndim() == 3 && colors.shape(2) == kChannels, "colors must have shape (H, W, 3)");
  require(labels.ndim() == 2 && labels.shape(0) == colors.shape(0) &&
              labels.shape(1) == colors.shape(1),
          "labels must have shape (H, W)");
  require(places.ndim() == 1 && angles.ndim() == 2 && angles.shape(1) == places.shape(0),
          "angles must have shape (K, N)");
  require(
      radii.ndim() == 2 && radii.shape(0) == angles.shape(0) && radii.shape(1) == angles.shape(1),
      "radii must have shape (K, N)");
  const py::ssize_t count = places.shape(0), points = angles.shape(0);
  const int height = int(labels.shape(0)), width = int(labels.shape(1));
  Array found({count, points, py::ssize_t(kChannels)}), distance({count, points});
  const unsigned char* color = colors.data();
  const int *label = labels.data(), *known = of_label.data(), *place = places.data();
  const double *angle = angles.data(), *radius = radii.data();
  float *target = found.mutable_data(), *far = distance.mutable_data();
  {
    py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
    for (py::ssize_t i = 0; i < count; ++i) {
      const int row = place[i] / width, column = place[i] % width;
      float least = std::numeric_limits<float>::infinity();
      for (py::ssize_t k = 0; k < points; ++k) {
        const double a = angle[k * count + i], r = radius[k * count + i];
        const int y = int(std::clamp(row + r * std::sin(a), 0.0, height - 1.0));
        const int x = int(std::clamp(column + r * std::cos(a), 0.0, width - 1.0));
        const int nearest = known[label[y * width + x]];
        for (int c = 0; c < kChannels; ++c)
          target[(i * points + k) * kChannels + c] = color[nearest * kChannels + c];
        const double down = nearest / width - row, across = nearest % width - column;
        far[i * points + k] = float(std::sqrt(down * down + across * across));
        least = std::min(least, far[i * points + k]);
      }
      for (py::ssize_t k = 0; k < points; ++k) far[i * points + k] /= least;
    }
  }
  return {found, distance};
}

std::tuple<Array, Array> best_pairs(Array colors, Array foreground_colors, Array background_colors,
                                    Array foreground_far, Array background_far, float noise,
                                    float separation, float distance_cost) {
  require(colors.ndim() == 2 && colors.shape(1) == kChannels, "colors must have shape (N, 3)");
  const py::ssize_t count = colors.shape(0);
  for (const Array& each : {foreground_colors, background_colors})
    require(each.ndim() == 3 && each.shape(0) == count && each.shape(2) == kChannels,
            "candidate colors must have shape (N, K, 3)");
  const int fs = int(foreground_colors.shape(1)), bs = int(background_colors.shape(1));
  for (const auto& [far, candidates] :
       {std::pair<const Array&, int>{foreground_far, fs}, {background_far, bs}})
    require(far.ndim() == 2 && far.shape(0) == count && far.shape(1) == candidates,
            "distances must have shape (N, K)");
  Array alpha(count), confidence(count);
  const float *color = colors.data(), *f = foreground_colors.data(), *b = background_colors.data(),
              *f_far = foreground_far.data(), *b_far = background_far.data();
  float *best_alpha = alpha.mutable_data(), *sure = confidence.mutable_data();
  {
    py::gil_scoped_release release;
    const float per_variance = 1.0f / (noise * noise);
#pragma omp parallel for schedule(static)
    for (py::ssize_t i = 0; i < count; ++i) {
      float least = std::numeric_limits<float>::infinity();
      float best_residual = least, best_length = 0.0f;
      best_alpha[i] = 0.0f;
      for (int j = 0; j < fs; ++j)
        for (int k = 0; k < bs; ++k) {
          const float* fore = f + (i * fs + j) * kChannels;
          const float* back = b + (i * bs + k) * kChannels;
          float along = 0.0f, length = 1e-3f;
          for (int c = 0; c < kChannels; ++c) {
            const float d = fore[c] - back[c];
            along += (color[i * kChannels + c] - back[c]) * d;
            length += d * d;
          }
          const float a = std::clamp(along / length, 0.0f, 1.0f);
          float residual = 0.0f;
          for (int c = 0; c < kChannels; ++c) {
            const float miss = color[i * kChannels + c] - back[c] - a * (fore[c] - back[c]);
            residual += miss * miss;
          }
          residual *= per_variance;
          const float cost = residual + distance_cost * (f_far[i * fs + j] + b_far[i * bs + k]);
          if (cost < least) {
            least = cost;
            best_alpha[i] = a;
            best_residual = residual;
            best_length = length;
          }
        }
      sure[i] =
          std::exp(-best_residual) * (1.0f - std::exp(-best_length / (separation * separation)));
    }
  }
  return {alpha, confidence};
}

}  // namespace

PYBIND11_MODULE(_colors, m) {
  m.doc() = "Foreground colors, and alpha from pairs of known colors.";
  const char* doc = "(H, W, 3) colors of the foreground, of the image's type.";
  m.def("foreground", &foreground<std::uint8_t>, py::arg("image"), py::arg("alpha"),
        py::arg("regularization"), py::arg("small_side"), py::arg("small_sweeps"),
        py::arg("large_sweeps"), doc);
  m.def("foreground", &foreground<std::uint16_t>, py::arg("image"), py::arg("alpha"),
        py::arg("regularization"), py::arg("small_side"), py::arg("small_sweeps"),
        py::arg("large_sweeps"), doc);
  m.def("candidates", &candidates, py::arg("colors"), py::arg("labels"), py::arg("of_label"),
        py::arg("places"), py::arg("angles"), py::arg("radii"),
        "(N, K, 3) colors of known pixels around N places, and (N, K) distances in units of "
        "the smallest of the K.");
  m.def("best_pairs", &best_pairs, py::arg("colors"), py::arg("foreground_colors"),
        py::arg("background_colors"), py::arg("foreground_far"), py::arg("background_far"),
        py::arg("noise"), py::arg("separation"), py::arg("distance_cost"),
        "(N,) alpha and (N,) confidence of the best pair of candidates.");
}
