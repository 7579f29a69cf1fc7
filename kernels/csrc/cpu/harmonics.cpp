// Each lane of a vector is an edge.
//
// With zeta = z + i x (y is the polar axis), r^2 = x^2 + y^2 + z^2, and for each order m >= 0
//
//     Y_{l,m} + i Y_{l,-m} = q_l t_m,    t_0 = 1,  t_m = top_m zeta t_{m-1},
//                                        q_m = 1,  q_l = a y q_{l-1} - b r^2 q_{l-2}
//
// all components are homogeneous polynomials of the vector: the same ones as those of the reference, off the unit sphere too.
// Their derivatives are harmonics of the degree below. With C + i S = Y_{l-1,m} + i Y_{l-1,-m}, the gradient d of
// <g, Y_l> is the sum over m = 0..l-1 of
//
//     d_y:  polar (g_m C + g_-m S)
//     d_z:  up (g_{m+1} C + g_{-m-1} S) - down (g_{m-1} C + g_{-m+1} S)
//     d_x:  up (g_{-m-1} C - g_{m+1} S) + down (g_{-m+1} C - g_{m-1} S)
//
// where nothing stands for orders -0. It is linear in g and in Y: double backward, which differentiates <d, d_dot> by g and
// by the vector, gives the derivative of Y along d_dot, and d with that in the place of Y. Dual numbers carry it along.
#include "harmonics.h"

#include <algorithm>
#include <cmath>

#include "coupling.h"
#include "parallel.h"
#include "simd.h"

namespace equinet {

namespace {

constexpr int64_t kEdgesPerTask = 1024;
constexpr int kMostRows = (kMaxDegree + 1) * (kMaxDegree + 1);

template <class T>
struct Coefficients {
    T top[kMaxDegree + 1];
    T a[kMaxDegree + 1][kMaxDegree + 1], b[kMaxDegree + 1][kMaxDegree + 1];  // [l][m] of Y_lm
    T polar[kMaxDegree + 1][kMaxDegree + 1], up[kMaxDegree + 1][kMaxDegree + 1],
        down[kMaxDegree + 1][kMaxDegree + 1];  // [l][m] of Y_l and the m of Y_{l-1}

    Coefficients() {
        for (int m = 1; m <= kMaxDegree; ++m) top[m] = root(m == 1 ? 3.0 : (2.0 * m + 1) / (2 * m));
        for (int l = 1; l <= kMaxDegree; ++l)
            for (int m = 0; m < l; ++m) {
                const double norm = (2.0 * l + 1) / (2 * l - 1), both = l * l - m * m;
                a[l][m] = root((4.0 * l * l - 1) / both);
                b[l][m] = l == m + 1 ? T(0) : root((2.0 * l + 1) * ((l - 1) * (l - 1) - m * m) / ((2 * l - 3) * both));
                polar[l][m] = root(norm * both);
                up[l][m] = root(norm * (l + m + 1) * (l + m) / (m == 0 ? 2 : 4));
                down[l][m] = m == 0 ? T(0) : root(norm * (l - m + 1) * (l - m) / (m == 1 ? 2 : 4));
            }
    }

