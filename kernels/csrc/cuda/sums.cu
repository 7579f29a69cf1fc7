// Sums in a fixed order: of edges' rows over their senders, and of what several tiles have.
#include <algorithm>

#include "conv.h"

namespace equinet::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 4;  // loads under way for a thread

template <class T>
struct SenderSums {
    const int64_t *perm, *ptr;
    int64_t columns, first, width;
    const T* rows;
    T* out;
};

// A block for each node and 128 columns; a thread sums a column over the node's edges.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_over_senders(const __grid_constant__ SenderSums<T> a) {
    const int64_t node = blockIdx.x, place = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
    if (place >= a.width) return;
    const T* rows = a.rows + a.first + place;
    int64_t at = a.ptr[node];
    const int64_t end = a.ptr[node + 1];
    T sum = T(0);
    for (; at + kAhead <= end; at += kAhead) {
        T parts[kAhead];
#pragma unroll
        for (int n = 0; n < kAhead; ++n) parts[n] = __ldcs(rows + a.perm[at + n] * a.columns);
#pragma unroll
        for (int n = 0; n < kAhead; ++n) sum += parts[n];
    }
    for (; at < end; ++at) sum += __ldcs(rows + a.perm[at] * a.columns);
    a.out[node * a.columns + a.first + place] = sum;
}

template <class T>
struct OrderedSums {
    int64_t numbers;
    int count;
    const T* more;
    T* to;
};

template <class T>
__global__ void __launch_bounds__(kThreads) add_in_order(const __grid_constant__ OrderedSums<T> a) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t m = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; m < a.numbers; m += step) {
        T sum = a.to[m];
        for (int n = 0; n < a.count; ++n) sum += a.more[n * a.numbers + m];
        a.to[m] = sum;
    }
}

unsigned blocks(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

template <class T>
void run_sum_over_senders(const Graph& graph, int64_t columns, int64_t first, int64_t width, const T* rows, T* out,
                          cudaStream_t stream) {
    const dim3 grid(static_cast<unsigned>(graph.nodes), blocks(width));
    launch("sum over senders", sum_over_senders<T>, grid, kThreads, 0, stream,
           SenderSums<T>{graph.sender_perm, graph.sender_ptr, columns, first, width, rows, out});
}

template <class T>
void run_add_in_order(int64_t numbers, int count, const T* more, T* to, cudaStream_t stream) {
    const dim3 grid(blocks(std::min<int64_t>(numbers, int64_t{kThreads} * 65536)));
    launch("sum over tiles", add_in_order<T>, grid, kThreads, 0, stream, OrderedSums<T>{numbers, count, more, to});
}

#define EQUINET_INSTANTIATE(T)                                                                                       \
    template void run_sum_over_senders(const Graph&, int64_t, int64_t, int64_t, const T*, T*, cudaStream_t);          \
    template void run_add_in_order(int64_t, int, const T*, T*, cudaStream_t);
EQUINET_INSTANTIATE(float)
EQUINET_INSTANTIATE(double)

}  // namespace equinet::cuda
