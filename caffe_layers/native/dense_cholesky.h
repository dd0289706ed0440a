// Partial Cholesky factorization of a small dense matrix, in single precision.
//
// A general BLAS is built for large matrices: on the fronts of a matting system,
// mostly 30 to 300 columns, these kernels are several times as fast as MKL's
// (`make bench` compares whole factorizations).  Matrices are stored column by
// column, every column padded with zeros to whole vectors, so that no loop over
// rows has a remainder.  Results do not depend on the number of threads.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace dense {

// The widest vectors of the machine this is compiled on, and as many
// accumulators as its registers hold: kVectors x kColumns.
#if defined(__AVX512F__)
constexpr int kBytes = 64, kVectors = 2, kColumns = 8;
#elif defined(__AVX__)
constexpr int kBytes = 32, kVectors = 3, kColumns = 4;
#else
constexpr int kBytes = 16, kVectors = 2, kColumns = 4;
#endif
constexpr int kLanes = kBytes / sizeof(float);
constexpr int kRows = kVectors * kLanes;  // rows that a kernel call updates

constexpr int kBlock = 16;   // columns factorized at once; a multiple of kLanes
constexpr int kDepth = 128;  // columns whose products are summed at once
constexpr int kWide = 128;   // columns updated between two packings

constexpr int kStrip = 1024;  // rows of a product that stay in the L1 cache

// Multiplications that take a thread about as long as it takes to wake others and to wait for them:
// some 50 microseconds where idle threads sleep.
constexpr size_t kThreadedWork = size_t(1) << 21;
constexpr size_t kThreadedReads = size_t(1) << 17;  // the same where every number is read once

constexpr size_t kAlignment = 64;
constexpr size_t kPacked = size_t(kWide) * kDepth;  // floats of scratch

typedef float Vector __attribute__((vector_size(kBytes), aligned(kBytes)));
typedef int Lanes __attribute__((vector_size(kBytes)));

// Rows as stored.
inline int padded(size_t rows) { return int((rows + kLanes - 1) / kLanes * kLanes); }

// C -= A B' for V vectors of rows and at most kColumns columns, summed in
// registers.  `b` is packed: kColumns numbers for every p.
template <int V>
inline void kernel(const float* a, size_t lda, const float* b, int depth, float* c, size_t ldc,
                   int columns) {
  Vector sum[kColumns][V] = {};
  for (int p = 0; p < depth; ++p, a += lda, b += kColumns) {
    Vector rows[V];
    for (int v = 0; v < V; ++v) rows[v] = reinterpret_cast<const Vector*>(a)[v];
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j)
      for (int v = 0; v < V; ++v) sum[j][v] += rows[v] * b[j];
  }
#pragma GCC unroll 8
  for (int j = 0; j < kColumns; ++j)
    if (j < columns)
      for (int v = 0; v < V; ++v) reinterpret_cast<Vector*>(c + j * ldc)[v] -= sum[j][v];
}

// Rows of B as `kernel` reads them: groups of kColumns rows, filled up with 0.
inline void pack(const float* b, size_t ldb, int rows, int depth, float* packed) {
  for (int j = 0; j < rows; j += kColumns) {
    const int n = std::min(kColumns, rows - j);
    for (int p = 0; p < depth; ++p, packed += kColumns) {
      std::copy_n(b + j + p * ldb, n, packed);
      std::fill(packed + n, packed + kColumns, 0.0f);
    }
  }
}

// Calls action(i) for i = 0, step, 2 step ... below rows.
template <typename Action>
inline void each_strip(int rows, int step, bool threaded, const Action& action) {
  if (!threaded) {  // a parallel region of one thread is not free either
    for (int i = 0; i < rows; i += step) action(i);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int i = 0; i < rows; i += step) action(i);
}

// Whether so many multiplications are worth waking threads that sleep.
inline bool worth_threads(size_t rows, size_t columns, size_t depth) {
  return rows * columns * depth > kThreadedWork;
}
inline bool worth_reading(size_t rows, size_t columns) { return rows * columns > kThreadedReads; }

template <int V>
inline void update_rows(const float* a, size_t lda, const float* packed, int depth, float* c,
                        size_t ldc, int columns) {
  for (int j = 0; j < columns; j += kColumns)
    kernel<V>(a, lda, packed + size_t(j) * depth, depth, c + j * ldc, ldc,
              std::min(kColumns, columns - j));
}

// C (at most kRows rows x columns) -= A B'.
inline void update_strip(const float* a, size_t lda, const float* packed, int depth, float* c,
                         size_t ldc, int rows, int columns) {
  if (rows == kRows)
    update_rows<kVectors>(a, lda, packed, depth, c, ldc, columns);
  else
    for (int v = 0; v < rows; v += kLanes)
      update_rows<1>(a + v, lda, packed, depth, c + v, ldc, columns);
}

