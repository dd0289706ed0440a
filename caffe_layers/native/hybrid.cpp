// Conjugate gradients on D = L + diag(data) + S, where S is sparse and need not be there,
// preconditioned by a single-precision Cholesky factor of L + diag(data) on the block of
// pixels where it is hard, and by its diagonal elsewhere.  See HybridSolver in
// caffe_layers/linear_solver.py.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "multifrontal.h"
#include "sparse_rows.h"
#include "stencil.h"

namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Mask = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

namespace {

class PreconditionedSystem {
 public:
  // Factor of the block of L + diag(data) where `hard` is not zero.  False if it is not
  // numerically positive definite.  S is not there until `add` is called.
  bool factorise(Array planes, Array data, Mask hard, int radius) {
    if (planes.ndim() != 3 || planes.shape(0) != py::ssize_t(upper_offsets(radius).size()) ||
        data.ndim() != 2 || planes.shape(1) != data.shape(0) || planes.shape(2) != data.shape(1) ||
        hard.ndim() != 2 || hard.shape(0) != data.shape(0) || hard.shape(1) != data.shape(1))
      throw std::invalid_argument("stencil, data and mask differ in shape");
    planes_ = planes, data_ = data, sparse_ = SparseRows();
    matrix_ = Stencil(planes.data(), int(data.shape(0)), int(data.shape(1)), radius);
    diagonal_data_ = data.data();
    const uint8_t* mask = hard.data();
    py::gil_scoped_release release;
    return factor_.factorise(matrix_, diagonal_data_, mask);
  }

  // Adds S to D: rows in CSR of the matrix between `pixels`, see SparseRows.
  void add(Indices pixels, Indices indptr, Indices indices, Array values) {
    if (indptr.size() != pixels.size() + 1 || indices.size() != values.size() ||
        indptr.data()[0] != 0 || indptr.data()[pixels.size()] != values.size())
      throw std::invalid_argument("the arrays of a sparse matrix differ in length");
    sparse_ = SparseRows(pixels.data(), size_t(pixels.size()), indptr.data(), indices.data(),
                         values.data(), matrix_.height, matrix_.width);
  }

  // M^-1 r for an H x W image r.
  Array precondition(Array r) {
    check(r);
    Array z({py::ssize_t(matrix_.height), py::ssize_t(matrix_.width)});
    const double* in = r.data();
    double* out = z.mutable_data();
    py::gil_scoped_release release;
    precondition(in, out);
    return z;
  }

  // x with D x = rhs, and the number of iterations; -1 where they do not suffice.
  //
  // Stops when |r| <= residual_tolerance |rhs| and the preconditioned residual,
  // which is nearly the error, is below error_tolerance times x (in the largest
  // element); it then corrects x by it.
  py::tuple solve(Array rhs, double residual_tolerance, double error_tolerance,
                  int most_iterations) {
    check(rhs);
    Array result({py::ssize_t(matrix_.height), py::ssize_t(matrix_.width)});
    const double* b = rhs.data();
    double* x = result.mutable_data();
    int iterations;
    {
      py::gil_scoped_release release;
      iterations = conjugate_gradients(b, x, residual_tolerance, error_tolerance, most_iterations);
    }
    return py::make_tuple(result, iterations);
  }

 private:
  void check(const Array& values) const {
    if (values.ndim() != 2 || values.shape(0) != matrix_.height ||
        values.shape(1) != matrix_.width)
      throw std::invalid_argument("stencil and pixel values differ in shape");
  }

  // Calls action(begin, end) for the pixels of every row, in parallel.
  template <typename Action>
  void each_row(const Action& action) const {
    const size_t width = matrix_.width;
#pragma omp parallel for
    for (int y = 0; y < matrix_.height; ++y) action(y * width, (y + 1) * width);
  }

  template <typename Action>
  void each_pixel(const Action& action) const {
    each_row([=](size_t begin, size_t end) {
#pragma omp simd
      for (size_t i = begin; i < end; ++i) action(i);
    });
  }

  // Sum of term(i) over the pixels, in an order that does not depend on the
  // number of threads.
  template <typename Term>
  double sum(const Term& term) {
    row_sums_.resize(matrix_.height);
    double* sums = row_sums_.data();
    const size_t width = matrix_.width;
    each_row([=](size_t begin, size_t end) {
      double total = 0.0;
#pragma omp simd reduction(+ : total)
      for (size_t i = begin; i < end; ++i) total += term(i);
      sums[begin / width] = total;
    });
    return total_of_rows();
  }

