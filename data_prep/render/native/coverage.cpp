// Coverage of pixels through a thin lens, by counting samples.
//
// For each position on the lens the geometry is drawn as a bitmap: kRows rows of
// samples a pixel, kColumns samples of a row.  Where the samples are in the pixel
// differs from position to position, and from row to row.  Pixels whose samples
// all agree, as do those of their neighbors, are settled early; what touches only
// those is not drawn any further.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

constexpr int kRows = 4;     // of samples in a pixel
constexpr int kColumns = 8;  // a pixel of a row is a byte of the bitmap
constexpr int kPixelsAWord = 64 / kColumns;
constexpr int kPieces = 3;  // of a strand between two points, as Cycles cuts it
constexpr float kGolden = 0.6180339887f;

// Where a point is seen from the middle of the lens, in samples, and how far it
// moves for a step of one on the lens, in pixels.
struct Corner {
  float x, y, shift;
};

// Both sides of a strand: a ribbon faces the camera.
struct Rib {
  float left_x, left_y, right_x, right_y, shift;
};

struct Point {
  float x, y;
};

// A position on the lens, in samples a step of `shift`, and where the samples are.
struct Eye {
  float x, y;                    // of the lens
  float row_offset, bit_offset;  // of the samples, in samples
};

struct Camera {
  double scale;  // pixels of a tangent of one
  double focus;  // depth of what is sharp
  int width, height;

  // `x` right, `y` down, `z` ahead.
  Corner corner(double x, double y, double z) const {
    return {float((0.5 * width + scale * x / z) * kColumns),
            float((0.5 * height + scale * y / z) * kRows), float(scale * (1.0 / focus - 1.0 / z))};
  }
};

// The least integer not below `value`; std::ceil is a call without SSE 4.1.
inline int ceiling(float value) {
  const int whole = static_cast<int>(value);
  return whole + (value > static_cast<float>(whole));
}

inline int row_of(float y, int rows) {
  return ceiling(std::min(std::max(y, 0.0f), static_cast<float>(rows)));
}

class Bitmap {
 public:
  Bitmap(int width, int height)
      : stride_((width + kPixelsAWord - 1) / kPixelsAWord),
        height_(height),
        bits_(width * kColumns),
        rows_(height * kRows),
        words_(size_t(stride_) * rows_),
        first_(rows_),
        last_(rows_),
        offset_(rows_) {}

  void clear(float bit_offset) {
    std::fill(words_.begin(), words_.end(), 0);
    for (int row = 0; row < rows_; ++row) {
      const float offset = bit_offset + row * kGolden;
      offset_[row] = offset - std::floor(offset);
    }
  }

  // Draws a polygon; where it is not convex, the rows of its hull.
  template <int kCorners>
  void fill(const Point (&corners)[kCorners]) {
    float low = corners[0].y, high = corners[0].y;
    for (int k = 1; k < kCorners; ++k) {
      low = std::min(low, corners[k].y);
      high = std::max(high, corners[k].y);
    }
    const int top = row_of(low, rows_), bottom = row_of(high, rows_);
    if (top >= bottom) return;
    for (int row = top; row < bottom; ++row) {
      first_[row] = std::numeric_limits<float>::max();
      last_[row] = std::numeric_limits<float>::lowest();
    }
    for (int k = 0; k < kCorners; ++k) trace(corners[k], corners[k + 1 < kCorners ? k + 1 : 0]);
    for (int row = top; row < bottom; ++row) set(row, first_[row], last_[row]);
  }

  // Adds the samples that are set in each pixel; `counts` is `stride()` bytes a row.
  void count(std::vector<uint32_t>& counts) const {
    for (int y = 0; y < height_; ++y) {
      const uint64_t* rows = &words_[size_t(y) * kRows * stride_];
      uint32_t* target = &counts[size_t(y) * stride_ * kPixelsAWord];
      for (int word = 0; word < stride_; ++word) {
        uint64_t sum = 0;
        for (int row = 0; row < kRows; ++row) sum += ones(rows[row * stride_ + word]);
        for (int k = 0; k < kPixelsAWord; ++k)
          target[word * kPixelsAWord + k] += (sum >> (8 * k)) & 0xff;
      }
    }
  }

