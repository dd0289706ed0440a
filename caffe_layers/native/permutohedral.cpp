// High-dimensional Gaussian filter on the permutohedral lattice (Adams, Baek and Davis 2010);
// see caffe_layers/permutohedral.py.
//
// K = slice · blur_d ··· blur_0 · splat.  Splat and slice are each other's transposes and every
// single blur is symmetric, so K^T is the same with the axes in reverse order.  All three are
// written as gathers: every number is summed by one thread, in an order that does not depend on
// how many threads there are.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace py = pybind11;
using Features = py::array_t<double, py::array::c_style | py::array::forcecast>;
template <typename T>
using Values = py::array_t<T, py::array::c_style>;

namespace {

constexpr int kMostDimensions = 6;
constexpr int kBlock = 4;  // channels that are filtered at once, one SIMD register of floats
// Coordinates of vertices stay within int32, and differences of doubles within exact ones.
constexpr double kLargestCoordinate = 1e8;

// The simplex around a point: its d + 1 vertices, and the point's barycentric weights.  A vertex
// has d + 1 coordinates whose sum is 0: the first d identify it.
template <int D>
struct Simplex {
  std::array<std::array<int32_t, D>, D + 1> keys;
  std::array<double, D + 1> weights;
};

template <int D>
Simplex<D> enclosing_simplex(const double* feature) {
  // Lifted to the plane of coordinate sum 0 in D + 1 dimensions, scaled so that the blurs add up
  // to the variance of exp(-|x|^2 / 2).
  double lifted[D + 1], sum = 0.0;
  for (int i = D; i > 0; --i) {
    const double c =
        feature[i - 1] * (D + 1) * std::sqrt(2.0 / 3.0) / std::sqrt(double(i) * (i + 1));
    lifted[i] = sum - i * c;
    sum += c;
  }
  lifted[0] = sum;

  // The nearest point of remainder 0, and by how much its coordinates miss the sum 0.
  int32_t nearest[D + 1], excess = 0;
  for (int i = 0; i <= D; ++i) {
    const int32_t cell = int32_t(std::lround(lifted[i] / (D + 1)));
    nearest[i] = cell * (D + 1);
    excess += cell;
  }
  // The rank of each coordinate's remainder, the largest first.
  int rank[D + 1] = {};
  for (int i = 0; i < D; ++i)
    for (int j = i + 1; j <= D; ++j)
      ++rank[lifted[i] - nearest[i] < lifted[j] - nearest[j] ? i : j];
  for (int i = 0; i <= D; ++i) {
    rank[i] += excess;
    if (rank[i] < 0)
      rank[i] += D + 1, nearest[i] += D + 1;
    else if (rank[i] > D)
      rank[i] -= D + 1, nearest[i] -= D + 1;
  }

  Simplex<D> simplex;
  double barycentric[D + 2] = {};
  for (int i = 0; i <= D; ++i) {
    const double remainder = (lifted[i] - nearest[i]) / (D + 1);
    barycentric[D - rank[i]] += remainder;
    barycentric[D + 1 - rank[i]] -= remainder;
  }
  barycentric[0] += 1.0 + barycentric[D + 1];
  for (int k = 0; k <= D; ++k) {
    simplex.weights[k] = barycentric[k];
    for (int i = 0; i < D; ++i)
      simplex.keys[k][i] = nearest[i] + (rank[i] <= D - k ? k : k - (D + 1));
  }
  return simplex;
}

// Numbers of vertices by key, in the order of their first appearance.
template <int D>
class VertexTable {
 public:
  using Key = std::array<int32_t, D>;

  VertexTable() : slots_(1 << 12, -1) {}

  int32_t find(const Key& key) const { return slots_[slot(key)]; }

  int32_t find_or_add(const Key& key) {
    size_t place = slot(key);
    if (slots_[place] < 0) {
      if (2 * (keys_.size() + 1) > slots_.size()) {
        grow();
        place = slot(key);
      }
      slots_[place] = int32_t(keys_.size());
      keys_.push_back(key);
    }
    return slots_[place];
  }

  const std::vector<Key>& keys() const { return keys_; }

