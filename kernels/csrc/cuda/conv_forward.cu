// Forward: out[n, k, c] = sum over edges of w_c sum_i B_ki x_ic. The receiver's values stay in registers.
#include "kernels.h"
#include "warp.cuh"

namespace equinet::cuda {

namespace {

// R: rows at most, D1: 2 l + 1 of x, V: channels of a lane.
template <class T, int D1, int R, int V>
__global__ void __launch_bounds__(kWarp) forward(const __grid_constant__ Arguments<T> a) {
    constexpr int kStride = kRowStride<T, D1>, kTile = kWarp * V;
    const int lane = threadIdx.x, first = blockIdx.y * kTile + lane;
    const int64_t node = blockIdx.x;
    const Lane<T, V> here(first, a.channels);
    const Stage<T, D1, V> stage(a, shared_numbers<T>(), here, lane);
    T* const b = shared_numbers<T>() + 2 * stage.size;
    const int skipped = a.diagonal ? D1 : 0;  // rows that B does not have
    const int scale_place = (a.rows - skipped) * kStride;

    const int64_t begin = a.row_ptr[node], end = a.row_ptr[node + 1];
    const auto bring = [&](int64_t edge, int64_t sender) {
        if (edge < end)
            stage.bring(a, here, a.x + sender * a.x_dim + a.x_offset + first, a.w + edge * a.w_dim + a.w_offset + first,
                        (edge - begin) & 1);
        close_copies();  // also an empty group counts
    };
    const auto sender_of = [&](int64_t edge) { return edge < end ? a.senders[edge] : 0; };
    T sums[R][V], w[1][V];
    clear(sums);
    clear(w);
    bring(begin, sender_of(begin));
    int64_t next_sender = sender_of(begin + 1);
    for (int64_t chunk = begin; chunk < end; chunk += a.edges) {
        const int edges = static_cast<int>(min(static_cast<int64_t>(a.edges), end - chunk));
        make_b<T, D1>(a, a.y + chunk * a.y_dim, edges, b, lane);
        prefetch_y(a, a.y + (chunk + edges) * a.y_dim, min(static_cast<int64_t>(a.edges), end - chunk - edges), lane);
        __syncwarp();
        for (int n = 0; n < edges; ++n) {
            const int64_t edge = chunk + n;
            bring(edge + 1, next_sender);
            next_sender = sender_of(edge + 2);
            wait_for_copies<1>();
            const T* w_row = stage.w_at((edge - begin) & 1);
            const T* of_edge = b + n * a.b_size;
            T x[D1][V];
#pragma unroll
            for (int i = 0; i < D1; ++i) read(x[i], stage.x_at((edge - begin) & 1) + i * kTile);
            if (a.diagonal) {
                read(w[0], w_row);
                w_row += kTile;
                const T scale = of_edge[scale_place];
#pragma unroll
                for (int i = 0; i < D1; ++i)
#pragma unroll
                    for (int v = 0; v < V; ++v) sums[i][v] += scale * w[0][v] * x[i][v];
            }
            // how many rows there are, and where a path begins, is the same for all lanes and all edges
#pragma unroll
            for (int k = 0; k < R; ++k) {
                if (k < skipped || k >= a.rows) continue;
                if (a.opens >> k & 1) {
                    read(w[0], w_row);
                    w_row += kTile;
                }
                T row[D1];
                load_row(row, of_edge + (k - skipped) * kStride);
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    T u = row[0] * x[0][v];
#pragma unroll
                    for (int i = 1; i < D1; ++i) u += row[i] * x[i][v];
                    sums[k][v] += w[0][v] * u;
                }
            }
        }
        __syncwarp();  // before the next edges' matrices take the place of these
    }
    T* out = a.out + node * a.out_dim + first;
#pragma unroll
    for (int k = 0; k < R; ++k)
        if (k < a.rows) here.store_once(out + a.columns[k], sums[k]);
}

// Half as many rows where that frees registers for more warps.
template <class T, int D1, int V>
Kernel<T> for_rows(int rows) {
    if constexpr (D1 <= 7 && V * sizeof(T) > 4)
        if (rows <= kMostForwardRows / 2) return forward<T, D1, kMostForwardRows / 2, V>;
    return forward<T, D1, kMostForwardRows, V>;
}

}  // namespace

template <class T>
Kernel<T> forward_kernel(const Group& group) {
    return choose_kernel<T, 4, 4>(group, [&](auto d1, auto vectors) { return for_rows<T, d1(), vectors()>(group.rows); });
}

template Kernel<float> forward_kernel<float>(const Group&);
template Kernel<double> forward_kernel<double>(const Group&);

}  // namespace equinet::cuda
