// What a warp needs at every level: its channels, features and weights of its edges, their matrices B, sums over lanes.
//
// The same source is compiled for a GPU by nvcc and, with emulation/cuda_runtime.h in place of CUDA's, for the CPU by
// any C++ compiler: that is how its numbers are tested where there is no GPU.
#pragma once

#include <cuda_runtime.h>

#include "copies.cuh"
#include "groups.h"

namespace equinet::cuda {

// What a kernel is given; absent arrays stay null. out is the gradient of g in double backward.
template <class T>
struct Arguments {
    const int64_t *senders, *row_ptr;
    const T *x, *y, *w, *g, *x_dot, *y_dot, *w_dot;
    T *out, *dw;
    T* dx;            // [E, x_dim]: what goes to the sender of each edge
    T *dy, *dy_more;  // [E, y_dim] of the first tile of channels; [tiles - 1, E, y_dim] of the others
    int64_t dy_size;  // E * y_dim
    int64_t x_dim, w_dim, out_dim;
    int y_dim;

    int channels, x_offset, w_offset, paths, rows;  // as in Group
    int elements, b_size, edges;
    bool diagonal;
    bool adds_dx;                         // an earlier group has written the block's dx
    int written_tiles;                    // of dy: by earlier groups
    unsigned opens;                       // forward: bit k: row k is the first of a path
    unsigned char components[kMostRows];  // backward: 2 l + 1 of each path

    const Element<T>* element_table;
    const int* columns;
    const int* starts;
    const Coupling<T>* couplings;
};

template <class T>
using Kernel = void (*)(Arguments<T>);

constexpr int power_of_two(int least) {
    int n = 1;
    while (n < least) n *= 2;
    return n;
}
constexpr int log2_of(int power) { return power == 1 ? 0 : 1 + log2_of(power / 2); }

// As variables, which device code may use; functions would have to be compiled for it.
template <class T, int D1>
constexpr int kRowStride = row_stride(D1, sizeof(T));
template <int D1>
constexpr int kMoments = power_of_two(D1);
template <int N>
constexpr int kHalvings = log2_of(N);

// Numbers of shared memory, as many as the launch asked for.
template <class T>
__device__ inline T* shared_numbers() {
    extern __shared__ __align__(16) unsigned char shared_memory[];
    return reinterpret_cast<T*>(shared_memory);
}

// The channels of a lane: first, first + 32, ...; of an array in shared memory its own column. Channels beyond the block are
// neither read nor written. Rows in global memory need no alignment beyond that of a number, and a warp reads whole lines
// all the same.
template <class T, int V>
struct Lane {
    bool inside[V];

    __device__ inline Lane(int first, int channels) {
#pragma unroll
        for (int v = 0; v < V; ++v) inside[v] = first + v * kWarp < channels;
    }

    __device__ inline void load(T (&to)[V], const T* from) const {
#pragma unroll
        for (int v = 0; v < V; ++v) to[v] = inside[v] ? __ldg(from + v * kWarp) : T(0);
    }

    __device__ inline void store(T* to, const T (&from)[V]) const {
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (inside[v]) to[v * kWarp] = from[v];
    }

    // For what this kernel does not read again.
    __device__ inline void store_once(T* to, const T (&from)[V]) const {
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (inside[v]) __stcs(to + v * kWarp, from[v]);
    }

    __device__ inline void add(T* to, const T (&from)[V]) const {
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (inside[v]) to[v * kWarp] += from[v];
    }
};

template <class T, int D, int V>
__device__ inline void clear(T (&rows)[D][V]) {
#pragma unroll
    for (int i = 0; i < D; ++i)
#pragma unroll
        for (int v = 0; v < V; ++v) rows[i][v] = T(0);
}

template <class T, int V>
__device__ inline void read(T (&to)[V], const T* shared) {
#pragma unroll
    for (int v = 0; v < V; ++v) to[v] = shared[v * kWarp];
}

// Features and weights of two edges in shared memory, [2, D1 + paths, V * 32]: while a warp computes with one edge's, those of
// the next are on their way, for the way is longer than the computation.
template <class T, int D1, int V>
struct Stage {
    static constexpr int kTile = kWarp * V;
    T* const own;  // this lane's column
    const int size;
    const uint64_t policy;

    __device__ inline Stage(const Arguments<T>& a, T* shared, const Lane<T, V>& here, int lane)
        : own(shared + lane), size((D1 + a.paths) * kTile), policy(passing()) {
        for (int n = 0; n < 2 * (D1 + a.paths); ++n)  // what lies beyond the block is never copied, but summed over
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (!here.inside[v]) own[n * kTile + v * kWarp] = T(0);
    }

    // Starts to bring an edge's rows from x and w, which point at the lane's first channel, to place 0 or 1.
    __device__ inline void bring(const Arguments<T>& a, const Lane<T, V>& here, const T* x, const T* w, int place) const {
        T* to = own + place * size;
#pragma unroll
        for (int i = 0; i < D1; ++i, x += a.channels, to += kTile)
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (here.inside[v]) copy_async(to + v * kWarp, x + v * kWarp);
        for (int p = 0; p < a.paths; ++p, w += a.channels, to += kTile)
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (here.inside[v]) copy_async(to + v * kWarp, w + v * kWarp, policy);
    }

