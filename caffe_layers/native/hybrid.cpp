// Solves D x = b for D = L + diag(data) + S, where S is sparse and need not be there, by
// conjugate gradients on the active region of the image and by a fixed polynomial outside.  The
// gradients are preconditioned by a single-precision Cholesky factor of L + diag(data) on the
// block of pixels where it is hard, by its diagonal elsewhere, and by what ties the two.  See
// HybridSolver in caffe_layers/linear_solver.py.

#include <omp.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "exterior.h"
#include "flush_subnormals.h"
#include "multifrontal.h"
#include "region.h"
#include "rim.h"
#include "sparse_rows.h"
#include "stencil.h"

namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Mask = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

namespace {

// Rounds of exterior and active region; a round takes all but a millionth of the error.
constexpr int kMostRounds = 6;
// The factor's rounding may leave so much of an error, however little it left of the one before:
// that was another vector.
constexpr double kLeastShare = 1e-3;
// The part of the allowed residual that is left to the pixels outside the active region.
constexpr double kShare = 0.1;

class PreconditionedSystem {
 public:
  // Factor of the hard block of L + diag(data).  False if it is not numerically positive
  // definite.  S is not there until `add` is called.
  //
  // `parts` has the bits of every pixel: conjugate gradients run on the active ones.  All pixels
  // but the decided ones, where data outweighs L, are active, and so are the hard ones.  Reached
  // are those within the stencil's reach of an active one, outer those within reach of one that is
  // not active.  The planes are those of the whole image, (K, H, W), or of the reached pixels
  // alone, (K, n).
  bool factorize(Array planes, Array data, Mask parts, int radius) {
    if (data.ndim() != 2) throw std::invalid_argument("data must have shape (H, W)");
    const int height = int(data.shape(0)), width = int(data.shape(1));
    if (parts.ndim() != 2 || parts.shape(0) != height || parts.shape(1) != width)
      throw std::invalid_argument("stencil, data and mask differ in shape");
    Region reached(parts.data(), height, width, kReached);
    const bool dense = planes.ndim() == 3;
    if (planes.ndim() < 2 || planes.shape(0) != py::ssize_t(upper_offsets(radius).size()) ||
        (dense ? planes.shape(1) != height || planes.shape(2) != width
               : planes.shape(1) != py::ssize_t(reached.size())))
      throw std::invalid_argument("stencil, data and mask differ in shape");
    Stencil matrix(planes.data(), dense ? Region(height, width) : reached, radius);
    Region active(parts.data(), height, width, kActive);
    active.stored_in(matrix.storage());
    reached.stored_in(matrix.storage());
    const uint8_t* mask = parts.data();
    for (size_t i = 0; i < matrix.size(); ++i)
      if ((mask[i] & kHard) && !(mask[i] & kActive))
        throw std::invalid_argument("a pixel is hard that is not active");
    // Nothing is refused from here on: what is kept fits together.
    planes_ = planes, data_ = data, parts_ = parts, sparse_ = SparseRows();
    matrix_ = std::move(matrix), active_ = std::move(active), reached_ = std::move(reached);
    diagonal_data_ = data.data();
    // Pages that no active pixel is in are never written, and take no memory.
    p_.reset(static_cast<double*>(std::calloc(matrix_.size(), sizeof(double))));
    if (!p_) throw std::bad_alloc();
    py::gil_scoped_release release;
    const FlushSubnormals flush;
    factor_.arrange(mask, kHard, height, width, 2 * radius);
    find_places();
    // Rows sum to what the block's matrix makes of 1.
    allocate();
    double* p = p_.get();
    each_active([=](size_t, size_t pixel) { p[pixel] = (mask[pixel] & kHard) ? 1.0 : 0.0; });
    apply();
    const bool definite = factor_.factorize(matrix_, q_.data(), place_.data());
    rim_.find(matrix_, diagonal_data_, mask, active_);
    return definite;
  }

  // Adds S to D: rows in CSR of the matrix between `pixels`, see SparseRows.
  void add(Indices pixels, Indices indptr, Indices indices, Array values) {
    if (indptr.size() != pixels.size() + 1 || indices.size() != values.size() ||
        indptr.data()[0] != 0 || indptr.data()[pixels.size()] != values.size())
      throw std::invalid_argument("the arrays of a sparse matrix differ in length");
    sparse_ = SparseRows(pixels.data(), size_t(pixels.size()), indptr.data(), indices.data(),
                         values.data(), matrix_.height, matrix_.width);
  }

