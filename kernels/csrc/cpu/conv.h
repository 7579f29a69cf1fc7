// The convolution over a graph; see equinet_kernels/conv/reference.py for the formula, conv_paths.h for the loops.
#pragma once

#include "conv_plan.h"

namespace equinet {

// The receivers first..last-1 of a graph, and their edges.
struct Graph {
    const int64_t* senders;  // [E] of the whole graph
    const int64_t* row_ptr;  // [N + 1]; edges of receiver n are row_ptr[n]..row_ptr[n + 1]
    int64_t first, last;

    int64_t first_edge() const { return row_ptr[first]; }
    int64_t last_edge() const { return row_ptr[last]; }
};

// All arrays are dense rows. Those of nodes, x [N, x_dim], out and g [N, out_dim], are of the whole graph; those of edges,
// y [E, y_dim] and w [E, w_dim], begin with the first edge of the first receiver. Results are overwritten, but for what
// goes to senders (dx, gx), which is added to.
// The same bits whatever the number of threads: each sum has one owner and one order.

template <class T>
void conv_forward(const ConvPlan& plan, const Graph& graph, const T* x, const T* y, const T* w, T* out, int threads);

template <class T>
void conv_backward(const ConvPlan& plan, const Graph& graph, const T* g, const T* x, const T* y, const T* w, T* dx,
                   T* dy, T* dw, int threads);

// Given cotangents x_dot, y_dot, w_dot of (dx, dy, dw): the gradients of g, x, y, w, and (unless null) of w_dot.
template <class T>
void conv_double_backward(const ConvPlan& plan, const Graph& graph, const T* x_dot, const T* y_dot, const T* w_dot,
                          const T* g, const T* x, const T* y, const T* w, T* gg, T* gx, T* gy, T* gw, T* gw_dot,
                          int threads);

// Where edges get their harmonics and weights from, if these are not there for all of them: asked for some edges of some
// receivers at a time, in any thread.
template <class T>
class EdgeSource {
   public:
    virtual ~EdgeSource() = default;
    // Writes y [edges, y] and w [edges, w] of the edges from `first` on and, if it is not null, w_slope [edges, w]: what
    // take() is given again.
    virtual void make(int64_t first, int64_t edges, T* y, T* w, T* w_slope) const = 0;
    // Given the gradients of y and w.
    virtual void take(int64_t first, int64_t edges, const T* dy, const T* dw, const T* w_slope) const = 0;
};

template <class T>
void conv_forward(const ConvPlan& plan, const Graph& graph, const T* x, const EdgeSource<T>& source, T* out, int threads);

template <class T>
void conv_backward(const ConvPlan& plan, const Graph& graph, const T* g, const T* x, const EdgeSource<T>& source, T* dx,
                   int threads);

}  // namespace equinet
