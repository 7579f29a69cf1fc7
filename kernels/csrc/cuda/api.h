// The C interface of the CUDA operators: raw device pointers and a stream, no torch. One shared library serves every torch.
//
// Every function returns 0, or 1 after an error, whose text equinet_cuda_last_error() then gives (for this thread).
// dtype: 0 for float, 1 for double. Arrays are dense and row-major, in the memory of one device; results are overwritten;
// nothing else is written. Work is queued on the stream (a cudaStream_t) and nothing waits for it, except once for each
// specification and device, when its tables are copied there: call once before capturing a graph.
#pragma once

#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

// Changes whenever a function's arguments or meaning do: a host refuses a library of another version.
#define EQUINET_CUDA_ABI_VERSION 1
int equinet_cuda_abi_version(void);
const char* equinet_cuda_last_error(void);

// Sizes of rows, [x, y, w, out].
int equinet_cuda_uvu_conv_sizes(const char* spec, int64_t sizes[4]);

// Bytes of device memory that a derivative needs for its duration. level: 1 for backward, 2 for double backward.
int equinet_cuda_uvu_conv_scratch(const char* spec, int dtype, int level, int64_t edges, int64_t* bytes);

// How the work is divided: a line for each group of paths, as text of at most size bytes. For reading and for tests.
int equinet_cuda_uvu_conv_describe(const char* spec, int dtype, int level, char* text, int64_t size);

// x [N, x], y [E, y], w [E, w] -> out [N, out]. senders, receivers [E], row_ptr [N + 1]: edges ordered by receiver;
// sender_perm [E], sender_ptr [N + 1]: their order by sender. They are not checked: they are on the device.
int equinet_cuda_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                          const int64_t* receivers, const int64_t* row_ptr, const int64_t* sender_perm,
                          const int64_t* sender_ptr, const void* x, const void* y, const void* w, void* out, void* stream);

int equinet_cuda_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                                   const int64_t* receivers, const int64_t* row_ptr, const int64_t* sender_perm,
                                   const int64_t* sender_ptr, const void* g, const void* x, const void* y, const void* w,
                                   void* dx, void* dy, void* dw, void* scratch, void* stream);

// x_dot, y_dot, w_dot: cotangents of dx, dy, dw. gg, gx, gy, gw: gradients of g, x, y, w.
int equinet_cuda_uvu_conv_double_backward(const char* spec, int dtype, int64_t nodes, int64_t edges,
                                          const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr,
                                          const int64_t* sender_perm, const int64_t* sender_ptr, const void* x_dot,
                                          const void* y_dot, const void* w_dot, const void* g, const void* x,
                                          const void* y, const void* w, void* gg, void* gx, void* gy, void* gw,
                                          void* scratch, void* stream);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