  // M^-1 r on the active region for an H x W image r, which is 0 outside of it.
  Array precondition(Array r) {
    check(r);
    Array result({py::ssize_t(matrix_.height), py::ssize_t(matrix_.width)});
    std::fill_n(result.mutable_data(), matrix_.size(), 0.0);
    const double* in = r.data();
    double* out = result.mutable_data();
    py::gil_scoped_release release;
    const FlushSubnormals flush;
    allocate();
    double *compact_r = r_.data(), *compact_z = z_.data();
    each_active([=](size_t i, size_t pixel) { compact_r[i] = in[pixel]; });
    precondition();
    each_active([=](size_t i, size_t pixel) { out[pixel] = compact_z[i]; });
    return result;
  }

  // x with D x = rhs, the number of iterations, or -1 where they do not suffice, and the norms of
  // the residual of all of D and of rhs.
  //
  // Stops when the residual's norm is residual_tolerance times that of rhs or less, and the error
  // about error_tolerance times x (in the largest element).
  py::tuple solve(Array rhs, double residual_tolerance, double error_tolerance,
                  int most_iterations) {
    check(rhs);
    Array result({py::ssize_t(matrix_.height), py::ssize_t(matrix_.width)});
    const double* b = rhs.data();
    double* x = result.mutable_data();
    Outcome outcome;
    {
      py::gil_scoped_release release;
      const FlushSubnormals flush;
      allocate();
      outcome = solve(b, x, residual_tolerance, error_tolerance, most_iterations);
    }
    return py::make_tuple(result, outcome.iterations, outcome.residual, outcome.norm);
  }

 private:
  struct Outcome {
    int iterations;
    double residual, norm;
  };

  void check(const Array& values) const {
    if (values.ndim() != 2 || values.shape(0) != matrix_.height || values.shape(1) != matrix_.width)
      throw std::invalid_argument("stencil and pixel values differ in shape");
  }

  void allocate() {
    for (std::vector<double>* each : {&r_, &z_, &x_, &q_}) each->resize(active_.size());
    row_sums_.resize(matrix_.height);
  }

  // Where the pixels of the factor are among the active ones.
  void find_places() {
    const std::vector<int>& pixels = factor_.pixels();
    const size_t count = pixels.size();
    place_.resize(count);
#pragma omp parallel for
    for (size_t i = 0; i < count; ++i) {
      if (pixels[i] < 0) continue;
      const int y = pixels[i] / matrix_.width, x = pixels[i] % matrix_.width;
      place_[i] = int(active_.place(y, x));
    }
  }

  // Calls action(span, pixel) for the spans of the region, rows in parallel; `pixel` is the
  // row-major index of the span's first pixel.
  template <typename Action>
  void each_span(const Region& region, const Action& action) const {
    const size_t width = matrix_.width;
#pragma omp parallel for schedule(dynamic, 16)
    for (int y = 0; y < matrix_.height; ++y)
      for (const Span* s = region.begin(y); s != region.end(y); ++s)
        action(*s, y * width + s->first);
  }

  // Calls action(i, pixel) for every active pixel: its place in the region and in the image.
  template <typename Action>
  void each_active(const Action& action) const {
    each_span(active_, [=](const Span& s, size_t pixel) {
      const size_t at = s.at, count = s.size();
#pragma omp simd
      for (size_t i = 0; i < count; ++i) action(at + i, pixel + i);
    });
  }

  // Sum of term(i, pixel) over the active pixels, in an order that does not depend on the
  // number of threads.
  template <typename Term>
  double sum(const Term& term) {
    double* sums = row_sums_.data();
    const size_t width = matrix_.width;
#pragma omp parallel for schedule(dynamic, 16)
    for (int y = 0; y < matrix_.height; ++y) {
      double total = 0.0;
      for (const Span* s = active_.begin(y); s != active_.end(y); ++s) {
        const size_t at = s->at, pixel = y * width + s->first, count = s->size();
#pragma omp simd reduction(+ : total)
        for (size_t i = 0; i < count; ++i) total += term(at + i, pixel + i);
      }
      sums[y] = total;
    }
    return total_of_rows();
  }

  double total_of_rows() const { return std::accumulate(row_sums_.begin(), row_sums_.end(), 0.0); }

  double largest(const std::vector<double>& values) const {
    double most = 0.0;
    const size_t size = values.size();
    const double* v = values.data();
#pragma omp parallel for simd reduction(max : most)
    for (size_t i = 0; i < size; ++i) most = std::max(most, std::abs(v[i]));
    return most;
  }

