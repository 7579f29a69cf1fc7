// Backward: with v_i = sum_k B_ki g_k for each path
//
//     dw_c = <x_c, v_c>       dx = w v       dy_j = sum_ki C_ijk sum_c w_c x_ic g_kc
//
// A receiver's g lies in shared memory, a lane's channels in its own column; dx and dy of an edge belong to this warp.
#include "kernels.h"
#include "warp.cuh"

namespace equinet::cuda {

namespace {

template <class T, int D1, int V>
__global__ void __launch_bounds__(kWarp) backward(const __grid_constant__ Arguments<T> a) {
    constexpr int kStride = kRowStride<T, D1>, kTile = kWarp * V;
    const int lane = threadIdx.x, first = blockIdx.y * kTile + lane;
    const int64_t node = blockIdx.x;
    const int64_t begin = a.row_ptr[node], end = a.row_ptr[node + 1];
    if (begin == end) return;
    const Lane<T, V> here(first, a.channels);
    const Stage<T, D1, V> stage(a, shared_numbers<T>(), here, lane);
    T* const g_rows = stage.own + 2 * stage.size;
    T* const b = shared_numbers<T>() + 2 * stage.size + a.rows * kTile;
    T* const all_moments = b + a.edges * a.b_size;
    const int full = a.elements - (a.diagonal ? 1 : 0);

    const auto bring = [&](int64_t edge, int64_t sender) {
        if (edge < end)
            stage.bring(a, here, a.x + sender * a.x_dim + a.x_offset + first, a.w + edge * a.w_dim + a.w_offset + first,
                        (edge - begin) & 1);
        close_copies();  // also an empty group counts
    };
    const auto sender_of = [&](int64_t edge) { return edge < end ? a.senders[edge] : 0; };
    bring(begin, sender_of(begin));
    int64_t next_sender = sender_of(begin + 1);
    for (int k = 0; k < a.rows; ++k) {
        T g[V];
        here.load(g, a.g + node * a.out_dim + a.columns[k] + first);
#pragma unroll
        for (int v = 0; v < V; ++v) g_rows[k * kTile + v * kWarp] = g[v];
    }
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
            const T* b_row = b + n * a.b_size;
            const T* g_row = g_rows;
            T* moments = all_moments + n * a.elements;
            T* dw_row = a.dw + edge * a.w_dim + a.w_offset + first;
            T x[D1][V], dx[D1][V], w[V], dw[V];
            clear(dx);
#pragma unroll
            for (int i = 0; i < D1; ++i) read(x[i], stage.x_at((edge - begin) & 1) + i * kTile);
            int p = 0;
            if (a.diagonal) {
                read(w, w_row);
                const T scale = b_row[full / D1 * kStride];
                T sum[1] = {T(0)};
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    T product = T(0);
#pragma unroll
                    for (int i = 0; i < D1; ++i) {
                        const T g = g_row[i * kTile + v * kWarp];
                        product += x[i][v] * g;
                        dx[i][v] += scale * w[v] * g;
                    }
                    dw[v] = scale * product;
                    sum[0] += w[v] * product;
                }
                here.store_once(dw_row, dw);
                store_moments<T, 1>(sum, moments + full, lane);
                p = 1, w_row += kTile, g_row += D1 * kTile, dw_row += a.channels;
            }
            for (; p < a.paths; ++p) {
                read(w, w_row);
                T wx[D1][V], bg[D1][V];
                clear(bg);
#pragma unroll
                for (int i = 0; i < D1; ++i)
#pragma unroll
                    for (int v = 0; v < V; ++v) wx[i][v] = w[v] * x[i][v];
                for (int k = a.components[p]; k > 0; --k) {
                    T row[D1], sums[kMoments<D1>];
                    load_row(row, b_row);
#pragma unroll
                    for (int i = 0; i < kMoments<D1>; ++i) sums[i] = T(0);
#pragma unroll
                    for (int v = 0; v < V; ++v) {
                        const T g = g_row[v * kWarp];
#pragma unroll
                        for (int i = 0; i < D1; ++i) {
                            bg[i][v] += row[i] * g;
                            sums[i] += wx[i][v] * g;
                        }
                    }
                    store_moments<T, D1>(sums, moments, lane);
                    b_row += kStride, g_row += kTile, moments += D1;
                }
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    dw[v] = T(0);
#pragma unroll
                    for (int i = 0; i < D1; ++i) {
                        dw[v] += x[i][v] * bg[i][v];
                        dx[i][v] += w[v] * bg[i][v];
                    }
                }
                here.store_once(dw_row, dw);
                w_row += kTile, dw_row += a.channels;
            }
            store_dx(a, here, a.dx + edge * a.x_dim + a.x_offset + first, dx);
        }
        // now the moments are complete and the matrices are read; the next moments come behind the barrier above
        __syncwarp();
        store_dy(a, chunk, edges, all_moments, lane);
    }
}

}  // namespace

template <class T>
Kernel<T> backward_kernel(const Group& group) {
    return choose_kernel<T, 4, 4>(group, [](auto d1, auto vectors) -> Kernel<T> { return backward<T, d1(), vectors()>; });
}

template Kernel<float> backward_kernel<float>(const Group&);
template Kernel<double> backward_kernel<double>(const Group&);

}  // namespace equinet::cuda