// C (rows x columns) -= A B', depth at most kDepth; of the first columns x columns of it, if
// `lower`, the triangle below the diagonal at least.
inline void subtract_product(const float* a, size_t lda, const float* packed, int depth, float* c,
                             size_t ldc, int rows, int columns, bool lower, bool threaded) {
  // A few columns do not pay for copying A into consecutive memory.
  const bool copy = columns > kBlock;
  each_strip(rows, kRows, threaded && worth_threads(rows, columns, depth), [=](int i) {
    const int n = std::min(kRows, rows - i), wide = lower ? std::min(columns, i + n) : columns;
    if (!copy) {
      update_strip(a + i, lda, packed, depth, c + i, ldc, n, wide);
      return;
    }
    alignas(kAlignment) float buffer[kRows * kDepth];
    for (int p = 0; p < depth; ++p)
      std::memcpy(buffer + p * kRows, a + i + p * lda, n * sizeof(float));
    update_strip(buffer, kRows, packed, depth, c + i, ldc, n, wide);
  });
}

// Lower triangle of C (n x n) -= A A'.
inline void subtract_square(const float* a, size_t lda, int depth, float* c, size_t ldc, int n,
                            float* packed, bool threaded) {
  for (int j = 0; j < n; j += kWide) {
    const int columns = std::min(kWide, n - j);
    pack(a + j, lda, columns, depth, packed);
    subtract_product(a + j, lda, packed, depth, c + j + j * ldc, ldc, padded(n) - j, columns, true,
                     threaded);
  }
}

// Rows of C times the inverse transpose of a triangle of at most kBlock columns.
template <int Columns>
inline void solve_rows(const float* triangle, size_t ldt, const float* inverse, float* c,
                       size_t ldc, int rows, int columns) {
  // The compiler unrolls the full block and keeps it in registers.
  const int n = Columns ? Columns : columns;
  for (int i = 0; i < rows; i += kLanes) {
    Vector x[kBlock];
#pragma GCC unroll 16
    for (int j = 0; j < n; ++j) {
      Vector* target = reinterpret_cast<Vector*>(c + i + j * ldc);
      Vector value = *target;
#pragma GCC unroll 16
      for (int p = 0; p < j; ++p) value -= x[p] * triangle[j + p * ldt];
      x[j] = value * inverse[j];
      *target = x[j];
    }
  }
}

// Sum of `rows` numbers, in whole vectors.
inline float sum_of(const float* a, int rows) {
  Vector total{};
  for (int i = 0; i < rows; i += kLanes) total += *reinterpret_cast<const Vector*>(a + i);
  float sum = 0.0f;
  for (int k = 0; k < kLanes; ++k) sum += total[k];
  return sum;
}

// Cholesky factor of a triangle of at most kBlock columns, in place, with the inverse of its
// diagonal on the diagonal and in `inverse`.  Of the matrix the diagonal is not read: `outside` has
// the sum of each column's entries below the triangle, less that of all of its entries.  A pivot
// that is not positive is taken for `rounding` if it is more than its negative.  False if it is
// not.
inline bool factorize_block(float* a, size_t lda, int n, float* outside, float* inverse,
                            float rounding) {
  for (int k = 0; k < n; ++k) {
    float* column = a + k * lda;
    float pivot = -outside[k];
    for (int i = k + 1; i < n; ++i) pivot -= column[i];
    if (!(pivot > -rounding)) return false;
    if (!(pivot > 0.0f)) pivot = rounding;
    column[k] = inverse[k] = 1.0f / std::sqrt(pivot);
    for (int i = k + 1; i < n; ++i) column[i] *= inverse[k];
    outside[k] *= inverse[k];
    for (int q = k + 1; q < n; ++q) {
      outside[q] -= outside[k] * column[q];
      for (int i = q + 1; i < n; ++i) a[i + q * lda] -= column[i] * column[q];
    }
  }
  return true;
}

// A panel of at most kDepth columns of a Cholesky factor: its triangle, in blocks of kBlock
// columns, and what rows below it are solved with.
class Panel {
 public:
  // `triangle` points to the first of `columns` columns at its own row; `packed` is kPacked floats
  // of scratch, in use as long as the panel is.
  Panel(float* triangle, size_t stride, int columns, float* packed)
      : triangle_(triangle), stride_(stride), columns_(columns), packed_(packed) {}