  // The square of the norm of `size` values.
  static double square_norm(const double* values, size_t size) {
    constexpr size_t kBlock = 4096;  // a sum of its own, for any number of threads
    std::vector<double> sums((size + kBlock - 1) / kBlock);
#pragma omp parallel for
    for (size_t block = 0; block < sums.size(); ++block) {
      const double* first = values + block * kBlock;
      const size_t count = std::min(kBlock, size - block * kBlock);
      double total = 0.0;
#pragma omp simd reduction(+ : total)
      for (size_t i = 0; i < count; ++i) total += first[i] * first[i];
      sums[block] = total;
    }
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }

  // Calls action(y, row) for every row in parallel, with row y of D v, right on `region`, for an
  // image v of unknowns that is zero outside of it or is not asked for near its border.
  template <typename Action>
  void each_product_row(const Region& region, const double* v, const Action& action) const {
    const size_t width = matrix_.width;
    const auto row_of = [=](int y) { return v + y * width; };
    // Allocated here: an exception must not leave a parallel region.
    std::vector<std::vector<double>> rows(omp_get_max_threads(), std::vector<double>(width));
#pragma omp parallel
    {
      std::vector<double>& row = rows[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 16)
      for (int y = 0; y < matrix_.height; ++y) {
        if (region.begin(y) == region.end(y)) {
          action(y, row.data());
          continue;
        }
        std::fill(row.begin(), row.end(), 0.0);
        matrix_.add_row(region, row_of, y, row.data());
        if (!sparse_.empty()) sparse_.add_row(v, y, y * width, row.data());
        for (const Span* s = region.begin(y); s != region.end(y); ++s)
#pragma omp simd
          for (int i = s->first; i < s->last; ++i)
            row[i] += diagonal_data_[y * width + i] * v[y * width + i];
        action(y, row.data());
      }
    }
  }

  // q = D p on the active region; returns p'q.  One pass: the row is still in the cache.
  double apply() {
    const double* p = p_.get();
    double *q = q_.data(), *sums = row_sums_.data();
    const size_t width = matrix_.width;
    each_product_row(active_, p, [=](int y, const double* row) {
      double total = 0.0;
      for (const Span* s = active_.begin(y); s != active_.end(y); ++s) {
        const double *from = row + s->first, *direction = p + y * width + s->first;
        double* to = q + s->at;
        const int count = s->size();
#pragma omp simd reduction(+ : total)
        for (int i = 0; i < count; ++i) {
          to[i] = from[i];
          total += direction[i] * from[i];
        }
      }
      sums[y] = total;
    });
    return total_of_rows();
  }

  // z = M^-1 r.
  void precondition() {
    const double *diagonal = matrix_.plane(0), *data = diagonal_data_, *r = r_.data();
    double* z = z_.data();
    each_span(active_, [=](const Span& s, size_t pixel) {
      const size_t at = s.at, stored = s.stored, count = s.size();
#pragma omp simd
      for (size_t i = 0; i < count; ++i)
        z[at + i] = r[at + i] / (diagonal[stored + i] + data[pixel + i]);
    });
    block_ = r_;
    rim_.to_block(r, block_.data());
    factor_.solve(block_.data(), z, place_.data());
    rim_.from_block(z);
  }

  // The decided pixels that are not active have b / data for an answer, or nearly: by the
  // exterior's polynomial if they differ among each other.  What that leaves of the residual near
  // the undecided pixels is solved for on the active region, and so in turn.
  Outcome solve(const double* b, double* x, double residual_tolerance, double error_tolerance,
                int most_iterations) {
    const size_t size = matrix_.size();
    Outcome outcome{0, 0.0, std::sqrt(square_norm(b, size))};
    std::fill_n(x, size, 0.0);
    if (outcome.norm == 0.0) return outcome;
    if (!(outcome.norm < std::numeric_limits<double>::infinity())) return {-1, 0.0, outcome.norm};
    residual_.resize(matrix_.storage().size());
    const double wanted = residual_tolerance * outcome.norm;
    const Exterior exterior(matrix_, diagonal_data_, parts_.data());
    double unseen = 0.0;   // a bound of the residual where it is not computed
    double outside = 0.0;  // the residual where conjugate gradients do not run
    double largest_solution = 0.0;
    for (int round = 0; round < kMostRounds; ++round) {
      if (active_.whole()) {
        if (round == 0) std::copy_n(b, size, residual_.data());
      } else if (round == 0 && exterior.is_even(b, kShare * wanted)) {
        unseen = kShare * wanted;
        exterior.divide(b, x);
        start_residual(b, x);
      } else if (round > 0 && outside <= 0.5 * wanted) {
        // Conjugate gradients alone go on.
      } else if (matrix_.storage().whole()) {
        next_residual_.resize(size);
        const double norm = round ? outcome.residual : outcome.norm;
        exterior.polynomial(round ? residual_.data() : b, kShare * wanted / norm, x,
                            next_residual_.data());
        residual_.swap(next_residual_);
        unseen = 0.0;
      } else {
        return {-1, outcome.residual, outcome.norm};
      }
      const int steps =
          conjugate_gradients(0.25 * wanted, error_tolerance, most_iterations, largest_solution);
      if (steps < 0) return {-1, outcome.residual, outcome.norm};
      outcome.iterations += steps;
      add_solution(x);
      const double all = square_norm(residual_.data(), residual_.size());
      const double inside = take_residual();
      outcome.residual = std::sqrt(all) + unseen;
      outside = std::sqrt(std::max(0.0, all - inside)) + unseen;
      if (outcome.residual <= wanted) break;
    }
    return outcome;
  }

