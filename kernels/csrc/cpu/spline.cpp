#include "spline.h"

#include <algorithm>

#include "parallel.h"
#include "simd.h"

namespace equinet {

namespace {

constexpr int64_t kRowsPerTask = 32;

// Where a length is among the intervals.
struct Place {
    bool inside;  // not beyond the last
    int64_t interval;
    double t;
};

template <class T>
Place place_of(const SplineTable<T>& table, double length) {
    const double position = length / table.spacing;
    if (!(position < static_cast<double>(table.intervals))) return {false, 0, 0.0};
    const int64_t interval = std::max<int64_t>(0, static_cast<int64_t>(position));
    return {true, interval, position - static_cast<double>(interval)};
}

// What is multiplied with the six coefficients.
template <class T>
struct Powers {
    T c[6];

    Powers(const Place& place, double spacing, int derivative) {
        double power = 1.0;  // of t, divided by the power of the spacing that a derivative brings
        for (int n = 0; n < derivative; ++n) power /= spacing;
        for (int n = 0; n < 6; ++n) {
            double factor = n < derivative ? 0.0 : power;
            for (int m = 0; m < derivative; ++m) factor *= n - m;
            c[n] = static_cast<T>(factor);
            if (n >= derivative) power *= place.t;
        }
    }

    template <class V>
    V at(const T* coefficients, int64_t columns) const {
        V sum = c[5] * load<V>(coefficients + 5 * columns);  // from the least on
        EQUINET_UNROLL
        for (int n = 4; n >= 0; --n) sum = sum + c[n] * load<V>(coefficients + n * columns);
        return sum;
    }
};

template <class T>
void write_row(const Powers<T>& powers, const T* coefficients, int64_t columns, T* row) {
    int64_t column = 0;
    for (; column + kLanes<T> <= columns; column += kLanes<T>)
        store(row + column, powers.template at<Vec<T>>(coefficients + column, columns));
    for (; column < columns; ++column) row[column] = powers.template at<T>(coefficients + column, columns);
}

}  // namespace

template <class T>
void spline_row(const SplineTable<T>& table, double length, T* values, T* slopes) {
    const int64_t columns = table.columns;
    const Place place = place_of(table, length);
    if (!place.inside) {
        std::fill(values, values + columns, T(0));
        if (slopes) std::fill(slopes, slopes + columns, T(0));
        return;
    }
    const T* coefficients = table.coefficients + place.interval * 6 * columns;
    const Powers<T> value(place, table.spacing, 0);
    if (!slopes) return write_row(value, coefficients, columns, values);
    const Powers<T> slope(place, table.spacing, 1);
    int64_t column = 0;
    for (; column + kLanes<T> <= columns; column += kLanes<T>) {  // together: the table is read once
        store(values + column, value.template at<Vec<T>>(coefficients + column, columns));
        store(slopes + column, slope.template at<Vec<T>>(coefficients + column, columns));
    }
    for (; column < columns; ++column) {
        values[column] = value.template at<T>(coefficients + column, columns);
        slopes[column] = slope.template at<T>(coefficients + column, columns);
    }
}

template <class T>
void spline(const SplineTable<T>& table, int64_t edges, int derivative, const double* lengths, T* out, int threads) {
    const int64_t columns = table.columns;
    parallel_for((edges + kRowsPerTask - 1) / kRowsPerTask, threads, [&] {
        return [&](int64_t task) {
            const int64_t end = std::min((task + 1) * kRowsPerTask, edges);
            for (int64_t e = task * kRowsPerTask; e < end; ++e) {
                T* row = out + e * columns;
                const Place place = place_of(table, lengths[e]);
                if (place.inside)
                    write_row(Powers<T>(place, table.spacing, derivative),
                              table.coefficients + place.interval * 6 * columns, columns, row);
                else
                    std::fill(row, row + columns, T(0));
            }
        };
    });
}

#define EQUINET_INSTANTIATE(T)                                                              \
    template void spline(const SplineTable<T>&, int64_t, int, const double*, T*, int);      \
    template void spline_row(const SplineTable<T>&, double, T*, T*);
EQUINET_INSTANTIATE(float)
EQUINET_INSTANTIATE(double)

}  // namespace equinet