  // As `factorize_block`, whose `outside` it makes that of the factor.
  bool factorize(float* outside, float rounding) {
    const int rows = padded(columns_);
    float* packed = packed_;
    for (int j = 0; j < columns_; j += kBlock) {
      const int n = std::min(kBlock, columns_ - j), rest = rows - j - kBlock;
      float* block = triangle_ + j + j * stride_;
      if (j) {
        pack(triangle_ + j, stride_, n, j, packed);
        subtract_product(triangle_ + j, stride_, packed, j, block, stride_, rows - j, n, true,
                         false);
        packed += size_t(kBlock) * j;
      }
      float below[kBlock];
      for (int k = 0; k < n; ++k)
        below[k] = outside[j + k] + sum_of(block + kBlock + k * stride_, rest);
      if (!factorize_block(block, stride_, n, below, inverse_ + j, rounding)) return false;
      if (n == kBlock)  // else nothing is below it
        solve_rows<kBlock>(block, stride_, inverse_ + j, block + kBlock, stride_, rest, n);
      solve_row(outside, j, j + n);
    }
    return true;
  }

  // Rows of the matrix below the triangle become those of the factor.
  void solve(float* c, size_t ldc, int rows, bool threaded) const {
    each_strip(rows, kRows, threaded && worth_threads(rows, columns_, columns_ / 2), [=](int i) {
      const int count = std::min(kRows, rows - i);
      const float* packed = packed_;
      for (int j = 0; j < columns_; j += kBlock) {
        const int n = std::min(kBlock, columns_ - j);
        const float* block = triangle_ + j + j * stride_;
        float* target = c + i + j * ldc;
        if (j) {
          update_strip(c + i, ldc, packed, j, target, ldc, count, n);
          packed += size_t(kBlock) * j;
        }
        if (n == kBlock)
          solve_rows<kBlock>(block, stride_, inverse_ + j, target, ldc, count, n);
        else
          solve_rows<0>(block, stride_, inverse_ + j, target, ldc, count, n);
      }
    });
  }

 private:
  // Goes on with a row of the matrix, below the triangle: its columns begin .. end - 1 become those
  // of the factor.
  void solve_row(float* row, int begin, int end) const {
    for (int p = begin; p < end; ++p) {
      const float value = row[p] *= inverse_[p];
      const float* column = triangle_ + p * stride_;
#pragma omp simd
      for (int q = p + 1; q < columns_; ++q) row[q] -= value * column[q];
    }
  }

  float* triangle_;
  size_t stride_;
  int columns_;
  float* packed_;  // of every block but the first, its rows of the columns before it
  float inverse_[kDepth];
};

// Lane k of the result is the sum of a's lanes if k has no bit of Stride, else of b's, within
// pairs of lanes that differ in that bit.
template <int Stride>
inline Vector add_pairs(Vector a, Vector b) {
  Lanes lane{}, other{};
  for (int k = 0; k < kLanes; ++k) {
    lane[k] = k & Stride ? kLanes + k : k;
    other[k] = lane[k] ^ Stride;
  }
  return __builtin_shuffle(a, b, lane) + __builtin_shuffle(a, b, other);
}

// Lane k of the result is the sum of the lanes of rows[k], of which there are kLanes; the smaller
// strides are the recursion's.
template <int Stride = kLanes / 2>
inline Vector sum_lanes(const Vector* rows) {
  if constexpr (Stride == 0) {
    return rows[0];
  } else {
    Vector half[Stride];
    for (int k = 0; k < Stride; ++k) half[k] = add_pairs<Stride>(rows[k], rows[k + Stride]);
    return sum_lanes<Stride / 2>(half);
  }
}

// A group of at most kLanes columns, whose rows are whole vectors.
template <int Columns>
struct Group {
  const float* first;
  size_t stride;
  int columns;

  // The compiler unrolls the full group and keeps it in registers.
  int size() const { return Columns ? Columns : columns; }
  const Vector& rows(int column, int row) const {
    return *reinterpret_cast<const Vector*>(first + column * stride + row);
  }

  // y -= the columns times `x`, on rows begin .. end - 1.
  void subtract(const float* x, float* y, int begin, int end) const {
    const int n = size();
    for (int i = begin; i < end; i += kLanes) {
      Vector sum = rows(0, i) * x[0];
#pragma GCC unroll 16
      for (int k = 1; k < n; ++k) sum += rows(k, i) * x[k];
      *reinterpret_cast<Vector*>(y + i) -= sum;
    }
  }

  // Products of the columns with x, from rows begin .. end - 1.
  Vector products(const float* x, int begin, int end) const {
    const int n = size();
    Vector sums[kLanes] = {};
    for (int i = begin; i < end; i += kLanes) {
      const Vector values = *reinterpret_cast<const Vector*>(x + i);
#pragma GCC unroll 16
      for (int k = 0; k < n; ++k) sums[k] += rows(k, i) * values;
    }
    return sum_lanes(sums);
  }
};

