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
#define EQUINET_ABI_VERSION 1
int equinet_abi_version(void);
const char* equinet_last_error(void);
// Bytes of a vector: 16, 32 or 64.
int equinet_vector_bytes(void);

// GOMP_parallel of the OpenMP runtime that the host computes with; NULL: threads are started for each call.
void equinet_set_parallel_region(void (*region)(void (*body)(void*), void* data, unsigned threads, unsigned flags));

// Sizes of rows, [x, y, w, out].
int equinet_uvu_conv_sizes(const char* spec, int64_t sizes[4]);

// x [N, x], y [E, y], w [E, w] -> out [N, out]. senders, receivers [E], row_ptr [N + 1]: edges ordered by
// receiver.
int equinet_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                     const int64_t* receivers, const int64_t* row_ptr, const void* x, const void* y, const void* w, void* out, int threads);

int equinet_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                              const int64_t* receivers, const int64_t* row_ptr, const void* g, const void* x,
                              const void* y, const void* w, void* dx, void* dy, void* dw, int threads);

// x_dot, y_dot, w_dot: cotangents of dx, dy, dw. gg, gx, gy, gw: gradients of g, x, y, w.
int equinet_uvu_conv_double_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                                     const int64_t* receivers, const int64_t* row_ptr, const void* x_dot, const void* y_dot, const void* w_dot,
                                     const void* g, const void* x, const void* y, const void* w, void* gg, void* gx,
                                     void* gy, void* gw, int threads);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