  double total_of_rows() const {
    return std::accumulate(row_sums_.begin(), row_sums_.end(), 0.0);
  }

  double largest(const double* values) const {
    double most = 0.0;
    const size_t size = matrix_.size();
#pragma omp parallel for simd reduction(max : most)
    for (size_t i = 0; i < size; ++i) most = std::max(most, std::abs(values[i]));
    return most;
  }

  // q = D p; returns p'q.  One pass: q's row is still in the cache.
  double apply(const double* p, double* q) {
    row_sums_.resize(matrix_.height);
    const double* data = diagonal_data_;
    double* sums = row_sums_.data();
    each_row([=](size_t begin, size_t end) {
      const size_t y = begin / matrix_.width;
      matrix_.apply_row(p, int(y), q + begin);
      if (!sparse_.empty()) sparse_.add_row(p, int(y), begin, q + begin);
      double total = 0.0;
#pragma omp simd reduction(+ : total)
      for (size_t i = begin; i < end; ++i) total += p[i] * (q[i] += data[i] * p[i]);
      sums[y] = total;
    });
    return total_of_rows();
  }

  void precondition(const double* r, double* z) {
    const double *diagonal = matrix_.plane(0), *data = diagonal_data_;
    each_pixel([=](size_t i) { z[i] = r[i] / (diagonal[i] + data[i]); });
    factor_.solve(r, z);
  }

  // Lambdas take the arrays by value: loops over references do not vectorise.
  int conjugate_gradients(const double* b, double* x, double residual_tolerance,
                          double error_tolerance, int most_iterations) {
    const size_t size = matrix_.size();
    const double norm = std::sqrt(sum([=](size_t i) { return b[i] * b[i]; }));
    r_.resize(size), z_.resize(size), p_.resize(size), q_.resize(size);
    double *r = r_.data(), *z = z_.data(), *p = p_.data(), *q = q_.data();
    // A right-hand side of norm 1 keeps the factor's floats away from underflow.
    each_pixel([=](size_t i) { x[i] = p[i] = 0.0, r[i] = norm > 0.0 ? b[i] / norm : 0.0; });
    if (norm == 0.0) return 0;

    double rho = 1.0, step = 0.0, residual = 1.0;
    for (int iteration = 0; iteration <= most_iterations; ++iteration) {
      precondition(r, z);
      if (residual <= residual_tolerance && largest(z) <= error_tolerance * largest(x)) {
        each_pixel([=](size_t i) { x[i] = (x[i] + z[i]) * norm; });
        return iteration;
      }
      // z'(r_new - r_old) instead of z'r_new (Polak and Ribiere) forgives the
      // rounding of the preconditioner; r_new - r_old is -step q.
      const double change = iteration ? -step * sum([=](size_t i) { return q[i] * z[i]; }) : 0.0;
      const double beta = change / rho;
      rho = sum([=](size_t i) {
        p[i] = z[i] + beta * p[i];
        return r[i] * z[i];
      });
      const double next_step = step = rho / apply(p, q);
      if (!std::isfinite(step)) return -1;
      residual = std::sqrt(sum([=](size_t i) {
        x[i] += next_step * p[i];
        r[i] -= next_step * q[i];
        return r[i] * r[i];
      }));
    }
    return -1;
  }

  Array planes_, data_;  // keep alive what matrix_ and diagonal_data_ point to
  Stencil matrix_;
  const double* diagonal_data_ = nullptr;
  SparseRows sparse_;
  MultifrontalCholesky factor_;
  std::vector<double> r_, z_, p_, q_, row_sums_;
};

}  // namespace

PYBIND11_MODULE(_hybrid, m) {
  m.doc() = "Preconditioned conjugate gradients; see caffe_layers/linear_solver.py.";
  py::class_<PreconditionedSystem>(m, "PreconditionedSystem")
      .def(py::init())
      .def("factorise", &PreconditionedSystem::factorise, py::arg("planes"), py::arg("data"),
           py::arg("hard"), py::arg("radius"))
      .def("add", &PreconditionedSystem::add, py::arg("pixels"), py::arg("indptr"),
           py::arg("indices"), py::arg("values"))
      .def("precondition", py::overload_cast<Array>(&PreconditionedSystem::precondition),
           py::arg("r"))
      .def("solve", &PreconditionedSystem::solve, py::arg("rhs"), py::arg("residual_tolerance"),
           py::arg("error_tolerance"), py::arg("most_iterations"));
}
