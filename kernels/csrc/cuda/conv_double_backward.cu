// Double backward in one sweep. With x', w' and B', the matrices of y', besides x, w and B, and for each path
//
//     a = w x' + w' x      c = w x      v_i = sum_k B_ki g_k      v'_i = sum_k B'_ki g_k
//
// the gradients of <g, f(x', y, w) + f(x, y', w) + f(x, y, w')> are
//
//     gg_k = sum over edges of sum_i B_ki a_i + B'_ki c_i          gw = <x', v> + <x, v'>
//     gy_j = sum_ki C_ijk sum_c a_ic g_kc                          gx = w' v + w v'
//
// A receiver's g and gg lie in shared memory, a lane's channels in its own column.
#include "kernels.h"
#include "warp.cuh"

namespace equinet::cuda {

namespace {

template <class T, int D1, int V>
__global__ void __launch_bounds__(kWarp) double_backward(const __grid_constant__ Arguments<T> a) {
    constexpr int kStride = kRowStride<T, D1>, kTile = kWarp * V;
    const int lane = threadIdx.x, first = blockIdx.y * kTile + lane;
    const int64_t node = blockIdx.x;
    const Lane<T, V> here(first, a.channels);
    const Stage<T, D1, V> stage(a, shared_numbers<T>(), here, lane);
    const Stage<T, D1, V> stage_dot(a, shared_numbers<T>() + 2 * stage.size, here, lane);
    T* const g_rows = stage.own + 4 * stage.size;
    const int gg_place = a.rows * kTile;  // of gg, behind g
    T* const b = shared_numbers<T>() + 4 * stage.size + 2 * a.rows * kTile;
    T* const b_dot = b + a.edges * a.b_size;
    T* const all_moments = b_dot + a.edges * a.b_size;
    const int full = a.elements - (a.diagonal ? 1 : 0);

    const int64_t begin = a.row_ptr[node], end = a.row_ptr[node + 1];
    const auto bring = [&](int64_t edge, int64_t sender) {
        if (edge < end) {
            const int64_t x_start = sender * a.x_dim + a.x_offset + first, w_start = edge * a.w_dim + a.w_offset + first;
            stage.bring(a, here, a.x + x_start, a.w + w_start, (edge - begin) & 1);
            stage_dot.bring(a, here, a.x_dot + x_start, a.w_dot + w_start, (edge - begin) & 1);
        }
        close_copies();  // also an empty group counts
    };
    const auto sender_of = [&](int64_t edge) { return edge < end ? a.senders[edge] : 0; };
    bring(begin, sender_of(begin));
    int64_t next_sender = sender_of(begin + 1);
    for (int k = 0; k < a.rows; ++k) {
        T g[V];
        here.load(g, a.g + node * a.out_dim + a.columns[k] + first);
#pragma unroll
        for (int v = 0; v < V; ++v) g_rows[k * kTile + v * kWarp] = g[v], g_rows[gg_place + k * kTile + v * kWarp] = T(0);
    }
    for (int64_t chunk = begin; chunk < end; chunk += a.edges) {
        const int edges = static_cast<int>(min(static_cast<int64_t>(a.edges), end - chunk));
        const int64_t ahead = min(static_cast<int64_t>(a.edges), end - chunk - edges);
        make_b<T, D1>(a, a.y + chunk * a.y_dim, edges, b, lane);
        make_b<T, D1>(a, a.y_dot + chunk * a.y_dim, edges, b_dot, lane);
        prefetch_y(a, a.y + (chunk + edges) * a.y_dim, ahead, lane);
        prefetch_y(a, a.y_dot + (chunk + edges) * a.y_dim, ahead, lane);
        __syncwarp();
        for (int n = 0; n < edges; ++n) {
            const int64_t edge = chunk + n;
            bring(edge + 1, next_sender);
            next_sender = sender_of(edge + 2);
            wait_for_copies<1>();
            const int place = (edge - begin) & 1;
            const T *w_row = stage.w_at(place), *w_dot_row = stage_dot.w_at(place);
            int b_place = n * a.b_size;  // of the present row in b and b_dot
            T* g_row = g_rows;
            T* moments = all_moments + n * a.elements;
            T* gw_row = a.dw + edge * a.w_dim + a.w_offset + first;
            T x[D1][V], x_dot[D1][V], gx[D1][V], w[V], w_dot[V], gw[V];
            clear(gx);
#pragma unroll
            for (int i = 0; i < D1; ++i) {
                read(x[i], stage.x_at(place) + i * kTile);
                read(x_dot[i], stage_dot.x_at(place) + i * kTile);
            }
            int p = 0;
            if (a.diagonal) {
                read(w, w_row);
                read(w_dot, w_dot_row);
                const int scale_place = b_place + full / D1 * kStride;
                const T scale = b[scale_place], scale_dot = b_dot[scale_place];
                T sum[1] = {T(0)};
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const T both = scale * w_dot[v] + scale_dot * w[v], one = scale * w[v];
                    T product = T(0), product_dot = T(0);
#pragma unroll
                    for (int i = 0; i < D1; ++i) {
                        T* const at = g_row + i * kTile + v * kWarp;
                        const T g = at[0];
                        at[gg_place] += one * x_dot[i][v] + both * x[i][v];
                        gx[i][v] += both * g;
                        product += x[i][v] * g;
                        product_dot += x_dot[i][v] * g;
                    }
                    gw[v] = scale * product_dot + scale_dot * product;
                    sum[0] += w[v] * product_dot + w_dot[v] * product;
                }
                here.store_once(gw_row, gw);
                store_moments<T, 1>(sum, moments + full, lane);
                p = 1, w_row += kTile, w_dot_row += kTile, g_row += D1 * kTile, gw_row += a.channels;
            }
            for (; p < a.paths; ++p) {
                read(w, w_row);
                read(w_dot, w_dot_row);
                T both[D1][V], wx[D1][V], bg[D1][V], bg_dot[D1][V];
                clear(bg);
                clear(bg_dot);
#pragma unroll
                for (int i = 0; i < D1; ++i)
#pragma unroll
                    for (int v = 0; v < V; ++v) {
                        both[i][v] = w[v] * x_dot[i][v] + w_dot[v] * x[i][v];
                        wx[i][v] = w[v] * x[i][v];
                    }
                for (int k = a.components[p]; k > 0; --k) {
                    T row[D1], row_dot[D1], sums[kMoments<D1>];
                    load_row(row, b + b_place);
                    load_row(row_dot, b_dot + b_place);
#pragma unroll
                    for (int i = 0; i < kMoments<D1>; ++i) sums[i] = T(0);
#pragma unroll
                    for (int v = 0; v < V; ++v) {
                        const T g = g_row[v * kWarp];
                        T gg = g_row[gg_place + v * kWarp];
#pragma unroll
                        for (int i = 0; i < D1; ++i) {
                            gg += row[i] * both[i][v];
                            gg += row_dot[i] * wx[i][v];
                            bg[i][v] += row[i] * g;
                            bg_dot[i][v] += row_dot[i] * g;
                            sums[i] += both[i][v] * g;
                        }
                        g_row[gg_place + v * kWarp] = gg;
                    }
                    store_moments<T, D1>(sums, moments, lane);
                    b_place += kStride, g_row += kTile, moments += D1;
                }
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    gw[v] = T(0);
#pragma unroll
                    for (int i = 0; i < D1; ++i) {
                        gw[v] += x_dot[i][v] * bg[i][v];
                        gw[v] += x[i][v] * bg_dot[i][v];
                        gx[i][v] += w_dot[v] * bg[i][v];
                        gx[i][v] += w[v] * bg_dot[i][v];
                    }
                }
                here.store_once(gw_row, gw);
                w_row += kTile, w_dot_row += kTile, gw_row += a.channels;
            }
            store_dx(a, here, a.dx + edge * a.x_dim + a.x_offset + first, gx);
        }
        // now the moments are complete and the matrices are read; the next moments come behind the barrier above
        __syncwarp();
        store_dy(a, chunk, edges, all_moments, lane);
    }
    for (int k = 0; k < a.rows; ++k) {
        T gg[V];
        read(gg, g_rows + gg_place + k * kTile);
        here.store_once(a.out + node * a.out_dim + a.columns[k] + first, gg);
    }
}

}  // namespace

template <class T>
Kernel<T> double_backward_kernel(const Group& group) {
    return choose_kernel<T, 4, 2>(group, [](auto d1, auto vectors) -> Kernel<T> {
        return double_backward<T, d1(), vectors()>;
    });
}

template Kernel<float> double_backward_kernel<float>(const Group&);
template Kernel<double> double_backward_kernel<double>(const Group&);

}  // namespace equinet::cuda
