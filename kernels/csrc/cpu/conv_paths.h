// One path, all channels, for a few edges of one receiver (forward) or for one edge (the derivatives): the innermost
// loops of the convolution.
//
// Everything that depends on the channel is a vector of channels; the matrix B (and B', of the harmonics' cotangent) is
// the same for all channels and comes as scalars, kLanes apart: an edge in each lane.
#pragma once

#include <cstdint>

#include "simd.h"

namespace equinet {

// Rows of the result and of its cotangent g are [d3, out_stride], of x and its cotangents [d1, channels].
template <class T>
struct GroupPath {
    int d1, d3;
    int64_t channels, out_stride;
    int64_t edges;          // forward: 1..kLanes
    const int64_t* x_rows;  // forward: [edges], from x to the row of each edge's sender
    int64_t w_dim;          // forward: from w to that of the next edge
    const T* b;             // [b_size] * kLanes; the next edge's is in the next lane
    const T* x;
    const T* w;
    T* out;  // forward: added to. double backward: the gradient of g, added to
    const T* g;
    T* dx;            // gradient of x: written by the first path of a block, added to by the others
    bool opens_block;
    T* dw;            // gradient of w, written
    T* a;             // scratch [d1, channels]: w x
    T* moments;       // [b_size] vectors, written: sum over channels of (w x)_i g_k, lane by lane
    const T* b_dot;   // of the cotangents of dy, dx, dw
    const T* x_dot;
    const T* w_dot;
    T* a_dot;   // scratch [d1, channels]: w x' + w' x
    T* dw_dot;  // gradient of w', written; may be null
};

// D1, D3: 2 l + 1 of x and of the result; 0 for sizes known only at run time, which loops go over instead of straight code.
template <class T, int D1, int D3, bool Diagonal>
struct PathLoops {
    static constexpr int L = kLanes<T>;
    static constexpr bool kFixed = D1 != 0;
    static constexpr int kMost = 13;
    static constexpr int kRows3 = kFixed ? D3 : kMost;
    // Vectors taken together: two, if a component of each of them fits into half of 16 registers.
    static constexpr int kPack = kFixed && D3 <= 5 ? 2 : 1;

    static constexpr int d1(const GroupPath<T>& p) { return kFixed ? D1 : p.d1; }
    static constexpr int d3(const GroupPath<T>& p) { return kFixed ? D3 : p.d3; }

    // sums_k += B_ki a_i
    template <class V>
    EQUINET_INLINE void add_column(const GroupPath<T>& p, const T* b, int i, const V& a, V* sums) {
        if constexpr (Diagonal) {
            sums[i] = sums[i] + b[i * L] * a;
        } else {
            const int rows = d1(p), out_rows = d3(p);
            EQUINET_UNROLL
            for (int k = 0; k < out_rows; ++k) sums[k] = sums[k] + b[(k * rows + i) * L] * a;
        }
    }

    // (B^T g)_i
    template <class V>
    EQUINET_INLINE V apply_transposed(const GroupPath<T>& p, const T* b, const V* g, int i) {
        if constexpr (Diagonal) return b[i * L] * g[i];
        const int rows = d1(p), out_rows = d3(p);
        V v = b[i * L] * g[0];
        EQUINET_UNROLL
        for (int k = 1; k < out_rows; ++k) v = v + b[(k * rows + i) * L] * g[k];
        return v;
    }

    template <class V>
    EQUINET_INLINE void load_rows(V* rows, int number, const T* from, int64_t stride) {
        EQUINET_UNROLL
        for (int i = 0; i < number; ++i) rows[i] = load<V>(from + i * stride);
    }

    template <class V>
    EQUINET_INLINE void store_rows(const V* rows, int number, T* to, int64_t stride) {
        EQUINET_UNROLL
        for (int i = 0; i < number; ++i) store(to + i * stride, rows[i]);
    }

