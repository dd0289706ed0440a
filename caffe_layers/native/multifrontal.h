// Cholesky factor of a block of a stencil matrix: the pixels under a mask.
//
// The unknowns lie on a grid, so what a general solver searches for is known
// here: a strip as wide as the stencil reaches separates what lies on its two
// sides.  Nested dissection cuts the mask along such strips until a few dozen
// pixels are left.  Pixels are eliminated leaves first, the first cut last; the
// pixels of a leaf or strip form a *front*, a dense matrix of its own columns
// and of the rows below them that its subtree touches (multifrontal method, Duff
// and Reid 1983).  Disjoint subtrees are factorized in parallel, the few large
// fronts on top with all threads inside them.  Every sum has a fixed order:
// the result does not depend on the number of threads.
//
// The factor is in single precision.  It serves as a preconditioner.  Where rows of the matrix sum
// to nearly nothing, as those of a Laplacian do, rounding of its diagonal would give
// constant vectors a cost that they do not have.  So the diagonal is not kept, but the sums of the
// rows; a pivot is its row's sum less the other entries of its column (Grassmann, Taksar and
// Heyman 1985), and what the elimination of a front makes of the sums is a triangular solve.  An
// entry off the diagonal counts with its negative on the diagonal of both of its rows, so that it
// is in no sum.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <queue>
#include <vector>

#include "dense_cholesky.h"
#include "stencil.h"

// Of memory that comes from malloc and its kin.
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Aligned floats, uninitialized.
class Buffer {
 public:
  void allocate(size_t count) {
    const size_t align = dense::kAlignment;
    const size_t bytes = (count * sizeof(float) + align - 1) / align * align;
    data_.reset(static_cast<float*>(std::aligned_alloc(align, bytes)));
    if (bytes && !data_) throw std::bad_alloc();
    capacity_ = count;
  }
  // Keeps larger memory that it has: fresh pages cost time.
  void reserve(size_t count) {
    if (count <= capacity_) return;
    free();  // before it, and for good should that fail
    allocate(count);
  }
  void free() { data_.reset(), capacity_ = 0; }
  float* get() const { return data_.get(); }

 private:
  std::unique_ptr<float, Free> data_;
  size_t capacity_ = 0;
};

class MultifrontalCholesky {
 public:
  // Orders the pixels of which `mask` has one of the bits of `parts`, for a stencil that reaches so
  // many rows and columns far.
  void arrange(const uint8_t* mask, uint8_t parts, int height, int width, int reach) {
    order(mask, parts, height, width, reach);
    find_rows();
  }

  // Factor of the block of a symmetric matrix between the pixels that were arranged last.  `matrix`
  // has its entries off the diagonal, `row_sums` the sums of the block's rows: that of pixel i of
  // `pixels()` at place[i].  False if it is not numerically positive definite.
  bool factorize(const Stencil& matrix, const double* row_sums, const int* place) {
    const int n = int(pixel_.size());
    stored_.resize(n);
#pragma omp parallel for
    for (int i = 0; i < n; ++i)
      if (pixel_[i] >= 0)
        stored_[i] = matrix.storage().place(pixel_[i] / width_, pixel_[i] % width_);
    take_values(row_sums, place);
    const bool definite = factorize_fronts(matrix);
    number_ = std::vector<int>();  // `= {}` would keep its memory
    return definite;
  }

  // The pixels under the mask, row-major indices, in the order of elimination; -1 where a place is
  // left empty, so that the pixels of every front begin with a whole vector.
  const std::vector<int>& pixels() const { return pixel_; }

  // z = block^-1 r, of which pixel i of `pixels()` is at place[i]; the rest of z is left as it is.
  void solve(const double* r, double* z, const int* place) {
    const int n = int(pixel_.size());
    const float* values = values_.get();
    take_values(r, place);
    leaves_first([&](Front& f) { forward(f); });
    roots_first([&](Front& f) { backward(f); });
#pragma omp parallel for
    for (int i = 0; i < n; ++i)
      if (pixel_[i] >= 0) z[place[i]] = values[i];
  }

 private:
  // Larger leaves waste arithmetic, smaller ones time between fronts.
  static constexpr int kLeaf = 24;
  // What rounding may take off a pivot, where the diagonal is of the order of 10: of an image of
  // which nothing is known the last one is nearly 0.
  static constexpr float kRounding = 1e-4f;

  struct Rect {
    int top, bottom, left, right;
  };

