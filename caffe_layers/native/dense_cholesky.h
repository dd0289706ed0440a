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

constexpr int kStrip = 1024; // rows of a product that stay in the L1 cache

constexpr size_t kAlignment = 64;
constexpr size_t kPacked = size_t(kWide) * kDepth;  // floats of scratch

typedef float Vector __attribute__((vector_size(kBytes), aligned(kBytes)));

// Rows as stored.
inline int padded(size_t rows) {
  return int((rows + kBlock - 1) / kBlock * kBlock);
}

// C -= A B' for V vectors of rows and at most kColumns columns, summed in
// registers.  `b` is packed: kColumns numbers for every p.
template <int V>
inline void kernel(const float* a, size_t lda, const float* b, int depth,
                   float* c, size_t ldc, int columns) {
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
      for (int v = 0; v < V; ++v)
        reinterpret_cast<Vector*>(c + j * ldc)[v] -= sum[j][v];
}

// Rows of B as `kernel` reads them: groups of kColumns rows, filled up with 0.
inline void pack(const float* b, size_t ldb, int rows, int depth,
                 float* packed) {
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
inline void each_strip(int rows, int step, bool threaded,
                       const Action& action) {
  if (!threaded) {  // a parallel region of one thread is not free either
    for (int i = 0; i < rows; i += step) action(i);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int i = 0; i < rows; i += step) action(i);
}

template <int V>
inline void update_rows(const float* a, size_t lda, const float* packed,
                        int depth, float* c, size_t ldc, int columns) {
  for (int j = 0; j < columns; j += kColumns)
    kernel<V>(a, lda, packed + size_t(j) * depth, depth, c + j * ldc, ldc,
              std::min(kColumns, columns - j));
}

// C (rows x columns) -= A B', depth at most kDepth.
inline void subtract_product(const float* a, size_t lda, const float* packed,
                             int depth, float* c, size_t ldc, int rows,
                             int columns, bool threaded) {
  // A few columns do not pay for copying A into consecutive memory.
  const bool copy = columns > kBlock;
  each_strip(rows, kRows, threaded, [=](int i) {
    alignas(kAlignment) float buffer[kRows * kDepth];
    const int n = std::min(kRows, rows - i);
    const float* source = a + i;
    size_t ld = lda;
    if (copy) {
      for (int p = 0; p < depth; ++p)
        std::memcpy(buffer + p * kRows, source + p * lda, n * sizeof(float));
      source = buffer;
      ld = kRows;
    }
    if (n == kRows)
      update_rows<kVectors>(source, ld, packed, depth, c + i, ldc, columns);
    else
      for (int v = 0; v < n; v += kLanes)
        update_rows<1>(source + v, ld, packed, depth, c + i + v, ldc, columns);
  });
}

// Lower triangle of C (n x n) -= A A'.
inline void subtract_square(const float* a, size_t lda, int depth, float* c,
                            size_t ldc, int n, float* packed, bool threaded) {
  for (int j = 0; j < n; j += kWide) {
    const int columns = std::min(kWide, n - j);
    pack(a + j, lda, columns, depth, packed);
    subtract_product(a + j, lda, packed, depth, c + j + j * ldc, ldc,
                     padded(n) - j, columns, threaded);
  }
}

// Rows of C times the inverse transpose of a triangle of at most kBlock columns.
template <int Columns>
inline void solve_rows(const float* triangle, size_t ldt, const float* inverse,
                       float* c, size_t ldc, int rows, int columns,
                       bool threaded) {
  // The compiler unrolls the full block and keeps it in registers.
  const int n = Columns ? Columns : columns;
  each_strip(rows, kLanes, threaded, [=](int i) {
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
  });
}

// Cholesky factor of a triangle of at most kBlock columns, in place, and the
// inverse of its diagonal.  False if a pivot is not positive.
inline bool factorise_block(float* a, size_t lda, int n, float* inverse) {
  for (int k = 0; k < n; ++k) {
    float* column = a + k * lda;
    if (!(column[k] > 0.0f)) return false;
    column[k] = std::sqrt(column[k]);
    inverse[k] = 1.0f / column[k];
    for (int i = k + 1; i < n; ++i) column[i] *= inverse[k];
    for (int q = k + 1; q < n; ++q)
      for (int i = q; i < n; ++i) a[i + q * lda] -= column[i] * column[q];
  }
  return true;
}

// Partial factorization of the symmetric matrix
//
//   head          own x own      becomes its Cholesky factor
//   body  update  below x own, below x below
//
// body becomes its rows of the factor, and update the Schur complement.  Only
// lower triangles are read.  Padding rows must be zero and stay so in body.
// False if a pivot is not positive.
inline bool factorise(float* head, size_t ldh, float* body, float* update,
                      size_t ldb, int own, int below, float* packed,
                      bool threaded) {
  const int head_rows = padded(own), body_rows = padded(below);
  for (int outer = 0; outer < own; outer += kDepth) {
    const int end = std::min(own, outer + kDepth);
    const float* outer_head = head + outer * ldh;
    const float* outer_body = body + outer * ldb;
    for (int j = outer; j < end; j += kBlock) {
      const int columns = std::min(kBlock, end - j), depth = j - outer;
      float* block = head + j + j * ldh;
      float* block_body = body + j * ldb;
      if (depth) {
        pack(outer_head + j, ldh, columns, depth, packed);
        subtract_product(outer_head + j, ldh, packed, depth, block, ldh,
                         head_rows - j, columns, threaded);
        subtract_product(outer_body, ldb, packed, depth, block_body, ldb,
                         body_rows, columns, threaded);
      }
      float inverse[kBlock];
      if (!factorise_block(block, ldh, columns, inverse)) return false;
      if (columns == kBlock) {
        solve_rows<kBlock>(block, ldh, inverse, block + kBlock, ldh,
                           head_rows - j - kBlock, columns, threaded);
        solve_rows<kBlock>(block, ldh, inverse, block_body, ldb, body_rows,
                           columns, threaded);
      } else {  // the last block: nothing of head is below it
        solve_rows<0>(block, ldh, inverse, block_body, ldb, body_rows, columns,
                      threaded);
      }
    }
    const int depth = end - outer;
    for (int j = end; j < own; j += kWide) {
      const int columns = std::min(kWide, own - j);
      pack(outer_head + j, ldh, columns, depth, packed);
      subtract_product(outer_head + j, ldh, packed, depth, head + j + j * ldh,
                       ldh, head_rows - j, columns, threaded);
      subtract_product(outer_body, ldb, packed, depth, body + j * ldb, ldb,
                       body_rows, columns, threaded);
    }
    subtract_square(outer_body, ldb, depth, update, ldb, below, packed,
                    threaded);
  }
  return true;
}

// y := L^-1 y for the triangle `head`, then w -= body y.
inline void forward(const float* head, size_t ldh, const float* body,
                    size_t ldb, int own, int below, float* y, float* w,
                    bool threaded) {
  for (int j = 0; j < own; ++j) {
    const float* column = head + j * ldh;
    const float value = y[j] /= column[j];
    for (int i = j + 1; i < own; ++i) y[i] -= column[i] * value;
  }
  each_strip(below, kStrip, threaded, [=](int begin) {
    const int end = std::min(below, begin + kStrip);
    int j = 0;
    for (; j + 4 <= own; j += 4) {  // four columns for one pass over w
      const float *a = body + j * ldb, *b = a + ldb, *c = b + ldb, *d = c + ldb;
      const float p = y[j], q = y[j + 1], r = y[j + 2], s = y[j + 3];
      for (int i = begin; i < end; ++i)
        w[i] -= a[i] * p + b[i] * q + c[i] * r + d[i] * s;
    }
    for (; j < own; ++j) {
      const float* column = body + j * ldb;
      const float value = y[j];
      for (int i = begin; i < end; ++i) w[i] -= column[i] * value;
    }
  });
}

// y := L^-T (y - body' w) for the triangle `head`.
inline void backward(const float* head, size_t ldh, const float* body,
                     size_t ldb, int own, int below, float* y, const float* w,
                     bool threaded) {
  const int fours = own / 4 * 4;
  each_strip(fours, 4, threaded, [=](int j) {
    const float *a = body + j * ldb, *b = a + ldb, *c = b + ldb, *d = c + ldb;
    float p = 0, q = 0, r = 0, s = 0;
#pragma omp simd reduction(+ : p, q, r, s)
    for (int i = 0; i < below; ++i) {
      p += a[i] * w[i];
      q += b[i] * w[i];
      r += c[i] * w[i];
      s += d[i] * w[i];
    }
    y[j] -= p, y[j + 1] -= q, y[j + 2] -= r, y[j + 3] -= s;
  });
  for (int j = own - 1; j >= 0; --j) {
    const float* column = head + j * ldh;
    float sum = 0;
    if (j >= fours) {
      const float* rows = body + j * ldb;
#pragma omp simd reduction(+ : sum)
      for (int i = 0; i < below; ++i) sum += rows[i] * w[i];
    }
#pragma omp simd reduction(+ : sum)
    for (int i = j + 1; i < own; ++i) sum += column[i] * y[i];
    y[j] = (y[j] - sum) / column[j];
  }
}

}  // namespace dense
