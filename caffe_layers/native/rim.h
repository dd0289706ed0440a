// What ties the hard pixels of the active region to those next to them.
//
// The preconditioner has a factor of the hard block and divides by the diagonal elsewhere.  Were
// these two solved each by itself, what remains would be largest where they meet: the solution of
// one has a residual on the pixels of the other that the stencil reaches.  So they take turns, as
// in a symmetric block Gauss-Seidel step: diagonal, block, and the diagonal again.  The
// preconditioner stays symmetric and positive definite.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "region.h"
#include "stencil.h"

class Rim {
 public:
  // Of D = matrix + diag(data); `parts` has the bits of every pixel.
  void find(const Stencil& matrix, const double* data, const uint8_t* parts, const Region& active) {
    const int height = matrix.height, width = matrix.width, reach = 2 * matrix.radius;
    rows_.resize(height);
    strip_ = std::max(16, 2 * reach);
#pragma omp parallel for schedule(dynamic, 16)
    for (int y = 0; y < height; ++y) {
      rows_[y].clear();
      for (const Span* s = active.begin(y); s != active.end(y); ++s)
        for (int x = s->first; x < s->last; ++x) {
          const size_t pixel = size_t(y) * width + x;
          if (parts[pixel] & kHard) continue;
          const size_t stored = s->stored + (x - s->first);
          const double diagonal = matrix.plane(0)[stored] + data[pixel];
          for (int v = std::max(0, y - reach); v <= std::min(height - 1, y + reach); ++v)
            for (int u = std::max(0, x - reach); u <= std::min(width - 1, x + reach); ++u)
              if (parts[size_t(v) * width + u] & kHard)
                rows_[y].push_back(
                    {int(s->at + (x - s->first)), int(active.place(v, u)),
                     float(matrix.entry(stored, matrix.storage().place(v, u), v - y, u - x) /
                           diagonal)});
        }
    }
  }

  // Takes from the block's right-hand side what the others, solved by their diagonal, have in it.
  // Both have a place for every active pixel.
  void to_block(const double* r, double* block) const {
    const int height = int(rows_.size());
    // Every other strip of rows at a time: two of those have no hard pixel in common.
    for (int first : {0, strip_})
#pragma omp parallel for schedule(dynamic, 1)
      for (int top = first; top < height; top += 2 * strip_)
        for (int y = top; y < std::min(height, top + strip_); ++y)
          for (const Tie& tie : rows_[y]) block[tie.hard] -= tie.ratio * r[tie.pixel];
  }

  // Takes from the solution of the others what the block's has in their residual.
  void from_block(double* z) const {
    const int height = int(rows_.size());
#pragma omp parallel for schedule(dynamic, 16)
    for (int y = 0; y < height; ++y)
      for (const Tie& tie : rows_[y]) z[tie.pixel] -= tie.ratio * z[tie.hard];
  }

 private:
  struct Tie {
    int pixel, hard;  // places in the active region
    float ratio;      // of D's entry between them to the pixel's on the diagonal
  };

  std::vector<std::vector<Tie>> rows_;  // of the image
  int strip_ = 0;                       // rows
};