 private:
  // Where the key is, or would be.
  size_t slot(const Key& key) const {
    uint64_t hash = 0;
    for (const int32_t coordinate : key) {
      hash = (hash ^ uint32_t(coordinate)) * 0x9e3779b97f4a7c15ULL;
      hash ^= hash >> 32;
    }
    size_t place = hash & (slots_.size() - 1);
    while (slots_[place] >= 0 && keys_[slots_[place]] != key)
      place = (place + 1) & (slots_.size() - 1);
    return place;
  }

  void grow() {
    slots_.assign(slots_.size() * 2, -1);
    for (size_t vertex = 0; vertex < keys_.size(); ++vertex)
      slots_[slot(keys_[vertex])] = int32_t(vertex);
  }

  std::vector<int32_t> slots_;  // a power of two
  std::vector<Key> keys_;
};

class Lattice {
 public:
  explicit Lattice(const Features& features) {
    if (features.ndim() != 2 || features.shape(0) < 1)
      throw std::invalid_argument("the features must have shape (n, d), n at least 1");
    if (features.shape(0) > INT32_MAX / (kMostDimensions + 1))
      throw std::invalid_argument("there are too many points for 32-bit indices");
    if (features.shape(1) < 1 || features.shape(1) > kMostDimensions)
      throw std::invalid_argument("the features must have 1 to 6 dimensions");
    points_ = int32_t(features.shape(0));
    dimensions_ = int(features.shape(1));
    const double* numbers = features.data();
    for (py::ssize_t i = 0; i < features.size(); ++i)
      if (!(std::abs(numbers[i]) < kLargestCoordinate))
        throw std::invalid_argument("the features are not finite, or larger than 1e8");
    py::gil_scoped_release release;
    switch (dimensions_) {
      case 1:
        build<1>(numbers);
        break;
      case 2:
        build<2>(numbers);
        break;
      case 3:
        build<3>(numbers);
        break;
      case 4:
        build<4>(numbers);
        break;
      case 5:
        build<5>(numbers);
        break;
      case 6:
        build<6>(numbers);
        break;
    }
  }

  int32_t points() const { return points_; }
  int32_t vertices() const { return vertices_; }

  // K values, or K^T values, of every row of a (channels, n) array.
  template <typename T>
  Values<T> apply(const Values<T>& values, bool transposed) const {
    if (values.ndim() != 2 || values.shape(1) != points_)
      throw std::invalid_argument("the values must have shape (channels, n)");
    const py::ssize_t channels = values.shape(0);
    Values<T> result({channels, py::ssize_t(points_)});
    const T* in = values.data();
    T* out = result.mutable_data();
    py::gil_scoped_release release;
    for (py::ssize_t c = 0; c < channels; c += kBlock)
      apply_block(in + c * points_, out + c * points_,
                  int(std::min<py::ssize_t>(kBlock, channels - c)), transposed);
    return result;
  }

 private:
  template <typename T>
  struct Block {
    T value[kBlock];
  };

  template <int D>
  void build(const double* features) {
    VertexTable<D> table;
    const size_t entries = size_t(points_) * (D + 1);
    corners_.resize(entries);
    weights_.resize(entries);
    // One thread: the numbers of the vertices are those of the order of the points.
    for (int32_t p = 0; p < points_; ++p) {
      const Simplex<D> simplex = enclosing_simplex<D>(features + size_t(p) * D);
      for (int k = 0; k <= D; ++k) {
        corners_[size_t(p) * (D + 1) + k] = table.find_or_add(simplex.keys[k]);
        weights_[size_t(p) * (D + 1) + k] = float(simplex.weights[k]);
      }
    }
    vertices_ = int32_t(table.keys().size());
    find_neighbors(table);
    list_points_by_vertex();
  }

  template <int D>
  void find_neighbors(const VertexTable<D>& table) {
    neighbors_.resize(size_t(vertices_) * 2 * (D + 1));
#pragma omp parallel for schedule(static)
    for (int32_t v = 0; v < vertices_; ++v)
      for (int axis = 0; axis <= D; ++axis)
        for (int side = 0; side < 2; ++side) {
          auto key = table.keys()[v];
          const int32_t sign = side ? 1 : -1;
          for (int i = 0; i < D; ++i) key[i] += i == axis ? -sign * D : sign;
          const int32_t found = table.find(key);
          neighbors_[(size_t(axis) * vertices_ + v) * 2 + side] = found < 0 ? vertices_ : found;
        }
  }

