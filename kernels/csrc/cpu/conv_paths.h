// One edge, one path, all channels: the innermost loops of the convolution and of its two derivatives.
//
// Everything that depends on the channel is a vector of channels; the matrix B (and B', of the harmonics' cotangent) is
// the same for all channels and comes as scalars, kLanes apart: B is made for kLanes edges at a time.
#pragma once

#include <cstdint>

#include "simd.h"

namespace equinet {

// Rows of the result and of its cotangent g are [d3, out_stride], of x and its cotangents [d1, channels].
template <class T>
struct EdgePath {
    int d1, d3;
    const T* b;  // [b_size] * kLanes, of this path and edge
    const T* x;
    const T* w;
    T* out;  // forward: added to. double backward: the gradient of g, added to
    const T* g;
    int64_t out_stride;
    int64_t channels;
    T* dx;             // gradient of x: written by the first path of a block, added to by the others
    bool opens_block;
    T* dw;             // gradient of w, written
    T* t;              // scratch [d3, channels]: w g
    T* moments;        // [b_size] vectors, written: sum over channels of x_i (w g)_k, lane by lane
    const T* b_dot;    // of the cotangents of dy, dx, dw
    const T* x_dot;
    const T* w_dot;
    T* t_dot;          // scratch [d3, channels]: w' g
    T* dw_dot;         // gradient of w', written; may be null
};

// D1, D3: 2 l + 1 of x and of the result; 0 for sizes known only at run time, which loops go over instead of straight code.
template <class T, int D1, int D3, bool Diagonal>
struct PathLoops {
    static constexpr int L = kLanes<T>;
    static constexpr bool kFixed = D1 != 0;
    static constexpr int kMost = 13;
    static constexpr int kRows1 = kFixed ? D1 : kMost, kRows3 = kFixed ? D3 : kMost;
    // Vectors taken together: two, if a component of each of them fits into half of 16 registers.
    static constexpr int kPack = kFixed && (D1 > D3 ? D1 : D3) <= 5 ? 2 : 1;

    static constexpr int d1(const EdgePath<T>& p) { return kFixed ? D1 : p.d1; }
    static constexpr int d3(const EdgePath<T>& p) { return kFixed ? D3 : p.d3; }

    // (B x)_k
    template <class V>
    static inline V apply(const EdgePath<T>& p, const T* b, const V* x, int k) {
        if constexpr (Diagonal) return b[k * L] * x[k];
        const int rows = d1(p);
        V u = b[k * rows * L] * x[0];
        EQUINET_UNROLL
        for (int i = 1; i < rows; ++i) u = u + b[(k * rows + i) * L] * x[i];
        return u;
    }

    // (B^T t)_i
    template <class V>
    static inline V apply_transposed(const EdgePath<T>& p, const T* b, const V* t, int i) {
        if constexpr (Diagonal) return b[i * L] * t[i];
        const int rows = d1(p), out_rows = d3(p);
        V u = b[i * L] * t[0];
        EQUINET_UNROLL
        for (int k = 1; k < out_rows; ++k) u = u + b[(k * rows + i) * L] * t[k];
        return u;
    }

    template <class V>
    static inline void load_rows(V* rows, int number, const T* from, int64_t stride) {
        EQUINET_UNROLL
        for (int i = 0; i < number; ++i) rows[i] = load<V>(from + i * stride);
    }

    // What to do with the channels from c on; V: how many there are of them.
    template <class V>
    static inline void forward_step(const EdgePath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V x[kRows1];
        load_rows(x, rows, p.x + c, p.channels);
        const V w = load<V>(p.w + c);
        EQUINET_UNROLL
        for (int k = 0; k < out_rows; ++k) {
            T* out = p.out + k * p.out_stride + c;
            store(out, load<V>(out) + w * apply(p, p.b, x, k));
        }
    }

    // Gradient of w, and t = w g.
    template <class V>
    static inline void backward_w_step(const EdgePath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V x[kRows1], dw{};
        load_rows(x, rows, p.x + c, p.channels);
        const V w = load<V>(p.w + c);
        EQUINET_UNROLL
        for (int k = 0; k < out_rows; ++k) {
            const V g = load<V>(p.g + k * p.out_stride + c);
            dw = dw + g * apply(p, p.b, x, k);
            store(p.t + k * p.channels + c, w * g);
        }
        store(p.dw + c, dw);
    }

    template <class V>
    static inline void backward_x_step(const EdgePath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V t[kRows3];
        load_rows(t, out_rows, p.t + c, p.channels);
        EQUINET_UNROLL
        for (int i = 0; i < rows; ++i) {
            T* dx = p.dx + i * p.channels + c;
            const V value = apply_transposed(p, p.b, t, i);
            store(dx, p.opens_block ? value : load<V>(dx) + value);
        }
    }

