// Piecewise polynomials of degree 5 on equal intervals from 0 on: equinet_kernels/spline/reference.py.
#pragma once

#include <cstdint>

namespace equinet {

template <class T>
struct SplineTable {
    int64_t columns, intervals;
    double spacing;
    const T* coefficients;  // [intervals, 6, columns] of 1, t, .., t^5, t = 0..1 within the interval
};

// out [E, columns]: the given derivative (0..3) at lengths [E]. Beyond the last interval: 0.
template <class T>
void spline(const SplineTable<T>& table, int64_t edges, int derivative, const double* lengths, T* out, int threads);

// Values at one length and, if it is not null, slopes: [columns].
template <class T>
void spline_row(const SplineTable<T>& table, double length, T* values, T* slopes);

}  // namespace equinet