    // What to do with the channels from c on; V: how many there are of them. With a = w x the result is B a, and with
    // v = B^T g everything else: dw = <x, v>, dx = w v, and the moments of a and g give dy. One product with B each way.
    template <class V>
    EQUINET_INLINE void forward_step(const GroupPath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V out[kRows3];
        load_rows(out, out_rows, p.out + c, p.out_stride);
        for (int64_t e = 0; e < p.edges; ++e) {
            const T *x = p.x + p.x_rows[e] + c, *w_row = p.w + e * p.w_dim + c;
            const V w = load<V>(w_row);
            prefetch(w_row + p.channels);  // the next path's
            EQUINET_UNROLL
            for (int i = 0; i < rows; ++i) add_column<V>(p, p.b + e, i, w * load<V>(x + i * p.channels), out);
        }
        store_rows(out, out_rows, p.out + c, p.out_stride);
    }

    template <class V>
    EQUINET_INLINE void backward_step(const GroupPath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V g[kRows3], dw{};
        load_rows(g, out_rows, p.g + c, p.out_stride);
        const V w = load<V>(p.w + c);
        EQUINET_UNROLL
        for (int i = 0; i < rows; ++i) {
            const V v = apply_transposed(p, p.b, g, i), x = load<V>(p.x + i * p.channels + c);
            T* dx = p.dx + i * p.channels + c;
            dw = dw + x * v;
            store(dx, p.opens_block ? w * v : load<V>(dx) + w * v);
            store(p.a + i * p.channels + c, w * x);
        }
        store(p.dw + c, dw);
    }

    // With F = <g, f(x', y, w) + f(x, y', w) + f(x, y, w')> = <g, B a' + B' a>, a' = w x' + w' x, and v' = B'^T g: the
    // gradients of F by x, w and w'.
    template <class V>
    EQUINET_INLINE void double_backward_step(const GroupPath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V g[kRows3], dw{}, dw_dot{};
        load_rows(g, out_rows, p.g + c, p.out_stride);
        const V w = load<V>(p.w + c), w_dot = load<V>(p.w_dot + c);
        EQUINET_UNROLL
        for (int i = 0; i < rows; ++i) {
            const V v = apply_transposed(p, p.b, g, i), v_dot = apply_transposed(p, p.b_dot, g, i);
            const V x = load<V>(p.x + i * p.channels + c), x_dot = load<V>(p.x_dot + i * p.channels + c);
            T* dx = p.dx + i * p.channels + c;
            dw = dw + x_dot * v + x * v_dot;
            dw_dot = dw_dot + x * v;
            const V value = w * v_dot + w_dot * v;
            store(dx, p.opens_block ? value : load<V>(dx) + value);
            store(p.a + i * p.channels + c, w * x);
            store(p.a_dot + i * p.channels + c, w * x_dot + w_dot * x);
        }
        store(p.dw + c, dw);
        if (p.dw_dot) store(p.dw_dot + c, dw_dot);
    }

    // The gradient of F by g.
    template <class V>
    EQUINET_INLINE void double_backward_g_step(const GroupPath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V out[kRows3];
        load_rows(out, out_rows, p.out + c, p.out_stride);
        EQUINET_UNROLL
        for (int i = 0; i < rows; ++i) {
            add_column<V>(p, p.b, i, load<V>(p.a_dot + i * p.channels + c), out);
            add_column<V>(p, p.b_dot, i, load<V>(p.a + i * p.channels + c), out);
        }
        store_rows(out, out_rows, p.out + c, p.out_stride);
    }

    // Packs of vectors, then single vectors, then single channels; those few share the loops of all degrees.
#define EQUINET_OVER_CHANNELS(P, STEP)                                                        \
    do {                                                                                      \
        int64_t c = 0;                                                                        \
        if constexpr (kPack > 1)                                                              \
            for (; c + kPack * L <= (P).channels; c += kPack * L) STEP<Pack<T, kPack>>(P, c);  \
        for (; c + L <= (P).channels; c += L) STEP<Vec<T>>(P, c);                             \
        for (; c < (P).channels; ++c) PathLoops<T, 0, 0, Diagonal>::template STEP<T>(P, c);   \
    } while (false)

