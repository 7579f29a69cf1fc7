// Real spherical harmonics of vectors, as equinet_kernels/harmonics/reference.py defines them; formulas: harmonics.cpp.
#pragma once

#include <cstdint>

namespace equinet {

// directions, d, d_dot, gd [E, 3]; y, g, gg [E, (l_max + 1)^2], l_max 0..6. Dense rows; results are overwritten, with the
// same bits whatever the number of threads.

template <class T>
void harmonics_forward(int l_max, int64_t edges, const T* directions, T* y, int threads);

// d: gradient of <g, y> by the directions.
template <class T>
void harmonics_backward(int l_max, int64_t edges, const T* g, const T* directions, T* d, int threads);

// Given the cotangent d_dot of d: the gradients of g and of the directions.
template <class T>
void harmonics_double_backward(int l_max, int64_t edges, const T* d_dot, const T* g, const T* directions, T* gg, T* gd,
                               int threads);

}  // namespace equinet