// Calls action(group, j) for the groups of a matrix, j their first column.
template <typename Action>
inline void each_group(const float* a, size_t lda, int columns, const Action& action) {
  int j = 0;
  for (; j + kLanes <= columns; j += kLanes) action(Group<kLanes>{a + j * lda, lda, kLanes}, j);
  if (j < columns) action(Group<0>{a + j * lda, lda, columns - j}, j);
}

// y := L^-1 y for the triangle `head`, then w -= body y.  Both are aligned and padded with zeros.
inline void forward(const float* head, size_t ldh, const float* body, size_t ldb, int own,
                    int below, float* y, float* w, bool threaded) {
  each_group(head, ldh, own, [=](const auto& group, int j) {
    const int n = group.size();
    const float* triangle = group.first + j;
    for (int k = 0; k < n; ++k) {
      const float value = y[j + k] *= triangle[k + k * ldh];
      for (int i = k + 1; i < n; ++i) y[j + i] -= triangle[i + k * ldh] * value;
    }
    group.subtract(y + j, y, j + kLanes, padded(own));
  });
  const int rows = padded(below);
  each_strip(rows, kStrip, threaded && worth_reading(own, below), [=](int begin) {
    const int end = std::min(rows, begin + kStrip);
    each_group(body, ldb, own,
               [=](const auto& group, int j) { group.subtract(y + j, w, begin, end); });
  });
}

// y := L^-T (y - body' w) for the triangle `head`.  Both are aligned and padded with zeros.
inline void backward(const float* head, size_t ldh, const float* body, size_t ldb, int own,
                     int below, float* y, const float* w, bool threaded) {
  const int rows = padded(below);
  each_strip(own, kLanes, threaded && worth_reading(own, below), [=](int j) {
    each_group(body + j * ldb, ldb, std::min(kLanes, own - j), [=](const auto& group, int) {
      *reinterpret_cast<Vector*>(y + j) -= group.products(w, 0, rows);
    });
  });
  const int last = (own - 1) / kLanes * kLanes;
  for (int j = last; j >= 0; j -= kLanes)
    each_group(head + j * ldh, ldh, std::min(kLanes, own - j), [=](const auto& group, int) {
      const Vector later = group.products(y, j + kLanes, padded(own));
      const float* triangle = group.first + j;
      for (int k = group.size() - 1; k >= 0; --k) {
        float value = y[j + k] - later[k];
        for (int i = k + 1; i < group.size(); ++i) value -= triangle[i + k * ldh] * y[j + i];
        y[j + k] = value * triangle[k + k * ldh];
      }
    });
}

// Partial factorization of the symmetric matrix
//
//   head          own x own      becomes its Cholesky factor, with the diagonal inverted
//   body  update  below x own, below x below
//
// body becomes its rows of the factor, and update the Schur complement.  Only lower triangles are
// read, without the diagonal, in whose place y and w have the sums of rows; y becomes L^-1 y, and w
// the sums of the Schur complement, whose diagonal means nothing either.  Padding must be zero and
// stays so in head, body, y and w.  `rounding` and what is returned: as `factorize_block`.
inline bool factorize(float* head, size_t ldh, float* body, float* update, size_t ldb, int own,
                      int below, float* y, float* w, float rounding, float* packed, bool threaded) {
  const int head_rows = padded(own), body_rows = padded(below);
  for (int outer = 0; outer < own; outer += kDepth) {
    const int end = std::min(own, outer + kDepth), depth = end - outer, rest = head_rows - end;
    float* outer_head = head + outer * ldh;
    float* outer_body = body + outer * ldb;
    float outside[kDepth];
    for (int k = 0; k < depth; ++k) {
      outside[k] = sum_of(outer_body + k * ldb, body_rows) - y[outer + k];
      if (end < own) outside[k] += sum_of(outer_head + end + k * ldh, rest);
    }
    Panel panel(outer_head + outer, ldh, depth, packed);
    if (!panel.factorize(outside, rounding)) return false;
    if (end < own) panel.solve(outer_head + end, ldh, rest, threaded);
    panel.solve(outer_body, ldb, body_rows, threaded);
    for (int j = end; j < own; j += kWide) {
      const int columns = std::min(kWide, own - j);
      pack(outer_head + j, ldh, columns, depth, packed);
      subtract_product(outer_head + j, ldh, packed, depth, head + j + j * ldh, ldh, head_rows - j,
                       columns, true, threaded);
      subtract_product(outer_body, ldb, packed, depth, body + j * ldb, ldb, body_rows, columns,
                       false, threaded);
    }
    subtract_square(outer_body, ldb, depth, update, ldb, below, packed, threaded);
    forward(outer_head + outer, ldh, outer_body, ldb, depth, below, y + outer, w, threaded);
    if (end < own)
      each_group(outer_head, ldh, depth, [=](const auto& group, int j) {
        group.subtract(y + outer + j, y, end, head_rows);
      });
  }
  return true;
}

}  // namespace dense
