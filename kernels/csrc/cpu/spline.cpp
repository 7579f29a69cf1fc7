#include "spline.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"

namespace equinet {

namespace {

constexpr int64_t kRowsPerTask = 32;

// Hermite's basis on [0, 1]: what value, slope and curvature at 0, then at 1, contribute; coefficients of 1, t, .., t^5.
constexpr double kBasis[6][6] = {
    {1, 0, 0, -10, 15, -6}, {0, 1, 0, -6, 8, -3},  {0, 0, 0.5, -1.5, 1.5, -0.5},
    {0, 0, 0, 10, -15, 6},  {0, 0, 0, -4, 7, -3}, {0, 0, 0, 0.5, -1, 0.5},
};

double derivative_at(const double* polynomial, int derivative, double t) {
    double value = 0.0;
    for (int power = 5; power >= derivative; --power) {
        double factor = polynomial[power];
        for (int n = 0; n < derivative; ++n) factor *= power - n;
        value = value * t + factor;
    }
    return value;
}

}  // namespace

template <class T>
void spline(int64_t edges, int64_t columns, int64_t knots, double spacing, int derivative, const double* lengths,
            const T* table, T* out, int threads) {
    parallel_for((edges + kRowsPerTask - 1) / kRowsPerTask, threads, [&] {
        return [&](int64_t task) {
            const int64_t end = std::min((task + 1) * kRowsPerTask, edges);
            for (int64_t e = task * kRowsPerTask; e < end; ++e) {
                T* row = out + e * columns;
                const double position = lengths[e] / spacing;
                if (!(position < static_cast<double>(knots - 1))) {
                    std::fill(row, row + columns, T(0));
                    continue;
                }
                const int64_t knot = std::max<int64_t>(0, static_cast<int64_t>(position));
                const T* from = table + knot * 3 * columns;
                T c[6];
                for (int n = 0; n < 6; ++n)  // a slope is per spacing here, a curvature per its square
                    c[n] = static_cast<T>(derivative_at(kBasis[n], derivative, position - knot) *
                                          std::pow(spacing, n % 3 - derivative));
                for (int64_t column = 0; column < columns; ++column) {
                    const T* at = from + column;
                    row[column] = c[0] * at[0] + c[1] * at[columns] + c[2] * at[2 * columns] +
                                  c[3] * at[3 * columns] + c[4] * at[4 * columns] + c[5] * at[5 * columns];
                }
            }
        };
    });
}

template void spline(int64_t, int64_t, int64_t, double, int, const double*, const float*, float*, int);
template void spline(int64_t, int64_t, int64_t, double, int, const double*, const double*, double*, int);

}  // namespace equinet
