// A symmetric sparse matrix between some pixels of an image, in CSR.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

class SparseRows {
 public:
  SparseRows() = default;

  // `pixels` are the row-major indices of the `count` pixels, ascending; entries
  // indptr[k] .. indptr[k + 1] - 1 of `indices` and `values` are the row of pixel k, with
  // `indices` into `pixels`.
  SparseRows(const int32_t* pixels, size_t count, const int32_t* indptr, const int32_t* indices,
             const double* values, int height, int width)
      : pixels_(pixels, pixels + count), indptr_(indptr, indptr + count + 1),
        values_(values, values + indptr[count]), first_(height + 1) {
    const int64_t size = int64_t(height) * width;
    for (size_t k = 0; k < count; ++k)
      if (pixels[k] < 0 || pixels[k] >= size || (k > 0 && pixels[k] <= pixels[k - 1]) ||
          indptr[k] > indptr[k + 1])
        throw std::invalid_argument("the pixels of a sparse matrix are not ascending");
    columns_.reserve(values_.size());
    for (size_t k = 0; k < values_.size(); ++k) {
      if (indices[k] < 0 || size_t(indices[k]) >= count)
        throw std::invalid_argument("an index of a sparse matrix is out of range");
      columns_.push_back(pixels[indices[k]]);
    }
    for (int y = 0; y <= height; ++y)
      first_[y] = int32_t(std::lower_bound(pixels_.begin(), pixels_.end(), int64_t(y) * width) -
                          pixels_.begin());
  }

  bool empty() const { return pixels_.empty(); }

  // Adds row y of the product with an image x to `row`, which starts at pixel `begin`.
  void add_row(const double* x, int y, size_t begin, double* row) const {
    for (int32_t k = first_[y]; k < first_[y + 1]; ++k) {
      double total = 0.0;
      for (int32_t e = indptr_[k]; e < indptr_[k + 1]; ++e) total += values_[e] * x[columns_[e]];
      row[pixels_[k] - begin] += total;
    }
  }

 private:
  std::vector<int32_t> pixels_, indptr_, columns_;
  std::vector<double> values_;
  std::vector<int32_t> first_;  // of every image row, in pixels_
};