    // With F = <g, f(x', y, w) + f(x, y', w) + f(x, y, w')>: the gradients of F by g, w and w'; t = w g, t' = w' g.
    template <class V>
    static inline void double_backward_w_step(const EdgePath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V x[kRows1], x_dot[kRows1], dw{}, dw_dot{};
        load_rows(x, rows, p.x + c, p.channels);
        load_rows(x_dot, rows, p.x_dot + c, p.channels);
        const V w = load<V>(p.w + c), w_dot = load<V>(p.w_dot + c);
        EQUINET_UNROLL
        for (int k = 0; k < out_rows; ++k) {
            const V g = load<V>(p.g + k * p.out_stride + c);
            const V u = apply(p, p.b, x, k);
            const V u_dot = apply(p, p.b, x_dot, k) + apply(p, p.b_dot, x, k);
            T* out = p.out + k * p.out_stride + c;
            store(out, load<V>(out) + w * u_dot + w_dot * u);
            dw = dw + g * u_dot;
            dw_dot = dw_dot + g * u;
            store(p.t + k * p.channels + c, w * g);
            store(p.t_dot + k * p.channels + c, w_dot * g);
        }
        store(p.dw + c, dw);
        if (p.dw_dot) store(p.dw_dot + c, dw_dot);
    }

    template <class V>
    static inline void double_backward_x_step(const EdgePath<T>& p, int64_t c) {
        const int rows = d1(p), out_rows = d3(p);
        V t[kRows3], t_dot[kRows3];
        load_rows(t, out_rows, p.t + c, p.channels);
        load_rows(t_dot, out_rows, p.t_dot + c, p.channels);
        EQUINET_UNROLL
        for (int i = 0; i < rows; ++i) {
            T* dx = p.dx + i * p.channels + c;
            const V value = apply_transposed(p, p.b_dot, t, i) + apply_transposed(p, p.b, t_dot, i);
            store(dx, p.opens_block ? value : load<V>(dx) + value);
        }
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

    static void forward(const EdgePath<T>& path) {
        const EdgePath<T> p = path;  // a copy of our own, which no store can change
        EQUINET_OVER_CHANNELS(p, forward_step);
    }

    static void backward(const EdgePath<T>& path) {
        const EdgePath<T> p = path;
        EQUINET_OVER_CHANNELS(p, backward_w_step);
        EQUINET_OVER_CHANNELS(p, backward_x_step);
        moments<true>(p, p.x, p.t);
    }

    static void double_backward(const EdgePath<T>& path) {
        const EdgePath<T> p = path;
        EQUINET_OVER_CHANNELS(p, double_backward_w_step);
        EQUINET_OVER_CHANNELS(p, double_backward_x_step);
        moments<true>(p, p.x_dot, p.t);
        moments<false>(p, p.x, p.t_dot);
    }
#undef EQUINET_OVER_CHANNELS

    // sum_c a_ic t_kc for components i0..i0+I-1, k0..k0+K-1: a small matrix product held in registers.
    template <bool First, int I, int K>
    static inline void moments_tile(const EdgePath<T>& p, const T* a, const T* t, int i0, int k0) {
        using V = Vec<T>;
        T* moments = p.moments + (k0 * d1(p) + i0) * L;
        V sum[I * K];
        EQUINET_UNROLL
        for (int n = 0; n < I * K; ++n) sum[n] = First ? V{} : load<V>(moments + (n / I * d1(p) + n % I) * L);
        a += i0 * p.channels;
        t += k0 * p.channels;
        int64_t c = 0;
        for (; c + L <= p.channels; c += L) {
            V ac[I];
            load_rows(ac, I, a + c, p.channels);
            EQUINET_UNROLL
            for (int k = 0; k < K; ++k) {
                const V tc = load<V>(t + k * p.channels + c);
                EQUINET_UNROLL
                for (int i = 0; i < I; ++i) sum[k * I + i] += ac[i] * tc;
            }
        }
        for (; c < p.channels; ++c)
            for (int n = 0; n < I * K; ++n) sum[n][0] += a[n % I * p.channels + c] * t[n / I * p.channels + c];
        EQUINET_UNROLL
        for (int n = 0; n < I * K; ++n) store(moments + (n / I * d1(p) + n % I) * L, sum[n]);
    }

    template <bool First, int I>
    static inline void moments_columns(const EdgePath<T>& p, const T* a, const T* t, int i0) {
        constexpr int kTile = !kFixed ? 1 : I <= 3 ? 3 : 2;
        int k = 0;
        for (; k + kTile <= d3(p); k += kTile) moments_tile<First, I, kTile>(p, a, t, i0, k);
        if constexpr (D3 % kTile != 0) moments_tile<First, I, D3 % kTile>(p, a, t, i0, k);
    }

    template <bool First>
    static inline void moments(const EdgePath<T>& p, const T* a, const T* t) {
        if constexpr (Diagonal) {
            for (int i = 0; i < d1(p); ++i) {
                Vec<T> sum = First ? Vec<T>{} : load<Vec<T>>(p.moments + i * L);
                const int64_t end = (i + 1) * p.channels;
                int64_t c = i * p.channels;
                for (; c + L <= end; c += L) sum += load<Vec<T>>(a + c) * load<Vec<T>>(t + c);
                for (; c < end; ++c) sum[0] += a[c] * t[c];
                store(p.moments + i * L, sum);
            }
        } else {
            constexpr int kTile = !kFixed ? 1 : D1 < 5 ? D1 : D1 == 7 ? 4 : 5;
            int i = 0;
            for (; i + kTile <= d1(p); i += kTile) moments_columns<First, kTile>(p, a, t, i);
            if constexpr (D1 % kTile != 0) moments_columns<First, D1 % kTile>(p, a, t, i);
        }
    }
};

}  // namespace equinet
