// Numbers too small for a normal float or double count as zero while one of these lives.
//
// A factor's entries fall off by orders of magnitude from pixel to pixel, so that products of
// distant ones are far below any accuracy.  Where they are subnormal, some processors take a
// hundred cycles for each: a factorization at 600 x 800 with nothing known took three times as
// long with them (Intel Xeon, Sapphire Rapids).

#pragma once

#include <omp.h>

#include <vector>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

class FlushSubnormals {
 public:
  // For all threads that this one starts parallel regions with, until the end of its life.
  FlushSubnormals() {
#ifdef __SSE__
    // A thread that joins later gets the calling one's.
    saved_.assign(omp_get_max_threads(), _mm_getcsr());
    each_thread([](unsigned& saved) {
      saved = _mm_getcsr();
      _mm_setcsr(saved | kFlushResults | kZeroOperands);
    });
#endif
  }
  ~FlushSubnormals() {
#ifdef __SSE__
    each_thread([](unsigned saved) { _mm_setcsr(saved); });
#endif
  }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  static constexpr unsigned kFlushResults = 0x8000, kZeroOperands = 0x0040;  // bits of MXCSR

  template <typename Action>
  void each_thread(const Action& action) {
#pragma omp parallel num_threads(int(saved_.size()))
    action(saved_[omp_get_thread_num()]);
  }

  std::vector<unsigned> saved_;
};