  // The transpose of `corners_`, points ascending.
  void list_points_by_vertex() {
    first_.assign(size_t(vertices_) + 1, 0);
    for (const int32_t corner : corners_) ++first_[corner + 1];
    for (int32_t v = 0; v < vertices_; ++v) first_[v + 1] += first_[v];
    listed_.resize(corners_.size());
    std::vector<int64_t> next(first_.begin(), first_.end() - 1);
    for (size_t e = 0; e < corners_.size(); ++e) listed_[next[corners_[e]]++] = int32_t(e);
  }

  template <typename T>
  void apply_block(const T* in, T* out, int channels, bool transposed) const {
    const int corners = dimensions_ + 1;
    std::vector<Block<T>> points(points_, Block<T>{});
#pragma omp parallel for schedule(static)
    for (int32_t p = 0; p < points_; ++p)
      for (int c = 0; c < channels; ++c) points[p].value[c] = in[size_t(c) * points_ + p];

    // One vertex more, which is always 0: the neighbor of those that have none.
    std::vector<Block<T>> now(size_t(vertices_) + 1, Block<T>{}), next(now);
#pragma omp parallel for schedule(static)
    for (int32_t v = 0; v < vertices_; ++v) {  // splat
      Block<T> sum{};
      for (int64_t e = first_[v]; e < first_[v + 1]; ++e) {
        const T weight = T(weights_[listed_[e]]);
        const Block<T>& point = points[listed_[e] / corners];
        for (int c = 0; c < kBlock; ++c) sum.value[c] += weight * point.value[c];
      }
      now[v] = sum;
    }
    for (int step = 0; step < corners; ++step) {  // blur
      const int axis = transposed ? corners - 1 - step : step;
      const int32_t* neighbors = &neighbors_[size_t(axis) * vertices_ * 2];
#pragma omp parallel for schedule(static)
      for (int32_t v = 0; v < vertices_; ++v) {
        const Block<T>&a = now[neighbors[size_t(v) * 2]], &b = now[neighbors[size_t(v) * 2 + 1]];
        for (int c = 0; c < kBlock; ++c)
          next[v].value[c] = now[v].value[c] + T(0.5) * (a.value[c] + b.value[c]);
      }
      now.swap(next);
    }
    const T scale = T(1.0 / (1.0 + std::pow(2.0, -dimensions_)));
#pragma omp parallel for schedule(static)
    for (int32_t p = 0; p < points_; ++p) {  // slice
      Block<T> sum{};
      for (int k = 0; k < corners; ++k) {
        const T weight = T(weights_[size_t(p) * corners + k]);
        const Block<T>& vertex = now[corners_[size_t(p) * corners + k]];
        for (int c = 0; c < kBlock; ++c) sum.value[c] += weight * vertex.value[c];
      }
      for (int c = 0; c < channels; ++c) out[size_t(c) * points_ + p] = scale * sum.value[c];
    }
  }

  int32_t points_ = 0, vertices_ = 0;
  int dimensions_ = 0;
  std::vector<int32_t> corners_;    // of every point, d + 1 vertices
  std::vector<float> weights_;      // and the point's weights of them
  std::vector<int64_t> first_;      // of every vertex, in `listed_`
  std::vector<int32_t> listed_;     // places in `corners_`, by vertex
  std::vector<int32_t> neighbors_;  // by axis and vertex, two; `vertices_` where there is none
};

}  // namespace

PYBIND11_MODULE(_permutohedral, m) {
  m.doc() = "Gaussian filter on the permutohedral lattice; see caffe_layers/permutohedral.py.";
  py::class_<Lattice>(m, "Lattice")
      .def(py::init<const Features&>(), py::arg("features"))
      .def_property_readonly("points", &Lattice::points)
      .def_property_readonly("vertices", &Lattice::vertices)
      .def("apply", &Lattice::apply<float>, py::arg("values").noconvert(), py::arg("transposed"))
      .def("apply", &Lattice::apply<double>, py::arg("values").noconvert(), py::arg("transposed"));
}
