// The convolution over a graph on a GPU; see equinet_kernels/conv/reference.py for the formula.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "groups.h"

namespace equinet::cuda {

// On the device; see equinet_kernels/topology.py.
struct Graph {
    int64_t nodes, edges;
    const int64_t *senders, *row_ptr;          // [E], [N + 1]
    const int64_t *sender_perm, *sender_ptr;   // [E], [N + 1]
};

// All arrays are dense rows on the device. What a level does not have stays null. The names are those of backward; in
// double backward dx, dy, dw are the gradients of x, y, w, and out is the gradient of g.
template <class T>
struct Arrays {
    const T *x, *y, *w, *g, *x_dot, *y_dot, *w_dot;
    T *out, *dx, *dy, *dw;
    T* scratch;  // scratch_numbers(...)
};

// Numbers of scratch: every edge's dx, until its sender sums them, and every further tile's dy.
int64_t scratch_numbers(const ConvPlan& plan, const LevelPlan& level_plan, Level level, int64_t edges);

// Queues one level's kernels on the stream.
// Throws std::runtime_error where CUDA refuses, std::invalid_argument for more nodes than it can launch.
template <class T>
void run_conv(const std::string& spec, Level level, const Graph& graph, const Arrays<T>& arrays, cudaStream_t stream);

// out[n, c] = sum of rows[e, c] over the edges e = perm[ptr[n]..ptr[n + 1]], in that order, for columns
// first..first + width - 1 of `columns`.
template <class T>
void run_sum_over_senders(const Graph& graph, int64_t columns, int64_t first, int64_t width, const T* rows, T* out,
                          cudaStream_t stream);

// to[m] += more[0, m], then more[1, m], ...: [count, numbers].
template <class T>
void run_add_in_order(int64_t numbers, int count, const T* more, T* to, cudaStream_t stream);

// Throws std::runtime_error that names what failed, unless it did not.
void require_success(cudaError_t error, const char* what);

template <class Argument>
void launch(const char* name, void (*kernel)(Argument), dim3 grid, int threads, int shared_bytes, cudaStream_t stream,
            Argument argument) {
    void* arguments[] = {&argument};
    require_success(cudaLaunchKernel(kernel, grid, dim3(threads), arguments, shared_bytes, stream), name);
}

}  // namespace equinet::cuda
