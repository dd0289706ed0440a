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
        storage_(std::move(storage)) {}

  int height = 0, width = 0, radius = 0;

  // Pixels of the image.
  size_t size() const { return size_t(height) * width; }

  const Region& storage() const { return storage_; }
  const double* plane(size_t k) const { return planes_ + k * storage_.size(); }

  // The entry that couples a pixel with another one, dy rows below and dx columns right of it, by
  // where the two are stored.
  double entry(size_t stored, size_t other, int dy, int dx) const {
    const bool upper = dy > 0 || (dy == 0 && dx >= 0);  // stored with this pixel, or with that one
    return upper ? plane(plane_of(dy, dx, radius))[stored]
                 : plane(plane_of(-dy, -dx, radius))[other];
  }

  // Adds row y of the product of L with x to `row`, whose other pixels it may change as well:
  // right on `region`, for an x that is zero outside.  `x_row(v)` points to row v of x.
  template <typename RowOf>
  void add_row(const Region& region, const RowOf& x_row, int y, double* row) const {
    const int reach = 2 * radius;
    for (int dy = 0; dy <= reach; ++dy) {
      if (y + dy < height) {
        const double* x = x_row(y + dy);
        for (const Span* s = region.begin(y); s != region.end(y); ++s)
          add_terms(dy, dy ? -reach : 0, row, [=](int k, int dx) {
            return Term{plane(k) + s->stored - s->first, x + dx, std::max(s->first, -dx),
                        std::min(s->last, width - dx)};
          });
      }
      if (y >= dy) {  // the transposed half
        const double* x = x_row(y - dy);
        for (const Span* s = region.begin(y - dy); s != region.end(y - dy); ++s)
          add_terms(dy, dy ? -reach : 1, row, [=](int k, int dx) {
            return Term{plane(k) + s->stored - s->first - dx, x - dx, std::max(s->first + dx, 0),
                        std::min(s->last + dx, width)};
          });
      }
    }
  }

 private:
  // The products of a plane with x that belong to columns first .. last - 1 of a row.
  struct Term {
    const double *w, *x;
    int first, last;
  };
  // So many are added up at once, in a register: all of a row of planes of radius 1.
  static constexpr int kTerms = 5;

  // Adds term(plane, dx) to `row` for dx from `least` on.
  template <typename TermOf>
  void add_terms(int dy, int least, double* row, const TermOf& term) const {
    Term terms[kTerms];
    const int reach = 2 * radius;
    for (int dx = least; dx <= reach;) {
      int count = 0;
      for (; count < kTerms && dx <= reach; ++dx)
        terms[count++] = term(plane_of(dy, dx, radius), dx);
      add_products(terms, count, row);
    }
  }

  static void add_products(const Term* terms, int count, double* row) {
    int first = terms[0].first, last = terms[0].last;  // of the columns that all of them have
    for (int k = 1; k < count; ++k)
      first = std::max(first, terms[k].first), last = std::min(last, terms[k].last);
    if (last < first) last = first;
    add_counted<kTerms>(terms, count, first, last, row);
    for (int k = 0; k < count; ++k) {
      add_range<1>(terms + k, terms[k].first, std::min(first, terms[k].last), row);
      add_range<1>(terms + k, std::max(last, terms[k].first), terms[k].last, row);
    }
  }

  template <int Count>
  static void add_counted(const Term* terms, int count, int first, int last, double* row) {
    if (count == Count)
      add_range<Count>(terms, first, last, row);
    else if constexpr (Count > 1)
      add_counted<Count - 1>(terms, count, first, last, row);
  }

  template <int Count>
  static void add_range(const Term* terms, int first, int last, double* row) {
#pragma omp simd
    for (int i = first; i < last; ++i) {
      double sum = row[i];
      for (int k = 0; k < Count; ++k) sum += terms[k].w[i] * terms[k].x[i];
      row[i] = sum;
    }
  }

  const double* planes_ = nullptr;
  Region storage_;
};