    static T root(double square) { return static_cast<T>(std::sqrt(square)); }
};

template <class T>
const Coefficients<T>& coefficients() {
    static const Coefficients<T> all;
    return all;
}

// A value and its derivative along d_dot.
template <class V>
struct Dual {
    V value, dot;
};

template <class V>
inline Dual<V> operator*(const Dual<V>& a, const Dual<V>& b) {
    return {a.value * b.value, a.value * b.dot + a.dot * b.value};
}
template <class T, class V>
inline Dual<V> operator*(T a, const Dual<V>& b) {
    return {a * b.value, a * b.dot};
}
template <class V>
inline Dual<V> operator+(const Dual<V>& a, const Dual<V>& b) {
    return {a.value + b.value, a.dot + b.dot};
}
template <class V>
inline Dual<V> operator-(const Dual<V>& a, const Dual<V>& b) {
    return {a.value - b.value, a.dot - b.dot};
}

template <class T>
inline Vec<T> one(T, Vec<T>) {
    return Vec<T>{} + T(1);
}
template <class T>
inline Dual<Vec<T>> one(T, Dual<Vec<T>>) {
    return {Vec<T>{} + T(1), Vec<T>{}};
}

// Calls visit(l, m, C, S) for C = Y_{l,m} and S = Y_{l,-m}, which is 0 for m = 0, once for each m >= 0. N: Vec<T> or Dual.
template <class T, class N, class Visit>
inline void for_each_harmonic(int l_max, const N& x, const N& y, const N& z, const Visit& visit) {
    const Coefficients<T>& c = coefficients<T>();
    const N square = x * x + y * y + z * z;
    N top_re = one(T(0), N{}), top_im{};
    for (int m = 0; m <= l_max; ++m) {
        if (m > 0) {
            const N re = c.top[m] * (z * top_re - x * top_im);
            top_im = c.top[m] * (z * top_im + x * top_re);
            top_re = re;
        }
        visit(m, m, top_re, top_im);
        N before{}, q = one(T(0), N{});
        for (int l = m + 1; l <= l_max; ++l) {
            const N next = c.a[l][m] * (y * q) - c.b[l][m] * (square * before);
            before = q;
            q = next;
            visit(l, m, q * top_re, q * top_im);
        }
    }
}

// The gradient of <g, Y> by the vector, from all Y_{l-1}, one after the other. g: rows of kLanes.
template <class T>
struct Gradient {
    using V = Vec<T>;
    const T* g;
    V x{}, y{}, z{};

    // l: of g, one above that of C and S.
    inline void add(int l, int m, const V& cosine, const V& sine) {
        const Coefficients<T>& c = coefficients<T>();
        const T* row = g + (l * l + l) * kLanes<T>;
        const auto at = [row](int order) { return load<V>(row + order * kLanes<T>); };
        y += c.polar[l][m] * (at(m) * cosine + at(-m) * sine);
        const V up = at(m + 1), up_sine = at(-m - 1);
        z += c.up[l][m] * (up * cosine + up_sine * sine);
        x += c.up[l][m] * (up_sine * cosine - up * sine);
        if (m == 0) return;
        const V down = at(m - 1), down_sine = m == 1 ? V{} : at(-m + 1);
        z -= c.down[l][m] * (down * cosine + down_sine * sine);
        x += c.down[l][m] * (down_sine * cosine - down * sine);
    }

