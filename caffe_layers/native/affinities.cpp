// Affinities between pixels by color and place; see caffe_layers/affinities.py.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kd_tree.h"

namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Search = std::pair<Array, int>;  // points, and how many neighbors each has

namespace {

constexpr int kFeatures = 5;  // three colors, two coordinates

void check(const Array& points, int k) {
  if (points.ndim() != 2 || points.shape(1) != kFeatures)
    throw std::invalid_argument("the points must have shape (n, 5)");
  if (points.shape(0) > INT32_MAX / 16)
    throw std::invalid_argument("there are too many points for 32-bit indices");
  if (k < 1 || k >= points.shape(0))
    throw std::invalid_argument("the number of neighbors must be at least 1 and below n");
  const double* coordinates = points.data();
  for (py::ssize_t i = 0; i < points.size(); ++i)
    if (!std::isfinite(coordinates[i])) throw std::invalid_argument("the points are not finite");
}

// Indices (n, k) of the k nearest other points, nearest first, ties by index.
py::array_t<int32_t> nearest_others(Array points, int k) {
  check(points, k);
  const py::ssize_t n = points.shape(0);
  py::array_t<int32_t> result({n, py::ssize_t(k)});
  int32_t* neighbors = result.mutable_data();
  py::gil_scoped_release release;
  KdTree<kFeatures>(points.data(), int32_t(n)).nearest_others(k, neighbors);
  return result;
}

// max(0, 1 - |a - b|_1 / 5)
double affinity(const double* a, const double* b) {
  double distance = 0.0;
  for (int d = 0; d < kFeatures; ++d) distance += std::abs(a[d] - b[d]);
  return std::max(0.0, 1.0 - distance / kFeatures);
}

// The neighbors of all points in all searches.
struct Neighbors {
  const double* points;
  int count;  // of each point
  std::vector<int32_t> indices;

  // Calls action(i, j, half the affinity) for every point i and neighbor j, both ways round.
  template <typename Action>
  void each_direction(int32_t n, const Action& action) const {
    for (int32_t i = 0; i < n; ++i)
      for (int k = 0; k < count; ++k) {
        const int32_t j = indices[size_t(i) * count + k];
        const double half = 0.5 * affinity(points + size_t(i) * kFeatures,
                                           points + size_t(j) * kFeatures);
        action(i, j, half), action(j, i, half);
      }
  }
};

void find_neighbors(int32_t n, std::vector<Neighbors>& searches) {
  std::vector<KdTree<kFeatures>> trees(searches.size());
  bool failed = false;  // no exception may leave a parallel loop
#pragma omp parallel for schedule(dynamic) reduction(|| : failed)
  for (size_t s = 0; s < searches.size(); ++s) {
    try {
      trees[s] = KdTree<kFeatures>(searches[s].points, n);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  }
  if (failed) throw std::bad_alloc();
  for (size_t s = 0; s < searches.size(); ++s) {
    searches[s].indices.resize(size_t(n) * searches[s].count);
    trees[s].nearest_others(searches[s].count, searches[s].indices.data());
  }
}

struct Entry {
  int32_t column;
  double value;

  bool operator<(const Entry& other) const {
    return column < other.column || (column == other.column && value < other.value);
  }
};

// Sorts a row of weights (which has one entry of its own column, 0, for the diagonal), adds up
// equal columns and turns it into a row of diag(W 1) - W.  Returns how many entries remain.
int32_t finish_row(Entry* row, int32_t count, int32_t own) {
  std::sort(row, row + count);
  double degree = 0.0;
  int32_t last = -1, diagonal = -1;
  for (int32_t k = 0; k < count; ++k) {
    const Entry entry = row[k];
    degree += entry.value;
    if (last >= 0 && row[last].column == entry.column)
      row[last].value -= entry.value;
    else
      row[++last] = {entry.column, -entry.value};
    if (entry.column == own) diagonal = last;
  }
  row[diagonal].value = degree;
  return last + 1;
}

// diag(W 1) - W as CSR (indptr, indices, values), columns ascending.  W is symmetric: half the
// affinity of every point to each of its neighbors, and as much back, summed over the searches.
py::tuple laplacian_of_neighbors(const std::vector<Search>& searches) {
  if (searches.empty()) throw std::invalid_argument("there is no search");
  for (const auto& [points, k] : searches) {
    check(points, k);
    if (points.shape(0) != searches[0].first.shape(0))
      throw std::invalid_argument("the searches differ in their number of points");
  }
  const int32_t n = int32_t(searches[0].first.shape(0));
  std::vector<Neighbors> found;
  for (const auto& [points, k] : searches) found.push_back({points.data(), k, {}});

  std::vector<Entry> entries;
  std::vector<int64_t> first(size_t(n) + 1, 0);  // of every row, in `entries`
  std::vector<int32_t> kept(size_t(n) + 1, 0);
  {
    py::gil_scoped_release release;
    find_neighbors(n, found);
    for (int32_t i = 0; i < n; ++i) first[i + 1] = 1;  // the diagonal
    for (const Neighbors& each : found)
      for (size_t e = 0; e < each.indices.size(); ++e)
        ++first[e / each.count + 1], ++first[each.indices[e] + 1];
    for (int32_t i = 0; i < n; ++i) first[i + 1] += first[i];
    entries.resize(first[n]);
    std::vector<int64_t> next(first.begin(), first.end() - 1);
    for (int32_t i = 0; i < n; ++i) entries[next[i]++] = {i, 0.0};
    for (const Neighbors& each : found)
      each.each_direction(n, [&](int32_t i, int32_t j, double half) {
        entries[next[i]++] = {j, half};
      });
#pragma omp parallel for schedule(static, 1024)
    for (int32_t i = 0; i < n; ++i)
      kept[i + 1] = finish_row(&entries[first[i]], int32_t(first[i + 1] - first[i]), i);
    for (int32_t i = 0; i < n; ++i) kept[i + 1] += kept[i];
  }

  py::array_t<int32_t> indptr(py::ssize_t(n) + 1), indices(kept[n]);
  Array values(kept[n]);
  std::copy(kept.begin(), kept.end(), indptr.mutable_data());
  int32_t* columns = indices.mutable_data();
  double* numbers = values.mutable_data();
  {
    py::gil_scoped_release release;
#pragma omp parallel for schedule(static, 1024)
    for (int32_t i = 0; i < n; ++i)
      for (int32_t k = kept[i]; k < kept[i + 1]; ++k) {
        const Entry& entry = entries[first[i] + k - kept[i]];
        columns[k] = entry.column, numbers[k] = entry.value;
      }
  }
  return py::make_tuple(indptr, indices, values);
}

}  // namespace

PYBIND11_MODULE(_affinities, m) {
  m.doc() = "Affinities between pixels; see caffe_layers/affinities.py.";
  m.def("nearest_others", &nearest_others, py::arg("points"), py::arg("k"));
  m.def("laplacian_of_neighbors", &laplacian_of_neighbors, py::arg("searches"));
}