 private:
  // Ones of every byte.
  static uint64_t ones(uint64_t word) {
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    return (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  }

  // Notes where an edge crosses rows.  From above to below, whichever side it is
  // asked from: neighbors leave no gap.
  void trace(Point a, Point b) {
    if (a.y > b.y) std::swap(a, b);
    const int top = row_of(a.y, rows_), bottom = row_of(b.y, rows_);
    if (top >= bottom) return;
    const float slope = (b.x - a.x) / (b.y - a.y);
    for (int row = top; row < bottom; ++row) {
      const float x = a.x + (row - a.y) * slope;
      first_[row] = std::min(first_[row], x);
      last_[row] = std::max(last_[row], x);
    }
  }

  int bit_of(float x) const {
    return ceiling(std::min(std::max(x, 0.0f), static_cast<float>(bits_)));
  }

  void set(int row, float first, float last) {
    const int begin = bit_of(first - offset_[row]), end = bit_of(last - offset_[row]);
    if (begin >= end) return;
    uint64_t* words = &words_[size_t(row) * stride_];
    const int left = begin >> 6, right = (end - 1) >> 6;
    const uint64_t from = ~uint64_t(0) << (begin & 63);
    const uint64_t to = ~uint64_t(0) >> (63 - ((end - 1) & 63));
    if (left == right) {
      words[left] |= from & to;
      return;
    }
    words[left] |= from;
    for (int word = left + 1; word < right; ++word) words[word] = ~uint64_t(0);
    words[right] |= to;
  }

  int stride_, height_, bits_, rows_;
  std::vector<uint64_t> words_;
  std::vector<float> first_, last_, offset_;
};

inline Point seen(const Corner& corner, const Eye& eye) {
  return {corner.x + corner.shift * eye.x, corner.y + (corner.shift * eye.y - eye.row_offset)};
}

// --- pixels that are not settled ------------------------------------------------

class Unsettled {
 public:
  Unsettled(int width, int height)
      : width_(width), height_(height), open_(size_t(width) * height, 1) {}

  bool operator()(int x, int y) const { return open_[size_t(y) * width_ + x]; }

  // Settles the pixels that are `reach` away from any whose samples disagree or
  // that differs from its neighbors.
  void settle(const std::vector<uint32_t>& counts, int stride, uint32_t samples, int reach) {
    std::vector<uint8_t> mixed(open_.size());
    for (int y = 0; y < height_; ++y)
      for (int x = 0; x < width_; ++x) {
        const uint32_t value = counts[size_t(y) * stride + x];
        bool differs = value != 0 && value != samples;
        if (x + 1 < width_) differs |= value != counts[size_t(y) * stride + x + 1];
        if (y + 1 < height_) differs |= value != counts[size_t(y + 1) * stride + x];
        mixed[size_t(y) * width_ + x] = differs && (*this)(x, y);
      }
    sum(mixed);
    for (int y = 0; y < height_; ++y)
      for (int x = 0; x < width_; ++x)
        open_[size_t(y) * width_ + x] &= any(x - reach, y - reach, x + reach, y + reach);
    sum(open_);
  }

  // Whether any pixel of a rectangle, both ends included, is unsettled (after
  // `settle`).
  bool any(int left, int top, int right, int bottom) const {
    left = std::max(left, 0);
    top = std::max(top, 0);
    right = std::min(right, width_ - 1) + 1;
    bottom = std::min(bottom, height_ - 1) + 1;
    if (left >= right || top >= bottom) return false;
    const int side = width_ + 1;
    return sums_[size_t(bottom) * side + right] - sums_[size_t(top) * side + right] -
               sums_[size_t(bottom) * side + left] + sums_[size_t(top) * side + left] !=
           0;
  }

 private:
  void sum(const std::vector<uint8_t>& values) {
    const int side = width_ + 1;
    sums_.assign(size_t(side) * (height_ + 1), 0);
    for (int y = 0; y < height_; ++y) {
      int32_t row = 0;
      for (int x = 0; x < width_; ++x) {
        row += values[size_t(y) * width_ + x];
        sums_[size_t(y + 1) * side + x + 1] = sums_[size_t(y) * side + x + 1] + row;
      }
    }
  }

