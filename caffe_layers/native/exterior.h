// D x = b on the decided pixels, where the data term outweighs the Laplacian.
//
// There D = diag(d) + L with 0 <= L <= w, w the number of pixels of a window (each of the w windows
// around a pixel is a projection or less), so that diag(d)^-1 D has all eigenvalues in
// [1, 1 + w / min d]: with w = 9 and d = 100 a Chebyshev iteration (Saad, Iterative Methods for
// Sparse Linear Systems, algorithm 12.1) takes 98 % of the error off in every step, and needs no
// inner products.  So its steps can follow each other down the image, a few rows apart, and the
// planes are read once for all of them.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "region.h"
#include "stencil.h"

// Where b / data of two neighbors among the pixels of a mask differs by more than `step`; pixels
// are in it that have one of the bits of `parts`.
struct Steps {
  const double *b, *data;
  const uint8_t* mask;
  double step;
  uint8_t parts = kAnyPart;

  bool large(size_t i, size_t j) const {
    return (mask[i] & parts) && (mask[j] & parts) &&
           !(std::abs(b[i] / data[i] - b[j] / data[j]) <= step);
  }
};

// The difference of neighbors x up to which the norm of L x is `allowed` at most.  The row of L has
// absolute values of no more than side^3 in all, and from a pixel to one that it ties a path of
// at most 4 radius steps leads.
inline double largest_step(double allowed, size_t pixels, int radius) {
  const double side = 2 * radius + 1;
  return allowed / (side * side * side * 4 * radius * std::sqrt(double(pixels)));
}

class Exterior {
 public:
  // `parts` has the bits of every pixel.
  Exterior(const Stencil& matrix, const double* data, const uint8_t* parts)
      : matrix_(matrix), data_(data), parts_(parts) {}

  // Whether b / data differs so little between outer pixels that L takes it to nearly 0 on all
  // pixels that are not active: to a norm of `allowed` at most.
  bool is_even(const double* b, double allowed) const {
    const size_t width = matrix_.width, size = matrix_.size();
    const Steps steps{b, data_, parts_, largest_step(allowed, size, matrix_.radius), kOuter};
    bool even = true;
#pragma omp parallel for reduction(&& : even)
    for (int y = 0; y < matrix_.height; ++y)
      for (size_t i = y * width; even && i < (y + 1) * width; ++i)
        even = !(i + 1 < (y + 1) * width && steps.large(i, i + 1)) &&
               !(i + width < size && steps.large(i, i + width));
    return even;
  }

  // x = b / data on the decided pixels, 0 on others.
  void divide(const double* b, double* x) const {
    const size_t width = matrix_.width;
#pragma omp parallel for
    for (int y = 0; y < matrix_.height; ++y)
      for (size_t i = y * width; i < (y + 1) * width; ++i)
        x[i] = decided(i) ? b[i] / data_[i] : 0.0;
  }

  // Adds to x, on the decided pixels, the solution of D x = b with 0 on the others, to a relative
  // residual of about `tolerance`, and sets `residual` to that of all pixels.
  void polynomial(const double* b, double tolerance, double* x, double* residual) const {
    const int side = 2 * matrix_.radius + 1;
    const double excess = side * side / least_data();
    const double root = std::sqrt(1.0 + excess), rate = (root - 1.0) / (root + 1.0);
    const int steps =
        std::clamp(int(std::ceil(std::log(tolerance / 2) / std::log(rate))), 1, kMostSteps);
    std::vector<double> keep(steps), add(steps);  // d = keep d + add r / data
    const double center = 1.0 + excess / 2, radius = excess / 2;
    double rho = radius / center;
    add[0] = 1.0 / center;
    for (int k = 1; k < steps; ++k) {
      const double next = 1.0 / (2.0 * center / radius - rho);
      keep[k] = next * rho, add[k] = 2.0 * next / radius;
      rho = next;
    }
    // As many for every thread; a row's bits do not depend on the others of its chunk.
    const int threads = omp_get_max_threads();
    const int rounds = (matrix_.height + kChunk * threads - 1) / (kChunk * threads);
    const int chunk = (matrix_.height + rounds * threads - 1) / (rounds * threads);
    const int chunks = (matrix_.height + chunk - 1) / chunk;
    // Allocated here: an exception must not leave a parallel region.
    std::vector<Rows> rows(threads, Rows(matrix_.width, 2 * matrix_.radius, steps));
#pragma omp parallel for schedule(dynamic, 1)
    for (int c = 0; c < chunks; ++c)
      descend(c * chunk, std::min(matrix_.height, (c + 1) * chunk), keep, add, b, x, residual,
              rows[omp_get_thread_num()]);
  }

