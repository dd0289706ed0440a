// Exact nearest neighbors among points of a few dimensions.
//
// A k-d tree splits the points at the median of their widest dimension until a few are
// left.  Neighbors are ranked by distance and then by index, so that they depend neither on
// the shape of the tree nor on the number of threads.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

template <int kDims>
class KdTree {
 public:
  KdTree() = default;

  // `points` is n x kDims; the tree keeps a copy.
  KdTree(const double* points, int32_t n) {
    std::vector<Item> items(n);
    for (int32_t i = 0; i < n; ++i) {
      std::copy_n(points + size_t(i) * kDims, kDims, items[i].point.begin());
      items[i].index = i;
    }
    nodes_.reserve(size_t(n) / (kLeaf / 4) + 1);
    if (n > 0) build(items.data(), items.data() + n);
  }

  // For every point its k nearest others (k < n), nearest first: n x k indices.
  void nearest_others(int k, int32_t* neighbors) const {
    const int32_t leaves = int32_t(leaves_.size());
    std::vector<Neighbor> found(size_t(leaves) * k);
    // Points of one leaf search the same part of the tree, which stays in the cache.
#pragma omp parallel for schedule(dynamic, 16)
    for (int32_t leaf = 0; leaf < leaves; ++leaf) {
      Neighbor* best = &found[size_t(leaf) * k];
      for (int lane = 0; lane < leaves_[leaf].count; ++lane) {
        const int32_t index = leaves_[leaf].index[lane];
        std::fill(best, best + k, Neighbor{});
        search(leaf, lane, {best, best + k});
        for (int i = 0; i < k; ++i) neighbors[size_t(index) * k + i] = best[i].index;
      }
    }
  }

 private:
  static constexpr int kLeaf = 16;  // points; their distances are computed together

  using Point = std::array<double, kDims>;

  struct Item {
    Point point;
    int32_t index;
  };

  struct Neighbor {
    double distance = std::numeric_limits<double>::infinity();  // squared
    int32_t index = std::numeric_limits<int32_t>::max();

    bool operator<(const Neighbor& other) const {
      return distance < other.distance || (distance == other.distance && index < other.index);
    }
  };

  // The best so far, nearest first.
  struct Best {
    Neighbor *begin, *end;

    const Neighbor& worst() const { return end[-1]; }

    void offer(const Neighbor& found) const {
      if (!(found < worst())) return;
      Neighbor* place = end - 1;
      for (; place != begin && found < place[-1]; --place) *place = place[-1];
      *place = found;
    }
  };

  struct Leaf {
    double coordinate[kDims][kLeaf] = {};
    int32_t index[kLeaf] = {};
    int32_t count = 0;
  };

  struct Node {
    Point low, high;      // the box around its points
    int32_t leaf = -1;    // in `leaves_`; -1: an inner node, whose first child follows it,
    int32_t second = -1;  // and this is the other
  };

  int32_t build(Item* begin, Item* end) {
    const int32_t self = int32_t(nodes_.size());
    nodes_.push_back(box(begin, end));
    if (end - begin <= kLeaf) {
      nodes_[self].leaf = int32_t(leaves_.size());
      leaves_.push_back(leaf_of(begin, end));
      return self;
    }
    const Node& node = nodes_[self];
    int widest = 0;
    for (int d = 1; d < kDims; ++d)
      if (node.high[d] - node.low[d] > node.high[widest] - node.low[widest]) widest = d;
    Item* middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, [=](const Item& a, const Item& b) {
      return a.point[widest] < b.point[widest];
    });
    build(begin, middle);
    const int32_t second = build(middle, end);
    nodes_[self].second = second;
    return self;
  }

  static Node box(const Item* begin, const Item* end) {
    Node node;
    node.low = node.high = begin->point;
    for (const Item* item = begin; item != end; ++item)
      for (int d = 0; d < kDims; ++d) {
        node.low[d] = std::min(node.low[d], item->point[d]);
        node.high[d] = std::max(node.high[d], item->point[d]);
      }
    return node;
  }

  static Leaf leaf_of(const Item* begin, const Item* end) {
    Leaf leaf;
    for (const Item* item = begin; item != end; ++item, ++leaf.count) {
      leaf.index[leaf.count] = item->index;
      for (int d = 0; d < kDims; ++d) leaf.coordinate[d][leaf.count] = item->point[d];
    }
    return leaf;
  }

  // The nearest others of one point into `best`, which is filled with infinities.
  void search(int32_t home, int lane, Best best) const {
    Point point;
    for (int d = 0; d < kDims; ++d) point[d] = leaves_[home].coordinate[d][lane];
    visit_leaf(leaves_[home], point, lane, best);
    descend(0, point, home, best);
  }

  void descend(int32_t index, const Point& point, int32_t home,
               Best best) const {
    const Node& node = nodes_[index];
    if (node.leaf >= 0) {
      if (node.leaf != home) visit_leaf(leaves_[node.leaf], point, -1, best);
      return;
    }
    int32_t near = index + 1, far = node.second;
    double near_distance = distance_to(nodes_[near], point);
    double far_distance = distance_to(nodes_[far], point);
    if (far_distance < near_distance) {
      std::swap(near, far);
      std::swap(near_distance, far_distance);
    }
    // Equal distances are visited too, for the sake of smaller indices; the margin is
    // for the rounding of the distance to the box.
    constexpr double kMargin = 1.0 - 1e-12;
    if (near_distance * kMargin <= best.worst().distance) descend(near, point, home, best);
    if (far_distance * kMargin <= best.worst().distance) descend(far, point, home, best);
  }

  static double distance_to(const Node& box, const Point& point) {
    double total = 0.0;
    for (int d = 0; d < kDims; ++d) {
      const double outside = std::max({0.0, box.low[d] - point[d], point[d] - box.high[d]});
      total += outside * outside;
    }
    return total;
  }

  // Puts the points of a leaf but that in lane `self` among the best.
  static void visit_leaf(const Leaf& leaf, const Point& point, int self,
                         Best best) {
    double distance[kLeaf] = {};
    for (int d = 0; d < kDims; ++d)
#pragma omp simd
      for (int i = 0; i < kLeaf; ++i) {
        const double difference = leaf.coordinate[d][i] - point[d];
        distance[i] += difference * difference;
      }
    for (int i = 0; i < leaf.count; ++i)
      if (i != self) best.offer({distance[i], leaf.index[i]});
  }

  std::vector<Node> nodes_;
  std::vector<Leaf> leaves_;
};