  // residual_ = b - D x on the active pixels, 0 elsewhere, where it is known to be small.
  void start_residual(const double* b, const double* x) {
    std::fill(residual_.begin(), residual_.end(), 0.0);
    double* residual = residual_.data();
    each_product_row(reached_, x, [=](int y, const double* row) {
      for (const Span* s = active_.begin(y); s != active_.end(y); ++s) {
        const double* right = b + size_t(y) * matrix_.width;
        for (int i = s->first; i < s->last; ++i)
          residual[s->stored + (i - s->first)] = right[i] - row[i];
      }
    });
  }

  // r_ = the residual on the active region; returns the square of its norm.
  double take_residual() {
    const double* residual = residual_.data();
    double* r = r_.data();
    each_span(active_,
              [=](const Span& s, size_t) { std::copy_n(residual + s.stored, s.size(), r + s.at); });
    return sum([=](size_t i, size_t) { return r[i] * r[i]; });
  }

  // Adds the solution on the active region to x, and takes its product with D off the residual.
  void add_solution(double* x) {
    const double* solution = x_.data();
    double *p = p_.get(), *residual = residual_.data();
    each_active([=](size_t i, size_t pixel) {
      x[pixel] += solution[i];
      p[pixel] = solution[i];
    });
    each_product_row(reached_, p, [=](int y, const double* row) {
      for (const Span* s = reached_.begin(y); s != reached_.end(y); ++s)
#pragma omp simd
        for (int i = s->first; i < s->last; ++i) residual[s->stored + (i - s->first)] -= row[i];
    });
  }

  // Solves D x_ = residual_ on the active region, with 0 outside, to a residual of `wanted` and an
  // error of `error_tolerance` times its largest element or the earlier solution's, `largest_x`,
  // which it replaces.  Returns the number of iterations or -1.
  // Lambdas take the arrays by value: loops over references do not vectorize.
  int conjugate_gradients(double wanted, double error_tolerance, int most_iterations,
                          double& largest_x) {
    double *r = r_.data(), *z = z_.data(), *x = x_.data(), *q = q_.data(), *p = p_.get();
    // A right-hand side of norm 1 keeps the factor's floats away from underflow.
    const double norm = std::sqrt(take_residual());
    each_active([=](size_t i, size_t pixel) {
      x[i] = p[pixel] = 0.0;
      r[i] = norm > 0.0 ? r[i] / norm : 0.0;
    });
    if (norm == 0.0) return 0;

    double rho = 1.0, step = 0.0, residual = 1.0;
    double before = std::numeric_limits<double>::min();
    for (int iteration = 0; iteration <= most_iterations; ++iteration) {
      precondition();
      // z is nearly the error, and x is corrected by it.  That leaves about as much of the residual
      // as z is of the z before; should it be more, another round follows.  The error is not seen
      // again.
      const double error = largest(z_), share = std::min(1.0, error / before);
      before = error;
      const double scale = std::max(largest_x, largest(x_) * norm);
      if (residual * norm * share <= wanted &&
          error * norm * std::max(share, kLeastShare) <= error_tolerance * scale) {
        largest_x = scale;
        each_active([=](size_t i, size_t) { x[i] = (x[i] + z[i]) * norm; });
        return iteration;
      }
      // z'(r_new - r_old) instead of z'r_new (Polak and Ribiere) forgives the
      // rounding of the preconditioner; r_new - r_old is -step q.
      const double change =
          iteration ? -step * sum([=](size_t i, size_t) { return q[i] * z[i]; }) : 0.0;
      const double beta = change / rho;
      rho = sum([=](size_t i, size_t pixel) {
        p[pixel] = z[i] + beta * p[pixel];
        return r[i] * z[i];
      });
      const double next_step = step = rho / apply();
      if (!std::isfinite(step)) return -1;
      residual = std::sqrt(sum([=](size_t i, size_t pixel) {
        x[i] += next_step * p[pixel];
        r[i] -= next_step * q[i];
        return r[i] * r[i];
      }));
    }
    return -1;
  }

