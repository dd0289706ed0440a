// A part of an image, as runs of pixels, and the parts of a matting system by how it is solved.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

// Bits of a pixel, see ActiveRegion in caffe_layers/active_region.py.
enum Part : uint8_t { kHard = 1, kActive = 2, kReached = 4, kOuter = 8, kDecided = 16 };
constexpr uint8_t kAnyPart = 255;

// Columns first .. last - 1 of row y.
struct Span {
  int y, first, last;
  size_t at;      // place of its first pixel among the pixels of its region, row by row
  size_t stored;  // and among those that a stencil is stored of

  int size() const { return last - first; }
};

class Region {
 public:
  Region() = default;

  // The whole image.
  Region(int height, int width) : height(height), width(width), row_(height + 1) {
    for (int y = 0; y < height; ++y) {
      const size_t at = size_t(y) * width;
      spans_.push_back({y, 0, width, at, at});
      row_[y + 1] = y + 1;
    }
    size_ = size_t(height) * width;
  }

  // The pixels of which `mask` has one of the bits of `parts`.
  Region(const uint8_t* mask, int height, int width, uint8_t parts = kAnyPart)
      : height(height), width(width), row_(height + 1) {
    for (int y = 0; y < height; ++y) {
      const uint8_t* line = mask + size_t(y) * width;
      for (int x = 0; x < width; ++x) {
        if (!(line[x] & parts)) continue;
        const int first = x;
        while (x < width && (line[x] & parts)) ++x;
        spans_.push_back({y, first, x, size_, size_});
        size_ += x - first;
      }
      row_[y + 1] = int(spans_.size());
    }
  }

  int height = 0, width = 0;

  // Number of pixels.
  size_t size() const { return size_; }
  bool whole() const { return size_ == size_t(height) * width; }

  const std::vector<Span>& spans() const { return spans_; }
  const Span* begin(int y) const { return spans_.data() + row_[y]; }
  const Span* end(int y) const { return spans_.data() + row_[y + 1]; }

  // Place of one of its pixels.
  size_t place(int y, int x) const {
    const Span& span = *span_at(y, x);
    return span.at + (x - span.first);
  }

  // Whether it has the pixels of columns first .. last - 1 of a row.
  bool holds(int y, int first, int last) const {
    const Span* span = span_at(y, first);
    return span != end(y) && span->first <= first && last <= span->last;
  }

  // Tells every span where its pixels are among those of `storage`; raises unless it has them.
  void stored_in(const Region& storage) {
    for (Span& span : spans_) {
      if (!storage.holds(span.y, span.first, span.last))
        throw std::invalid_argument("a pixel is active of which the stencil is not stored");
      span.stored = storage.place(span.y, span.first);
    }
  }

 private:
  // The first span of a row that does not end before column x, or the row's end.
  const Span* span_at(int y, int x) const {
    return std::partition_point(begin(y), end(y),
                                [=](const Span& other) { return other.last <= x; });
  }

  size_t size_ = 0;
  std::vector<Span> spans_;
  std::vector<int> row_;  // the first span of every row
};
