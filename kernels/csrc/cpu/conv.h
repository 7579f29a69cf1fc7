// The convolution over a graph; see equinet_kernels/conv/reference.py for the formula, conv_paths.h for the loops.
#pragma once

#include "conv_plan.h"

namespace equinet {

struct Graph {
    int64_t nodes, edges;
    const int64_t* senders;  // [E]
    const int64_t* row_ptr;  // [N + 1]; edges of receiver n are row_ptr[n]..row_ptr[n + 1]
};

// All arrays are dense rows: x [N, x_dim], y [E, y_dim], w [E, w_dim], out and g [N, out_dim]. Results are overwritten.
// The same bits whatever the number of threads: each sum has one owner and one order.

template <class T>
void conv_forward(const ConvPlan& plan, const Graph& graph, const T* x, const T* y, const T* w, T* out, int threads);

template <class T>
void conv_backward(const ConvPlan& plan, const Graph& graph, const T* g, const T* x, const T* y, const T* w, T* dx,
                   T* dy, T* dw, int threads);

// Given cotangents x_dot, y_dot, w_dot of (dx, dy, dw): the gradients of g, x, y, w.
template <class T>
void conv_double_backward(const ConvPlan& plan, const Graph& graph, const T* x_dot, const T* y_dot, const T* w_dot,
                          const T* g, const T* x, const T* y, const T* w, T* gg, T* gx, T* gy, T* gw, int threads);

}  // namespace equinet
