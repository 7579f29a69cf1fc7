// Piecewise polynomials of degree 5 through values, slopes and curvatures at equidistant knots.
#pragma once

#include <cstdint>

namespace equinet {

// out [E, columns]: the given derivative (0..3) at lengths [E], from table [knots, 3, columns]. Beyond the last knot: 0.
template <class T>
void spline(int64_t edges, int64_t columns, int64_t knots, double spacing, int derivative, const double* lengths,
            const T* table, T* out, int threads);

}  // namespace equinet
