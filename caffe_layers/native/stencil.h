// A symmetric matrix on the pixels of an image, as a stencil.
//
// The matting Laplacian couples a pixel only with pixels at most 2r rows and
// columns away, so it is stored as its "upper" diagonals: for every offset
// (dy, dx) with dy > 0, or dy = 0 and dx >= 0, a plane of H x W numbers,
// plane[y, x] = L[(y, x), (y + dy, x + dx)].  Radius 1 has 13 planes (25
// diagonals).  Plane order: (0, 0..2r), (1, -2r..2r), ..., (2r, -2r..2r).

#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "region.h"

struct Offset {
  int dy, dx;
};

inline std::vector<Offset> upper_offsets(int radius) {
  const int reach = 2 * radius;
  std::vector<Offset> offsets;
  for (int dx = 0; dx <= reach; ++dx) offsets.push_back({0, dx});
  for (int dy = 1; dy <= reach; ++dy)
    for (int dx = -reach; dx <= reach; ++dx) offsets.push_back({dy, dx});
  return offsets;
}

// Index of (dy, dx) in upper_offsets(radius).
inline int plane_of(int dy, int dx, int radius) {
  const int reach = 2 * radius;
  return dy == 0 ? dx : (reach + 1) + (dy - 1) * (2 * reach + 1) + dx + reach;
}

// A view of planes that are stored of a region alone: plane[k] holds a number for each of its
// pixels, row by row.  It does not own them.
class Stencil {
 public:
  Stencil() = default;
  Stencil(const double* planes, Region storage, int radius)
      : height(storage.height),
        width(storage.width),
        radius(radius),
        planes_(planes),
        storage_(std::move(storage)),
        offsets_(upper_offsets(radius)) {}

  int height = 0, width = 0, radius = 0;

  // Pixels of the image.
  size_t size() const { return size_t(height) * width; }

  const Region& storage() const { return storage_; }
  const double* plane(size_t k) const { return planes_ + k * storage_.size(); }

  // Adds row y of the product of L with x to `row`, whose other pixels it may change as well:
  // right on `region`, for an x that is zero outside.  `x_row(v)` points to row v of x.
  template <typename RowOf>
  void add_row(const Region& region, const RowOf& x_row, int y, double* row) const {
    for (size_t k = 0; k < offsets_.size(); ++k) {
      const int dy = offsets_[k].dy, dx = offsets_[k].dx;
      if (y + dy < height) {
        const double* v = x_row(y + dy) + dx;
        for (const Span* s = region.begin(y); s != region.end(y); ++s) {
          const double* w = plane(k) + s->stored;
          const int first = std::max(s->first, -dx), last = std::min(s->last, width - dx);
          multiply(w + (first - s->first), v + first, row + first, last - first);
        }
      }
      if (k > 0 && y >= dy) {  // the transposed half
        const double* v = x_row(y - dy);
        for (const Span* s = region.begin(y - dy); s != region.end(y - dy); ++s) {
          const double* w = plane(k) + s->stored;
          const int first = std::max(s->first, -dx), last = std::min(s->last, width - dx);
          multiply(w + (first - s->first), v + first, row + first + dx, last - first);
        }
      }
    }
  }

 private:
  static void multiply(const double* w, const double* v, double* row, int count) {
    for (int i = 0; i < count; ++i) row[i] += w[i] * v[i];
  }

  const double* planes_ = nullptr;
  Region storage_;
  std::vector<Offset> offsets_;
};