  // Consecutive rows of a front that are consecutive in its parent as well, and on one side there:
  // among the parent's own rows, or among those below them, from which `to` counts then.
  struct Run {
    int from, count, to;
    bool own;

    int last() const { return from + count; }
  };

  // `number` is the place of a pixel in the order of elimination.
  struct Front {
    int first, own;    // eliminates first .. first + own - 1
    int first_front;   // its subtree: fronts first_front .. itself,
    int first_number;  // which eliminate first_number .. first + own - 1,
    Rect bounds;       // all of them in it
    std::vector<int> children;
    std::vector<int> below;      // numbers of its further rows, ascending
    std::vector<Run> in_parent;  // where the parent has them
    size_t head = 0, body = 0;   // where its columns lie in `factor_`
    size_t slot = 0;             // where its right-hand side lies in `passed_`

    int last() const { return first + own; }
    const Run* runs_end() const { return in_parent.data() + in_parent.size(); }
    int head_stride() const { return dense::padded(own); }
    int body_stride() const { return dense::padded(below.size()); }
  };

  // --- order of elimination ---------------------------------------------------

  void order(const uint8_t* mask, uint8_t parts, int height, int width, int reach) {
    height_ = height, width_ = width, reach_ = reach;
    sums_.assign(size_t(height + 1) * (width + 1), 0);
    for (int y = 0; y < height; ++y) {
      const int* above = &sums_[size_t(y) * (width + 1)];
      int* below = &sums_[size_t(y + 1) * (width + 1)];
      int row = 0;
      for (int x = 0; x < width; ++x) {
        row += (mask[size_t(y) * width + x] & parts) != 0;
        below[x + 1] = above[x + 1] + row;
      }
    }
    fronts_.clear();
    pixel_.clear();
    number_.assign(size_t(height) * width, -1);
    const Rect all{0, height, 0, width};
    pixel_.reserve(count(all));
    split_into_subtrees(dissect(all));
    sums_ = std::vector<int>();
  }

  // Pixels under the mask in a rectangle.
  int count(const Rect& r) const {
    const size_t stride = width_ + 1;
    return sums_[r.bottom * stride + r.right] - sums_[r.top * stride + r.right] -
           sums_[r.bottom * stride + r.left] + sums_[r.top * stride + r.left];
  }

  void shrink_to_pixels(Rect& r) const {
    while (count({r.top, r.top + 1, r.left, r.right}) == 0) ++r.top;
    while (count({r.bottom - 1, r.bottom, r.left, r.right}) == 0) --r.bottom;
    while (count({r.top, r.bottom, r.left, r.left + 1}) == 0) ++r.left;
    while (count({r.top, r.bottom, r.right - 1, r.right}) == 0) --r.right;
  }

  // Makes the fronts of a rectangle; returns the roots of their trees.
  std::vector<int> dissect(Rect r) {
    const int n = count(r);
    if (n == 0) return {};
    shrink_to_pixels(r);
    if (n <= kLeaf) return {add_front(r, r, {})};

    const Cut across = best_cut(r, true, n), down = best_cut(r, false, n);
    if (across.worth == 0.0 && down.worth == 0.0) return {add_front(r, r, {})};
    Rect one = r, other = r, strip = r;
    if (down.worth > across.worth) {
      one.bottom = strip.top = r.top + down.at;
      other.top = strip.bottom = strip.top + reach_;
    } else {
      one.right = strip.left = r.left + across.at;
      other.left = strip.right = strip.left + reach_;
    }
    std::vector<int> children = dissect(one);
    const std::vector<int> more = dissect(other);
    children.insert(children.end(), more.begin(), more.end());
    if (count(strip) == 0) return children;  // nothing connects the two sides
    return {add_front(strip, r, std::move(children))};
  }

  // A strip of `reach_` columns or rows, from the one at place `at` of a rectangle on, and what it
  // is worth: pixels on its smaller side for every pixel in it; 0 if it cuts nothing off.
  struct Cut {
    int at = 0;
    double worth = 0.0;
  };