    static void forward(const GroupPath<T>& path) {
        const GroupPath<T> p = path;  // a copy of our own, which no store can change
        EQUINET_OVER_CHANNELS(p, forward_step);
    }

    static void backward(const GroupPath<T>& path) {
        const GroupPath<T> p = path;
        EQUINET_OVER_CHANNELS(p, backward_step);
        moments(p, p.a);
    }

    static void double_backward(const GroupPath<T>& path) {
        const GroupPath<T> p = path;
        EQUINET_OVER_CHANNELS(p, double_backward_step);
        EQUINET_OVER_CHANNELS(p, double_backward_g_step);
        moments(p, p.a_dot);
    }
#undef EQUINET_OVER_CHANNELS

    // sum_c a_ic g_kc for components i0..i0+I-1, k0..k0+K-1: a small matrix product held in registers.
    template <int I, int K>
    EQUINET_INLINE void moments_tile(const GroupPath<T>& p, const T* a, int i0, int k0) {
        using V = Vec<T>;
        const T* g = p.g + k0 * p.out_stride;
        a += i0 * p.channels;
        V sum[I * K];
        EQUINET_UNROLL
        for (int n = 0; n < I * K; ++n) sum[n] = V{};
        int64_t c = 0;
        for (; c + L <= p.channels; c += L) {
            V ac[I];
            load_rows(ac, I, a + c, p.channels);
            EQUINET_UNROLL
            for (int k = 0; k < K; ++k) {
                const V gc = load<V>(g + k * p.out_stride + c);
                EQUINET_UNROLL
                for (int i = 0; i < I; ++i) sum[k * I + i] += ac[i] * gc;
            }
        }
        for (; c < p.channels; ++c)
            for (int n = 0; n < I * K; ++n) sum[n][0] += a[n % I * p.channels + c] * g[n / I * p.out_stride + c];
        T* moments = p.moments + (k0 * d1(p) + i0) * L;
        EQUINET_UNROLL
        for (int n = 0; n < I * K; ++n) store(moments + (n / I * d1(p) + n % I) * L, sum[n]);
    }

    template <int I>
    EQUINET_INLINE void moments_columns(const GroupPath<T>& p, const T* a, int i0) {
        constexpr int kTile = !kFixed ? 1 : I == 1 ? 5 : I <= 3 ? 3 : 2;
        int k = 0;
        for (; k + kTile <= d3(p); k += kTile) moments_tile<I, kTile>(p, a, i0, k);
        if constexpr (D3 % kTile != 0) moments_tile<I, D3 % kTile>(p, a, i0, k);
    }

    EQUINET_INLINE void moments(const GroupPath<T>& p, const T* a) {
        if constexpr (Diagonal) {
            const int rows = d1(p);
            Vec<T> sums[kFixed ? D1 : kMost] = {};
            int64_t c = 0;
            for (; c + L <= p.channels; c += L)
                EQUINET_UNROLL
                for (int i = 0; i < rows; ++i)
                    sums[i] += load<Vec<T>>(a + i * p.channels + c) * load<Vec<T>>(p.g + i * p.out_stride + c);
            for (; c < p.channels; ++c)
                for (int i = 0; i < rows; ++i) sums[i][0] += a[i * p.channels + c] * p.g[i * p.out_stride + c];
            store_rows(sums, rows, p.moments, L);
        } else {
            constexpr int kTile = !kFixed ? 1 : D1 < 5 ? D1 : D1 == 7 ? 4 : 5;
            int i = 0;
            for (; i + kTile <= d1(p); i += kTile) moments_columns<kTile>(p, a, i);
            if constexpr (D1 % kTile != 0) moments_columns<D1 % kTile>(p, a, i);
        }
    }
};

}  // namespace equinet