  int width_, height_;
  std::vector<uint8_t> open_;
  std::vector<int32_t> sums_;
};

// --- geometry -------------------------------------------------------------------

struct Vector {
  double x, y, z;
};

Vector cross(const Vector& a, const Vector& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

class Geometry {
 public:
  Geometry(const Camera& camera, double aperture) : camera_(camera), aperture_(aperture) {}

  void add_triangles(const float* vertices, const int32_t* triangles, size_t count) {
    for (size_t k = 0; k < count; ++k) {
      Triangle triangle;
      for (int c = 0; c < 3; ++c) {
        const float* v = vertices + 3 * size_t(triangles[3 * k + c]);
        triangle.corners[c] = camera_.corner(v[0], v[1], v[2]);
      }
      triangles_.push_back(triangle);
    }
  }

  // A Catmull-Rom curve through the points; its ends are doubled, as in Cycles.
  void add_strand(const float* points, const float* radii, int count) {
    if (count < 2) return;
    for (int k = 0; k + 1 < count; ++k) {
      const int around[4] = {std::max(k - 1, 0), k, k + 1, std::min(k + 2, count - 1)};
      for (int piece = k == 0 ? 0 : 1; piece <= kPieces; ++piece)
        add_rib(points, radii, around, double(piece) / kPieces, piece == 0);
    }
  }

  size_t size() const { return triangles_.size() + quads_.size(); }

  // Farthest that anything moves over the lens, in pixels.
  float blur() const {
    float most = 0;
    for (const Triangle& triangle : triangles_)
      for (const Corner& corner : triangle.corners) most = std::max(most, std::abs(corner.shift));
    for (const Rib& rib : ribs_) most = std::max(most, std::abs(rib.shift));
    return most * float(aperture_);
  }

  // Forgets what touches no rectangle of pixels that `wanted`.
  template <typename Wanted>
  void keep(const Wanted& wanted) {
    triangles_.erase(std::remove_if(triangles_.begin(), triangles_.end(),
                                    [&](const Triangle& triangle) {
                                      return !wanted_by(triangle.corners, wanted);
                                    }),
                     triangles_.end());
    quads_.erase(std::remove_if(quads_.begin(), quads_.end(),
                                [&](uint32_t quad) {
                                  const Rib &a = ribs_[quad], &b = ribs_[quad + 1];
                                  const Corner corners[4] = {{a.left_x, a.left_y, a.shift},
                                                             {b.left_x, b.left_y, b.shift},
                                                             {b.right_x, b.right_y, b.shift},
                                                             {a.right_x, a.right_y, a.shift}};
                                  return !wanted_by(corners, wanted);
                                }),
                 quads_.end());
  }

  void draw(const Eye& eye, Bitmap& bitmap) const {
    for (const Triangle& triangle : triangles_) {
      const Corner* c = triangle.corners;
      bitmap.fill<3>({seen(c[0], eye), seen(c[1], eye), seen(c[2], eye)});
    }
    for (const uint32_t quad : quads_) {
      const Rib &a = ribs_[quad], &b = ribs_[quad + 1];
      bitmap.fill<4>(
          {seen({a.left_x, a.left_y, a.shift}, eye), seen({b.left_x, b.left_y, b.shift}, eye),
           seen({b.right_x, b.right_y, b.shift}, eye), seen({a.right_x, a.right_y, a.shift}, eye)});
    }
  }

 private:
  struct Triangle {
    Corner corners[3];
  };

  void add_rib(const float* points, const float* radii, const int (&around)[4], double t,
               bool first) {
    const double s = 1 - t;
    const double weights[4] = {-0.5 * t * s * s, 0.5 * (2 + t * t * (3 * t - 5)),
                               0.5 * (2 + s * s * (3 * s - 5)), -0.5 * s * t * t};
    const double slopes[4] = {0.5 * (-s * s + 2 * s * t), 0.5 * (t * (9 * t - 10)),
                              0.5 * (-s * (9 * s - 10)), 0.5 * (t * t - 2 * s * t)};
    Vector at{0, 0, 0}, along{0, 0, 0};
    double radius = 0;
    for (int k = 0; k < 4; ++k) {
      const float* p = points + 3 * size_t(around[k]);
      at = {at.x + weights[k] * p[0], at.y + weights[k] * p[1], at.z + weights[k] * p[2]};
      along = {along.x + slopes[k] * p[0], along.y + slopes[k] * p[1], along.z + slopes[k] * p[2]};
      radius += weights[k] * radii[around[k]];
    }
    Vector side = cross(along, at);
    const double length = std::sqrt(side.x * side.x + side.y * side.y + side.z * side.z);
    const double half = length > 0 ? radius / length : 0;
    side = {side.x * half, side.y * half, side.z * half};
    const Corner left = camera_.corner(at.x - side.x, at.y - side.y, at.z - side.z);
    const Corner right = camera_.corner(at.x + side.x, at.y + side.y, at.z + side.z);
    if (!first) quads_.push_back(uint32_t(ribs_.size() - 1));
    ribs_.push_back({left.x, left.y, right.x, right.y, 0.5f * (left.shift + right.shift)});
  }

  template <int kCorners, typename Wanted>
  bool wanted_by(const Corner (&corners)[kCorners], const Wanted& wanted) const {
    float left = corners[0].x, right = left, top = corners[0].y, bottom = top;
    float shift = 0;
    for (const Corner& corner : corners) {
      left = std::min(left, corner.x);
      right = std::max(right, corner.x);
      top = std::min(top, corner.y);
      bottom = std::max(bottom, corner.y);
      shift = std::max(shift, std::abs(corner.shift));
    }
    const float reach = shift * float(aperture_);
    return wanted(left / kColumns - reach, top / kRows - reach, right / kColumns + reach,
                  bottom / kRows + reach);
  }

  Camera camera_;
  double aperture_;
  std::vector<Triangle> triangles_;
  std::vector<Rib> ribs_;
  std::vector<uint32_t> quads_;  // first of two neighboring ribs
};

// --- the matte ------------------------------------------------------------------

// Draws the positions [begin, end) and adds their counts.
void draw_positions(const Geometry& geometry, const std::vector<Eye>& eyes, size_t begin,
                    size_t end, int width, int height, int threads, std::vector<uint32_t>& counts) {
  threads = int(std::min<size_t>(std::max(threads, 1), end - begin));
  // Allocated here: an exception must not leave a thread.
  std::vector<std::vector<uint32_t>> parts(threads, std::vector<uint32_t>(counts.size()));
  std::vector<Bitmap> bitmaps(threads, Bitmap(width, height));
  std::vector<std::thread> workers;
  for (int worker = 0; worker < threads; ++worker)
    workers.emplace_back([&, worker] {
      Bitmap& bitmap = bitmaps[worker];
      for (size_t k = begin + worker; k < end; k += threads) {
        bitmap.clear(eyes[k].bit_offset);
        geometry.draw(eyes[k], bitmap);
        bitmap.count(parts[worker]);
      }
    });
  for (std::thread& worker : workers) worker.join();
  for (const std::vector<uint32_t>& part : parts)
    for (size_t k = 0; k < counts.size(); ++k) counts[k] += part[k];
}

py::array_t<float> coverage(const Array<float>& vertices, const Array<int32_t>& triangles,
                            const Array<float>& points, const Array<float>& radii,
                            const Array<int32_t>& sizes, double scale, double focus,
                            double aperture, int width, int height, const Array<double>& positions,
                            const Array<int32_t>& stages, int threads) {
  std::vector<Eye> eyes;
  for (py::ssize_t k = 0; k < positions.shape(0); ++k) {
    const double* p = positions.data(k, 0);
    eyes.push_back({float(p[0] * aperture * kColumns), float(p[1] * aperture * kRows), float(p[2]),
                    float(p[3])});
  }
  py::array_t<float> alpha({height, width});
  float* target = alpha.mutable_data();
  {
    py::gil_scoped_release unlocked;
    const Camera camera{scale, focus, width, height};
    Geometry geometry(camera, aperture);
    geometry.add_triangles(vertices.data(), triangles.data(), size_t(triangles.shape(0)));
    size_t first = 0;
    for (py::ssize_t k = 0; k < sizes.shape(0); ++k) {
      geometry.add_strand(points.data() + 3 * first, radii.data() + first, sizes.data()[k]);
      first += size_t(sizes.data()[k]);
    }
    geometry.keep([&](float left, float top, float right, float bottom) {
      return right >= 0 && bottom >= 0 && left <= float(width) && top <= float(height);
    });
    const int stride = (width + kPixelsAWord - 1) / kPixelsAWord * kPixelsAWord;
    std::vector<uint32_t> counts(size_t(stride) * height, 0);
    const int reach = 1 + int(std::ceil(geometry.blur()));
    Unsettled unsettled(width, height);
    size_t done = 0;
    for (py::ssize_t k = 0; k < stages.shape(0); ++k) {
      const size_t end = size_t(stages.data()[k]);
      draw_positions(geometry, eyes, done, end, width, height, threads, counts);
      done = end;
      const int samples = int(done) * kRows * kColumns;
      for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
          if (unsettled(x, y))
            target[size_t(y) * width + x] = float(counts[size_t(y) * stride + x]) / samples;
      if (done == eyes.size()) break;
      unsettled.settle(counts, stride, samples, reach);
      geometry.keep([&](float left, float top, float right, float bottom) {
        return unsettled.any(int(std::floor(left)), int(std::floor(top)), int(std::floor(right)),
                             int(std::floor(bottom)));
      });
    }
  }
  return alpha;
}

}  // namespace

PYBIND11_MODULE(_coverage, m) {
  m.doc() = "Coverage of pixels by triangles and strands, through a thin lens.";
  m.attr("SAMPLES_A_POSITION") = kRows * kColumns;
  m.def("coverage", &coverage, py::arg("vertices"), py::arg("triangles"), py::arg("points"),
        py::arg("radii"), py::arg("sizes"), py::kw_only(), py::arg("scale"), py::arg("focus"),
        py::arg("aperture"), py::arg("width"), py::arg("height"), py::arg("positions"),
        py::arg("stages"), py::arg("threads"));
}