    __device__ inline const T* x_at(int place) const { return own + place * size; }
    __device__ inline const T* w_at(int place) const { return own + place * size + D1 * kTile; }
};

// The matrices B of some edges, [edges, b_size] in shared memory, from y [edges, y_dim].
template <class T, int D1>
__device__ inline void make_b(const Arguments<T>& a, const T* y, int edges, T* b, int lane) {
    constexpr int kStride = kRowStride<T, D1>;
    const int full = a.elements - (a.diagonal ? 1 : 0);
    for (int m = lane; m < a.elements; m += kWarp) {
        const Element<T> element = a.element_table[m];
        const int place = m < full ? m / D1 * kStride + m % D1 : full / D1 * kStride;
        for (int n = 0; n < edges; ++n) {
            const T* row = y + n * a.y_dim;
            b[n * a.b_size + place] = element.value[0] * __ldg(row + element.j[0]) + element.value[1] * __ldg(row + element.j[1]);
        }
    }
}

// Asks for the harmonics of some edges, [edges, y_dim], which make_b will wait for.
template <class T>
__device__ inline void prefetch_y(const Arguments<T>& a, const T* y, int64_t edges, int lane) {
    constexpr int kLine = 128 / sizeof(T);
    for (int m = lane * kLine; m < edges * a.y_dim; m += kWarp * kLine) prefetch_to_l2(y + m);
}

// A row of B, which all lanes read at once: 16 bytes at a time, with what lies behind it, unless that is all but one number.
template <class T, int D1>
__device__ inline void load_row(T (&to)[D1], const T* from) {
    constexpr int kWide = 16 / sizeof(T);
    struct alignas(16) Wide {
        T parts[kWide];
    };
    constexpr int kWhole = D1 % kWide == 1 ? D1 / kWide : (D1 + kWide - 1) / kWide;
#pragma unroll
    for (int n = 0; n < kWhole; ++n) {
        const Wide wide = *reinterpret_cast<const Wide*>(from + n * kWide);
#pragma unroll
        for (int i = 0; i < kWide; ++i)
            if (n * kWide + i < D1) to[n * kWide + i] = wide.parts[i];
    }
#pragma unroll
    for (int i = kWhole * kWide; i < D1; ++i) to[i] = from[i];
}

// Sums N numbers over the lanes of a warp at once; N is a power of two. A lane is left with the sum of number
// lane / (32 / N): first lanes half a warp apart exchange half of their numbers, and so on.
template <class T, int N>
__device__ inline T sums_over_lanes(T (&numbers)[N], int lane) {
#pragma unroll
    for (int step = 0; step < kHalvings<N>; ++step) {
        const int half = N >> (step + 1), offset = kWarp >> (step + 1);
        const bool upper = lane & offset;
#pragma unroll
        for (int i = 0; i < N / 2; ++i) {  // of fixed length, so that all indices are known to the compiler
            if (i >= half) continue;
            const T given = upper ? numbers[i] : numbers[i + half], kept = upper ? numbers[i + half] : numbers[i];
            numbers[i] = kept + __shfl_xor_sync(0xffffffffu, given, offset);
        }
    }
#pragma unroll
    for (int rest = kWarp / N / 2; rest > 0; rest /= 2) numbers[0] += __shfl_xor_sync(0xffffffffu, numbers[0], rest);
    return numbers[0];
}

// Sums over the warp's channels of one row's moments, of which each lane has its part; to [D1] in shared memory.
template <class T, int D1>
__device__ inline void store_moments(T (&moments)[kMoments<D1>], T* to, int lane) {
    constexpr int kShare = kWarp / kMoments<D1>;
    const T sum = sums_over_lanes(moments, lane);
    const int i = lane / kShare;
    if (lane % kShare == 0 && i < D1) to[i] = sum;
}

// An edge's part of dx, from dx_row on, the lane's first channel.
template <class T, int D1, int V>
__device__ inline void store_dx(const Arguments<T>& a, const Lane<T, V>& here, T* dx_row, const T (&dx)[D1][V]) {
    if (a.adds_dx) {
#pragma unroll
        for (int i = 0; i < D1; ++i) here.add(dx_row + i * a.channels, dx[i]);
    } else {
#pragma unroll
        for (int i = 0; i < D1; ++i) here.store(dx_row + i * a.channels, dx[i]);
    }
}

// dy of some edges from their moments, [edges, elements] in shared memory. Groups come one after the other and add up; tiles
// of a group run at once and have an array each.
template <class T>
__device__ inline void store_dy(const Arguments<T>& a, int64_t first_edge, int edges, const T* moments, int lane) {
    const int tile = blockIdx.y;
    T* dy = (tile == 0 ? a.dy : a.dy_more + (tile - 1) * a.dy_size) + first_edge * a.y_dim;
    for (int m = lane; m < edges * a.y_dim; m += kWarp) {
        const T* of_edge = moments + m / a.y_dim * a.elements;
        const int j = m % a.y_dim;
        T sum = tile < a.written_tiles ? dy[m] : T(0);
        for (int n = a.starts[j]; n < a.starts[j + 1]; ++n) sum += a.couplings[n].value * of_edge[a.couplings[n].b];
        dy[m] = sum;
    }
}

}  // namespace equinet::cuda