  // The best strip of columns, or of rows, of a rectangle with n pixels.
  Cut best_cut(const Rect& r, bool columns, int n) const {
    const size_t stride = width_ + 1;
    const int width = r.right - r.left, height = r.bottom - r.top;
    const int* begin = &sums_[r.top * stride + r.left];
    const int* end = begin + (columns ? height * stride : size_t(width));
    const size_t step = columns ? 1 : stride;
    const auto before = [=](int i) { return end[i * step] - *end - begin[i * step] + *begin; };
    Cut best;
    for (int at = 1; at + reach_ < (columns ? width : height); ++at) {
      const int one = before(at), other = n - before(at + reach_);
      // Past 40 % a more even split is worth nothing further.
      const double smaller = std::min<double>(std::min(one, other), 0.4 * n);
      const double worth = smaller / (n - one - other + 0.5);
      if (worth > best.worth) best = {at, worth};
    }
    return best;
  }

  // Of the pixels in `r`, whose subtree is in `bounds`.
  int add_front(const Rect& r, const Rect& bounds, std::vector<int> children) {
    const int index = int(fronts_.size());
    Front f{};
    f.bounds = bounds;
    f.first = int(pixel_.size());
    for (int y = r.top; y < r.bottom; ++y)
      for (int x = r.left; x < r.right; ++x)
        if (count({y, y + 1, x, x + 1})) {
          const int pixel = y * width_ + x;
          number_[pixel] = int(pixel_.size());
          pixel_.push_back(pixel);
        }
    f.own = int(pixel_.size()) - f.first;
    pixel_.resize(f.first + dense::padded(f.own), -1);
    f.first_front = children.empty() ? index : fronts_[children[0]].first_front;
    f.first_number = children.empty() ? f.first : fronts_[children[0]].first_number;
    f.children = std::move(children);
    fronts_.push_back(std::move(f));
    return index;
  }

  // Cuts the trees into subtrees for the threads and the fronts above them.
  void split_into_subtrees(const std::vector<int>& roots) {
    const auto pixels = [&](int f) { return fronts_[f].last() - fronts_[f].first_number; };
    const auto smaller = [&](int a, int b) { return pixels(a) < pixels(b); };
    std::priority_queue<int, std::vector<int>, decltype(smaller)> queue(smaller, roots);
    const size_t wanted = 16 * size_t(omp_get_max_threads());
    std::vector<int> top;
    subtrees_.clear();
    while (!queue.empty() && queue.size() < wanted && pixels(queue.top()) > 4 * kLeaf) {
      const int f = queue.top();
      queue.pop();
      top.push_back(f);
      for (int c : fronts_[f].children) queue.push(c);
    }
    for (; !queue.empty(); queue.pop()) subtrees_.push_back(queue.top());
    find_levels(std::move(top));
  }

  // The fronts above the subtrees by the number of fronts on the longest way down to those: no
  // front of a level has another one in its subtree.
  void find_levels(std::vector<int> top) {
    std::sort(top.begin(), top.end());          // children before parents
    std::vector<size_t> level(fronts_.size());  // 0 in and below the roots of subtrees
    levels_.clear();
    for (int f : top) {
      for (int c : fronts_[f].children) level[f] = std::max(level[f], level[c]);
      if (level[f] == levels_.size()) levels_.emplace_back();
      levels_[level[f]++].push_back(f);
    }
  }

  // Calls action(front) for every front, children before their parents.
  template <typename Action>
  void leaves_first(const Action& action) {
    each_subtree([&](const Front& root, int index) {
      for (int f = root.first_front; f <= index; ++f) action(fronts_[f]);
    });
    for (const std::vector<int>& level : levels_) each_of_level(level, action);
  }

  // Calls action(front) for every front, parents before their children.
  template <typename Action>
  void roots_first(const Action& action) {
    for (size_t i = levels_.size(); i-- > 0;) each_of_level(levels_[i], action);
    each_subtree([&](const Front& root, int index) {
      for (int f = index; f >= root.first_front; --f) action(fronts_[f]);
    });
  }

  template <typename Action>
  void each_subtree(const Action& action) {
    in_parallel(subtrees_.size(), [&](size_t s) { action(fronts_[subtrees_[s]], subtrees_[s]); });
  }

  // A front for every thread, as long as there are enough; else all threads work inside of one.
  template <typename Action>
  void each_of_level(const std::vector<int>& level, const Action& action) {
    if (level.size() >= size_t(omp_get_max_threads()))
      in_parallel(level.size(), [&](size_t i) { action(fronts_[level[i]]); });
    else
      for (int f : level) action(fronts_[f]);
  }