  Array planes_, data_;  // keep alive what matrix_ and diagonal_data_ point to
  Mask parts_;
  Stencil matrix_;
  Region active_, reached_;
  const double* diagonal_data_ = nullptr;
  SparseRows sparse_;
  MultifrontalCholesky factor_;
  Rim rim_;
  std::vector<int> place_;                        // of the factor's pixels among the active ones
  std::vector<double> r_, z_, x_, q_, block_;     // on the active region
  std::unique_ptr<double, Free> p_;               // an image, 0 outside the active region
  std::vector<double> residual_, next_residual_;  // where the stencil is stored
  std::vector<double> row_sums_;
};

// FlushSubnormals as a context manager, for libraries that are called from Python.
class FlushedSubnormals {
 public:
  void enter() { flush_ = std::make_unique<FlushSubnormals>(); }
  void exit(const py::args&) { flush_.reset(); }

 private:
  std::unique_ptr<FlushSubnormals> flush_;
};

// The pixels of a mask where rhs / data differs from a neighbor's of the mask by more than `step`.
Mask uneven_pixels(Array rhs, Array data, Mask mask, double step) {
  for (const py::array& each : {py::array(rhs), py::array(mask)})
    if (data.ndim() != 2 || each.ndim() != 2 || each.shape(0) != data.shape(0) ||
        each.shape(1) != data.shape(1))
      throw std::invalid_argument("data, right-hand side and mask differ in shape");
  const int height = int(data.shape(0)), width = int(data.shape(1));
  Mask result({py::ssize_t(height), py::ssize_t(width)});
  const Steps steps{rhs.data(), data.data(), mask.data(), step};
  uint8_t* out = result.mutable_data();
  py::gil_scoped_release release;
#pragma omp parallel for
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const size_t i = size_t(y) * width + x;
      out[i] = (x > 0 && steps.large(i - 1, i)) || (x + 1 < width && steps.large(i, i + 1)) ||
               (y > 0 && steps.large(i - width, i)) ||
               (y + 1 < height && steps.large(i, i + width));
    }
  return result;
}

}  // namespace

PYBIND11_MODULE(_hybrid, m) {
  m.doc() = "Preconditioned conjugate gradients; see caffe_layers/linear_solver.py.";
  m.attr("OUTER_SHARE") = kShare;
  m.attr("HARD") = int(kHard);
  m.attr("ACTIVE") = int(kActive);
  m.attr("REACHED") = int(kReached);
  m.attr("OUTER") = int(kOuter);
  m.attr("DECIDED") = int(kDecided);
  m.def("largest_step", &largest_step, py::arg("allowed"), py::arg("pixels"), py::arg("radius"));
  m.def("uneven_pixels", &uneven_pixels, py::arg("rhs"), py::arg("data"), py::arg("mask"),
        py::arg("step"));
  py::class_<FlushedSubnormals>(m, "FlushedSubnormals")
      .def(py::init())
      .def("__enter__", &FlushedSubnormals::enter)
      .def("__exit__", &FlushedSubnormals::exit);
  py::class_<PreconditionedSystem>(m, "PreconditionedSystem")
      .def(py::init())
      .def("factorize", &PreconditionedSystem::factorize, py::arg("planes"), py::arg("data"),
           py::arg("parts"), py::arg("radius"))
      .def("add", &PreconditionedSystem::add, py::arg("pixels"), py::arg("indptr"),
           py::arg("indices"), py::arg("values"))
      .def("precondition", py::overload_cast<Array>(&PreconditionedSystem::precondition),
           py::arg("r"))
      .def("solve", py::overload_cast<Array, double, double, int>(&PreconditionedSystem::solve),
           py::arg("rhs"), py::arg("residual_tolerance"), py::arg("error_tolerance"),
           py::arg("most_iterations"));
}
