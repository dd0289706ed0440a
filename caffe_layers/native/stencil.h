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
#include <vector>

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

// A view of the planes; it does not own them.
class Stencil {
 public:
  Stencil() = default;
  Stencil(const double* planes, int height, int width, int radius)
      : height(height),
        width(width),
        radius(radius),
        planes_(planes),
        offsets_(upper_offsets(radius)) {}

  int height = 0, width = 0, radius = 0;

  size_t size() const { return size_t(height) * width; }

  const double* plane(size_t k) const { return planes_ + k * size(); }

  // L between pixel (y, x) and pixel (y + dy, x + dx), both in the image.
  double at(int y, int x, int dy, int dx) const {
    if (dy < 0 || (dy == 0 && dx < 0)) {
      y += dy, x += dx;
      dy = -dy, dx = -dx;
    }
    return plane(plane_of(dy, dx, radius))[size_t(y) * width + x];
  }

  // Row y of L x, for an image x of unknowns.
  void apply_row(const double* x, int y, double* row) const {
    std::fill(row, row + width, 0.0);
    for (size_t k = 0; k < offsets_.size(); ++k) {
      const int dy = offsets_[k].dy, dx = offsets_[k].dx;
      const int first = std::max(0, -dx), last = std::min(width, width - dx);
      if (y + dy < height) {
        const double* w = plane(k) + size_t(y) * width;
        const double* v = x + size_t(y + dy) * width + dx;
        for (int i = first; i < last; ++i) row[i] += w[i] * v[i];
      }
      if (k > 0 && y >= dy) {  // the transposed half
        const double* w = plane(k) + size_t(y - dy) * width;
        const double* v = x + size_t(y - dy) * width;
        double* target = row + dx;
        for (int i = first; i < last; ++i) target[i] += w[i] * v[i];
      }
    }
  }

 private:
  const double* planes_ = nullptr;
  std::vector<Offset> offsets_;
};