 private:
  // Most rows that a thread writes at a time; it repeats the work on a few rows above and below.
  static constexpr int kChunk = 128;
  static constexpr int kMostSteps = 24;

  // The rows of an image that the steps need at a time, by turns in the same memory.
  class Ring {
   public:
    Ring(int rows, int width) : width_(width) {
      for (count_ = 1; count_ < rows;) count_ *= 2;
      values_.resize(size_t(count_) * width);
    }
    double* row(int y) { return values_.data() + size_t(y & (count_ - 1)) * width_; }

   private:
    int width_, count_;
    std::vector<double> values_;
  };

  struct Rows {
    Rows(int width, int reach, int steps)
        : solution(reach * steps + 1, width),
          residual(reach * steps + 1, width),
          inverse(reach * steps + 1, width),
          directions(steps, Ring(2 * reach + 1, width)),
          product(width) {}

    Ring solution, residual, inverse;
    std::vector<Ring> directions;  // of every step
    std::vector<double> product;
  };

  bool decided(size_t pixel) const { return parts_[pixel] & kDecided; }

  double least_data() const {
    double least = std::numeric_limits<double>::infinity();
#pragma omp parallel for reduction(min : least)
    for (size_t i = 0; i < matrix_.size(); ++i)
      if (decided(i)) least = std::min(least, data_[i]);
    return least;
  }

  // All steps for rows begin .. end - 1.
  void descend(int begin, int end, const std::vector<double>& keep, const std::vector<double>& add,
               const double* b, double* x, double* residual, Rows& rows) const {
    const int reach = 2 * matrix_.radius, width = matrix_.width, height = matrix_.height;
    const int steps = int(keep.size());
    const auto needed = [=](int step, int y) {  // rows whose direction `step` counts for the result
      const int further = reach * (steps - step);
      return y >= std::max(0, begin - further) && y < std::min(height, end + further);
    };
    for (int top = begin - reach * steps; top < end + reach * steps; ++top) {
      if (needed(0, top)) start_row(top, add[0], b, rows);
      for (int k = 1; k <= steps; ++k) {
        const int y = top - reach * k;
        if (!needed(k, y)) continue;
        double *d = rows.directions[k - 1].row(y), *product = rows.product.data();
        std::fill_n(product, width, 0.0);
        matrix_.add_row(
            matrix_.storage(), [&](int v) { return rows.directions[k - 1].row(v); }, y, product);
        double *solution = rows.solution.row(y), *rest = rows.residual.row(y);
        const double *inverse = rows.inverse.row(y), *data = data_ + size_t(y) * width;
        const bool last = k == steps;
        double* next = last ? product : rows.directions[k].row(y);
        const double kept = last ? 0.0 : keep[k], added = last ? 0.0 : add[k];
#pragma omp simd
        for (int i = 0; i < width; ++i) {
          rest[i] -= product[i] + data[i] * d[i];
          solution[i] += d[i];
          next[i] = kept * d[i] + added * inverse[i] * rest[i];
        }
        if (!last || y < begin || y >= end) continue;
        std::copy_n(rest, width, residual + size_t(y) * width);
        double* out = x + size_t(y) * width;
        for (int i = 0; i < width; ++i) out[i] += solution[i];
      }
    }
  }

  void start_row(int y, double add, const double* b, Rows& rows) const {
    const size_t begin = size_t(y) * matrix_.width;
    double *rest = rows.residual.row(y), *inverse = rows.inverse.row(y);
    double *solution = rows.solution.row(y), *d = rows.directions[0].row(y);
    for (int i = 0; i < matrix_.width; ++i) {
      inverse[i] = decided(begin + i) ? 1.0 / data_[begin + i] : 0.0;
      rest[i] = b[begin + i];
      solution[i] = 0.0;
      d[i] = add * inverse[i] * rest[i];
    }
  }

  const Stencil& matrix_;
  const double* data_;
  const uint8_t* parts_;
};
