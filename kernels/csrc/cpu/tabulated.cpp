#include "tabulated.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "harmonics.h"
#include "simd.h"

namespace equinet {

namespace {

constexpr int64_t kColumnsPerSum = 64;  // added in T, and their sums in double

struct Directions {
    std::vector<double> units, lengths;

    Directions(const double* vectors, int64_t edges) : units(edges * 3), lengths(edges) {
        for (int64_t e = 0; e < edges; ++e) {
            const double* v = vectors + e * 3;
            lengths[e] = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
            for (int i = 0; i < 3; ++i) units[e * 3 + i] = v[i] / lengths[e];
        }
    }
};

template <class T>
double dot(const T* a, const T* b, int64_t columns) {
    double sum = 0.0;
    int64_t column = 0;
    while (column + kLanes<T> <= columns) {
        const int64_t end = std::min(column + kColumnsPerSum, columns);
        Vec<T> part{};
        for (; column + kLanes<T> <= end; column += kLanes<T>)
            part += load<Vec<T>>(a + column) * load<Vec<T>>(b + column);
        T lanes[kLanes<T>];
        store(lanes, part);
        sum += static_cast<double>(sum_of_lanes(lanes));
    }
    for (; column < columns; ++column) sum += static_cast<double>(a[column]) * b[column];
    return sum;
}

int degree(const ConvPlan& plan) { return static_cast<int>(std::lround(std::sqrt(plan.y_dim))) - 1; }

}  // namespace

template <class T>
void TabulatedEdges<T>::make(int64_t first, int64_t edges, T* y, T* w, T* w_slope) const {
    const Directions directions(vectors_ + first * 3, edges);
    std::vector<double> exact(edges * plan_.y_dim);
    harmonics_forward(degree(plan_), edges, directions.units.data(), exact.data(), 1);
    for (std::size_t n = 0; n < exact.size(); ++n) y[n] = static_cast<T>(exact[n]);
    for (int64_t e = 0; e < edges; ++e)
        spline_row(table_, directions.lengths[e], w + e * plan_.w_dim, w_slope ? w_slope + e * plan_.w_dim : nullptr);
}

template <class T>
void TabulatedEdges<T>::take(int64_t first, int64_t edges, const T* dy, const T* dw, const T* w_slope) const {
    const Directions directions(vectors_ + first * 3, edges);
    const std::vector<double> exact(dy, dy + edges * plan_.y_dim);
    std::vector<double> along(edges * 3);
    harmonics_backward(degree(plan_), edges, exact.data(), directions.units.data(), along.data(), 1);
    for (int64_t e = 0; e < edges; ++e) {
        const double *u = directions.units.data() + e * 3, *d = along.data() + e * 3;
        const double radial = dot(dw + e * plan_.w_dim, w_slope + e * plan_.w_dim, plan_.w_dim);
        const double outward = d[0] * u[0] + d[1] * u[1] + d[2] * u[2];
        for (int i = 0; i < 3; ++i)  // turning the vector changes the harmonics, stretching it the weights
            dvectors_[(first + e) * 3 + i] = (d[i] - outward * u[i]) / directions.lengths[e] + radial * u[i];
    }
}

template class TabulatedEdges<float>;
template class TabulatedEdges<double>;

}  // namespace equinet
