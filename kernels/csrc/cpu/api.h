// The C interface of the CPU operators: raw pointers, no torch. One shared library serves every torch and Python.
//
// Every function returns 0, or 1 after an error, whose text equinet_last_error() then gives (for this thread).
// dtype: 0 for float, 1 for double. Arrays are dense and row-major; results are overwritten; nothing else is written.
#pragma once

#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

// Changes whenever a function's arguments or meaning do: a host refuses a library of another version.
#define EQUINET_ABI_VERSION 2
int equinet_abi_version(void);
const char* equinet_last_error(void);
// Bytes of a vector: 16, 32 or 64.
int equinet_vector_bytes(void);

// GOMP_parallel of the OpenMP runtime that the host computes with; NULL: threads are started for each call.
void equinet_set_parallel_region(void (*region)(void (*body)(void*), void* data, unsigned threads, unsigned flags));

// Sizes of rows, [x, y, w, out].
int equinet_uvu_conv_sizes(const char* spec, int64_t sizes[4]);

// The convolution for the receivers first..last-1 of a graph of `nodes` nodes and `edges` edges; 0 and `nodes` for all.
// senders, receivers [E], row_ptr [N + 1]: edges ordered by receiver; whole, as are x [N, x], out and g [N, out].
// y [e, y] and w [e, w] are rows of these receivers' e edges alone. dx and gx are added to.
int equinet_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, int64_t first, int64_t last,
                     const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr, const void* x,
                     const void* y, const void* w, void* out, int threads);

int equinet_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, int64_t first, int64_t last,
                              const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr, const void* g,
                              const void* x, const void* y, const void* w, void* dx, void* dy, void* dw, int threads);

// x_dot, y_dot, w_dot: cotangents of dx, dy, dw. gg, gx, gy, gw, gw_dot: gradients of g, x, y, w, w_dot (or NULL).
int equinet_uvu_conv_double_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, int64_t first,
                                     int64_t last, const int64_t* senders, const int64_t* receivers,
                                     const int64_t* row_ptr, const void* x_dot, const void* y_dot, const void* w_dot,
                                     const void* g, const void* x, const void* y, const void* w, void* gg, void* gx,
                                     void* gy, void* gw, void* gw_dot, int threads);

// lengths [edges] double, table [intervals, 6, columns] (spline.h) -> out [edges, columns]; derivative 0..3.
int equinet_radial_spline(int dtype, int64_t edges, int64_t columns, int64_t intervals, double spacing,
                          int derivative, const double* lengths, const void* table, void* out, int threads);

// The convolution of edges whose harmonics come from vectors [E, 3] and whose weights are splines of their lengths (table
// as above, with as many columns as an edge has weights): made for a few receivers at a time. dx is added to.
int equinet_tabulated_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                               const int64_t* receivers, const int64_t* row_ptr, const void* x, const double* vectors,
                               int64_t intervals, double spacing, const void* table, void* out, int threads);

int equinet_tabulated_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges,
                                        const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr,
                                        const void* g, const void* x, const double* vectors, int64_t intervals,
                                        double spacing, const void* table, void* dx, double* dvectors,
                                        int threads);

// directions [E, 3] -> y [E, (l_max + 1)^2], l_max 0..6.
int equinet_spherical_harmonics(int l_max, int dtype, int64_t edges, const void* directions, void* y, int threads);

// d [E, 3]: gradient of the directions.
int equinet_spherical_harmonics_backward(int l_max, int dtype, int64_t edges, const void* g, const void* directions,
                                         void* d, int threads);

// d_dot: cotangent of d. gg, gd: gradients of g and of the directions.
int equinet_spherical_harmonics_double_backward(int l_max, int dtype, int64_t edges, const void* d_dot, const void* g,
                                                const void* directions, void* gg, void* gd, int threads);

// positions [N, 3], cell [B, 3, 3], batch [N] ascending, images [E, 3] -> vectors [E, 3].
int equinet_edge_vectors(int dtype, int64_t nodes, int64_t edges, int64_t structures, const int64_t* senders,
                         const int64_t* receivers, const int64_t* row_ptr, const int64_t* batch, const int64_t* images,
                         const void* positions, const void* cell, void* vectors, int threads);

// sender_perm [E], sender_ptr [N + 1]: the order of the edges by sender.
int equinet_edge_vectors_backward(int dtype, int64_t nodes, int64_t edges, int64_t structures, const int64_t* senders,
                                  const int64_t* receivers, const int64_t* row_ptr, const int64_t* batch,
                                  const int64_t* images, const int64_t* sender_perm, const int64_t* sender_ptr,
                                  const void* g, void* d_positions, void* d_cell, int threads);

// row_ptr [segments + 1], from 0 to rows. values [rows, columns] -> sums [segments, columns].
int equinet_segment_sum(int dtype, int64_t segments, int64_t rows, int64_t columns, const int64_t* row_ptr,
                        const void* values, void* sums, int threads);

// The transpose: values [segments, columns] -> out [rows, columns].
int equinet_segment_gather(int dtype, int64_t segments, int64_t rows, int64_t columns, const int64_t* row_ptr,
                           const void* values, void* out, int threads);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