  // Calls action(i) for i below `count`.
  template <typename Action>
  static void in_parallel(size_t count, const Action& action) {
    std::exception_ptr error;  // must not leave the parallel region by itself
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < count; ++i) {
      try {
        action(i);
      } catch (...) {
#pragma omp critical
        error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }

  // --- which rows a front has -------------------------------------------------

  // Calls visit(pixel, dy, dx) for every pixel within the stencil's reach.
  template <typename Visit>
  void each_neighbor(int pixel, const Visit& visit) const {
    const int y = pixel / width_, x = pixel % width_;
    const int first_x = std::max(0, x - reach_), last_x = std::min(width_ - 1, x + reach_);
    const int first_y = std::max(0, y - reach_), last_y = std::min(height_ - 1, y + reach_);
    for (int v = first_y; v <= last_y; ++v)
      for (int u = first_x; u <= last_x; ++u) visit(v * width_ + u, v - y, u - x);
  }

  bool reaches_out_of(const Rect& r, int pixel) const {
    const int y = pixel / width_, x = pixel % width_;
    return y - reach_ < r.top || y + reach_ >= r.bottom || x - reach_ < r.left ||
           x + reach_ >= r.right;
  }

  // A row per unknown of scratch for every thread.
  std::vector<std::vector<int>> scratch_rows() const {
    return std::vector<std::vector<int>>(omp_get_max_threads());
  }

  void find_rows() {
    auto scratch = scratch_rows();
    leaves_first([&](Front& f) {
      std::vector<int>& place = scratch[omp_get_thread_num()];
      place.resize(pixel_.size(), -1);
      // What its pixels and its children touch and nobody has eliminated yet.
      const auto touch = [&](int number) {
        if (number < f.last() || place[number] >= 0) return;
        place[number] = 0;
        f.below.push_back(number);
      };
      for (int c : f.children)
        for (int number : fronts_[c].below) touch(number);
      for (int i = f.first; i < f.last(); ++i)
        if (reaches_out_of(f.bounds, pixel_[i]))
          each_neighbor(pixel_[i], [&](int pixel, int, int) { touch(number_[pixel]); });
      std::sort(f.below.begin(), f.below.end());

      for (size_t i = 0; i < f.below.size(); ++i) place[f.below[i]] = int(i);
      for (int c : f.children) find_runs(fronts_[c], f, place.data());
      for (int number : f.below) place[number] = -1;
    });

    size_t columns = 0, slots = 0;
    for (Front& f : fronts_) {
      f.head = columns, columns += size_t(f.head_stride()) * f.own;
      f.body = columns, columns += size_t(f.body_stride()) * f.own;
      f.slot = slots, slots += f.body_stride();
    }
    factor_.reserve(columns);
    passed_.reserve(slots);
    values_.reserve(pixel_.size());
  }

  // `place` has those of the numbers that are below the parent's own.
  static void find_runs(Front& child, const Front& parent, const int* place) {
    std::vector<Run>& runs = child.in_parent;
    for (int i = 0; i < int(child.below.size()); ++i) {
      const int number = child.below[i];
      const bool own = number < parent.last();
      const int to = own ? number - parent.first : place[number];
      if (runs.empty() || runs.back().own != own || runs.back().to + runs.back().count != to)
        runs.push_back({i, 0, to, own});
      ++runs.back().count;
    }
  }

  // --- numbers ----------------------------------------------------------------

  bool factorize_fronts(const Stencil& matrix) {
    auto scratch = scratch_rows();
    updates_.clear();
    updates_.resize(fronts_.size());
    bool definite = true;
    leaves_first([&](Front& f) {
      std::vector<int>& place = scratch[omp_get_thread_num()];
      place.resize(pixel_.size());
      float *head = factor_.get() + f.head, *body = factor_.get() + f.body;
      const int below = int(f.below.size());
      std::fill(head, body + size_t(f.body_stride()) * f.own, 0.0f);
      insert_matrix(f, matrix, place.data(), head, body);
      Buffer& update = updates_[&f - fronts_.data()];
      update.allocate(size_t(f.body_stride()) * below);
      // Only the lower triangle counts.
      for (int j = 0; j < below; ++j)
        std::fill(update.get() + size_t(j) * f.body_stride() + j / dense::kLanes * dense::kLanes,
                  update.get() + size_t(j + 1) * f.body_stride(), 0.0f);
      for (int c : f.children) {
        add_update(f, fronts_[c], updates_[c].get(), head, body, update.get());
        updates_[c].free();
      }
      gather(f);
      alignas(dense::kAlignment) float packed[dense::kPacked];
      if (!dense::factorize(head, f.head_stride(), body, update.get(), f.body_stride(), f.own,
                            below, values_.get() + f.first, passed_.get() + f.slot, kRounding,
                            packed, threaded())) {
#pragma omp atomic write
        definite = false;
      }
    });
    return definite;
  }

  // Several threads inside a front where that pays, unless the threads have fronts of their own.
  static bool threaded() { return !omp_in_parallel(); }

  // The entries of the matrix between a front's own pixels and later ones.
  void insert_matrix(const Front& f, const Stencil& matrix, int* place, float* head,
                     float* body) const {
    for (size_t i = 0; i < f.below.size(); ++i) place[f.below[i]] = int(i);
    for (int number = f.first; number < f.last(); ++number) {
      float* in_head = head + size_t(number - f.first) * f.head_stride();
      float* in_body = body + size_t(number - f.first) * f.body_stride();
      each_neighbor(pixel_[number], [&](int pixel, int dy, int dx) {
        const int row = number_[pixel];
        if (row <= number) return;
        (row < f.last() ? in_head[row - f.first] : in_body[place[row]]) =
            float(matrix.entry(stored_[number], stored_[row], dy, dx));
      });
    }
  }

  // Adds a child's Schur complement ("extend-add").
  void add_update(const Front& f, const Front& child, const float* from, float* head, float* body,
                  float* update) const {
    const int n = int(child.below.size());
    for (const Run* run = child.in_parent.data(); run != child.runs_end(); ++run) {
      const bool threads = threaded() && dense::worth_reading(run->count, n - run->from);
      dense::each_strip(run->count, 1, threads, [&](int k) {
        const int j = run->from + k, column = run->to + k;
        const float* source = from + size_t(j) * child.body_stride();
        float* in_head = run->own ? head + size_t(column) * f.head_stride() : nullptr;
        float* in_body = (run->own ? body : update) + size_t(column) * f.body_stride();
        for (const Run* rows = run; rows != child.runs_end(); ++rows)
          add(source, (rows->own ? in_head : in_body) + rows->to - rows->from,
              std::max(rows->from, j), rows->last());
      });
    }
  }

  static void add(const float* source, float* target, int first, int last) {
#pragma omp simd
    for (int i = first; i < last; ++i) target[i] += source[i];
  }

  // The values of all pixels: that of pixel i is at place[i].
  void take_values(const double* from, const int* place) {
    const int n = int(pixel_.size());
    float* values = values_.get();
#pragma omp parallel for
    for (int i = 0; i < n; ++i) values[i] = pixel_[i] < 0 ? 0.0f : float(from[place[i]]);
  }

  // Adds what its children pass to a front to its own values and to what it passes on.
  void gather(const Front& f) {
    float *y = values_.get() + f.first, *w = passed_.get() + f.slot;
    std::fill_n(w, f.body_stride(), 0.0f);
    for (int c : f.children) {
      const Front& child = fronts_[c];
      const float* from = passed_.get() + child.slot;
      for (const Run& rows : child.in_parent)
        add(from, (rows.own ? y : w) + rows.to - rows.from, rows.from, rows.last());
    }
  }

  void forward(const Front& f) {
    gather(f);
    dense::forward(factor_.get() + f.head, f.head_stride(), factor_.get() + f.body, f.body_stride(),
                   f.own, int(f.below.size()), values_.get() + f.first, passed_.get() + f.slot,
                   threaded());
  }

  void backward(const Front& f) {
    float *y = values_.get() + f.first, *w = passed_.get() + f.slot;
    for (size_t i = 0; i < f.below.size(); ++i) w[i] = values_.get()[f.below[i]];
    dense::backward(factor_.get() + f.head, f.head_stride(), factor_.get() + f.body,
                    f.body_stride(), f.own, int(f.below.size()), y, w, threaded());
  }

  int height_ = 0, width_ = 0, reach_ = 0;
  std::vector<int> sums_;                 // summed-area table of the mask
  std::vector<int> pixel_, number_;       // of an eliminated unknown; of a pixel, or -1
  std::vector<size_t> stored_;            // where an unknown's pixel is in the stencil's planes
  std::vector<Front> fronts_;             // children before parents
  std::vector<int> subtrees_;             // indices of their roots
  std::vector<std::vector<int>> levels_;  // of fronts above them
  Buffer factor_;
  std::vector<Buffer> updates_;  // Schur complements that parents wait for
  Buffer values_, passed_;
};