    inline void store_to(T* columns) const {
        store(columns, x);
        store(columns + kLanes<T>, y);
        store(columns + 2 * kLanes<T>, z);
    }
};

// Rows of up to kLanes edges to one vector for each column, and back. Lanes beyond the edges repeat the last one.
template <class T>
void to_columns(const T* rows, int width, int64_t edges, T* columns) {
    constexpr int L = kLanes<T>;
    int64_t starts[L];
    for (int e = 0; e < L; ++e) starts[e] = std::min<int64_t>(e, edges - 1) * width;
    for (int j = 0; j < width; ++j) {
        Vec<T> column{};
        EQUINET_UNROLL
        for (int e = 0; e < L; ++e) column[e] = rows[starts[e] + j];
        store(columns + j * L, column);
    }
}

template <class T>
void to_rows(const T* columns, int width, int64_t edges, T* rows) {
    for (int64_t e = 0; e < edges; ++e)
        for (int j = 0; j < width; ++j) rows[e * width + j] = columns[j * kLanes<T> + e];
}

// Room for kLanes edges.
template <class T>
struct Columns {
    alignas(kVectorBytes) T data[kMostRows * kLanes<T>];
    Vec<T> operator[](int column) const { return load<Vec<T>>(data + column * kLanes<T>); }
};

// Calls make_chunk() once in each thread, and what it returns with (first edge, number of edges) for all chunks of up to
// kLanes edges.
template <class T, class MakeChunk>
void for_chunks(int64_t edges, int threads, const MakeChunk& make_chunk) {
    parallel_for((edges + kEdgesPerTask - 1) / kEdgesPerTask, threads, [&] {
        return [&, chunk = make_chunk()](int64_t task) mutable {
            const int64_t end = std::min((task + 1) * kEdgesPerTask, edges);
            for (int64_t e = task * kEdgesPerTask; e < end; e += kLanes<T>)
                chunk(e, std::min<int64_t>(kLanes<T>, end - e));
        };
    });
}

}  // namespace

template <class T>
void harmonics_forward(int l_max, int64_t edges, const T* directions, T* y, int threads) {
    const int width = (l_max + 1) * (l_max + 1);
    for_chunks<T>(edges, threads, [&] {
        return [&, v = Columns<T>(), result = Columns<T>()](int64_t e, int64_t number) mutable {
            to_columns(directions + e * 3, 3, number, v.data);
            for_each_harmonic<T>(l_max, v[0], v[1], v[2], [&](int l, int m, const Vec<T>& c, const Vec<T>& s) {
                store(result.data + (l * l + l - m) * kLanes<T>, s);
                store(result.data + (l * l + l + m) * kLanes<T>, c);  // the second, since both are one for m = 0
            });
            to_rows(result.data, width, number, y + e * width);
        };
    });
}

template <class T>
void harmonics_backward(int l_max, int64_t edges, const T* g, const T* directions, T* d, int threads) {
    const int width = (l_max + 1) * (l_max + 1);
    for_chunks<T>(edges, threads, [&] {
        return [&, v = Columns<T>(), cotangent = Columns<T>()](int64_t e, int64_t number) mutable {
            to_columns(directions + e * 3, 3, number, v.data);
            to_columns(g + e * width, width, number, cotangent.data);
            Gradient<T> gradient{cotangent.data};
            for_each_harmonic<T>(l_max - 1, v[0], v[1], v[2], [&](int l, int m, const Vec<T>& c, const Vec<T>& s) {
                gradient.add(l + 1, m, c, s);
            });
            gradient.store_to(v.data);
            to_rows(v.data, 3, number, d + e * 3);
        };
    });
}

template <class T>
void harmonics_double_backward(int l_max, int64_t edges, const T* d_dot, const T* g, const T* directions, T* gg, T* gd,
                               int threads) {
    const int width = (l_max + 1) * (l_max + 1);
    using D = Dual<Vec<T>>;
    for_chunks<T>(edges, threads, [&] {
        return [&, v = Columns<T>(), v_dot = Columns<T>(), cotangent = Columns<T>(),
                result = Columns<T>()](int64_t e, int64_t number) mutable {
            to_columns(directions + e * 3, 3, number, v.data);
            to_columns(d_dot + e * 3, 3, number, v_dot.data);
            to_columns(g + e * width, width, number, cotangent.data);
            Gradient<T> gradient{cotangent.data};
            const D x{v[0], v_dot[0]}, y{v[1], v_dot[1]}, z{v[2], v_dot[2]};
            for_each_harmonic<T>(l_max, x, y, z, [&](int l, int m, const D& c, const D& s) {
                store(result.data + (l * l + l - m) * kLanes<T>, s.dot);
                store(result.data + (l * l + l + m) * kLanes<T>, c.dot);
                if (l < l_max) gradient.add(l + 1, m, c.dot, s.dot);
            });
            to_rows(result.data, width, number, gg + e * width);
            gradient.store_to(v.data);
            to_rows(v.data, 3, number, gd + e * 3);
        };
    });
}

#define EQUINET_INSTANTIATE(T)                                                                                     \
    template void harmonics_forward(int, int64_t, const T*, T*, int);                                              \
    template void harmonics_backward(int, int64_t, const T*, const T*, T*, int);                                   \
    template void harmonics_double_backward(int, int64_t, const T*, const T*, const T*, T*, T*, int);
EQUINET_INSTANTIATE(float)
EQUINET_INSTANTIATE(double)

}  // namespace equinet
