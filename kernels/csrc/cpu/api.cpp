#include "api.h"

#include <stdexcept>
#include <string>

#include "conv.h"
#include "parallel.h"
#include "simd.h"

namespace {

using namespace equinet;

thread_local std::string last_error;

// No exception may leave a C function.
template <class Body>
int guarded(const Body& body) {
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        last_error = error.what();
        return 1;
    }
}

void require(bool valid, const std::string& message) {
    if (!valid) throw std::invalid_argument(message);
}

// An index out of range would read or write somebody else's memory. Looking costs little: an edge's weights are hundreds
// of times longer than its index.
Graph checked_graph(int64_t nodes, int64_t edges, const int64_t* senders, const int64_t* receivers,
                    const int64_t* row_ptr) {
    const auto text = [](int64_t number) { return std::to_string(number); };
    require(nodes >= 0 && edges >= 0, "negative number of nodes or edges");
    require(row_ptr[0] == 0 && row_ptr[nodes] == edges,
            "row_ptr must run from 0 to the number of edges, " + text(edges) + "; it runs from " + text(row_ptr[0]) +
                " to " + text(row_ptr[nodes]) + "; edges must be sorted by receiver");
    for (int64_t e = 0; e < edges; ++e) {
        const int64_t s = senders[e], r = receivers[e];
        if (s < 0 || s >= nodes || r < 0 || r >= nodes)
            throw std::invalid_argument("edge " + text(e) + " runs from node " + text(s) + " to node " + text(r) +
                                        ", but there are " + text(nodes) + " nodes");
        if (row_ptr[r] > e || row_ptr[r + 1] <= e)
            throw std::invalid_argument("edge " + text(e) + " is not among the edges of its receiver, node " + text(r) +
                                        ", by row_ptr; edges must be sorted by receiver");
    }
    for (int64_t n = 0; n < nodes; ++n)
        if (row_ptr[n] > row_ptr[n + 1]) throw std::invalid_argument("row_ptr falls at node " + text(n));
    return {nodes, edges, senders, row_ptr};
}

// Calls body with a typed null pointer, which says whether numbers are float or double.
template <class Body>
int with_dtype(int dtype, const Body& body) {
    return guarded([&] {
        require(dtype == 0 || dtype == 1, "dtype must be 0 (float) or 1 (double), got " + std::to_string(dtype));
        if (dtype == 0)
            body(static_cast<float*>(nullptr));
        else
            body(static_cast<double*>(nullptr));
    });
}

template <class T>
const T* in(T*, const void* data) {
    return static_cast<const T*>(data);
}

template <class T>
T* out_of(T*, void* data) {
    return static_cast<T*>(data);
}

}  // namespace

int equinet_abi_version(void) { return EQUINET_ABI_VERSION; }

const char* equinet_last_error(void) { return last_error.c_str(); }

int equinet_vector_bytes(void) { return kVectorBytes; }

void equinet_set_parallel_region(void (*region)(void (*)(void*), void*, unsigned, unsigned)) {
    set_parallel_region(region);
}

int equinet_uvu_conv_sizes(const char* spec, int64_t sizes[4]) {
    return guarded([&] {
        const ConvPlan& plan = conv_plan(spec);
        sizes[0] = plan.x_dim, sizes[1] = plan.y_dim, sizes[2] = plan.w_dim, sizes[3] = plan.out_dim;
    });
}

int equinet_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                     const int64_t* receivers, const int64_t* row_ptr, const void* x, const void* y, const void* w, void* out, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        conv_forward(conv_plan(spec), checked_graph(nodes, edges, senders, receivers, row_ptr), in(T, x), in(T, y), in(T, w),
                     out_of(T, out), threads);
    });
}

int equinet_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                              const int64_t* receivers, const int64_t* row_ptr, const void* g, const void* x,
                              const void* y, const void* w, void* dx, void* dy, void* dw, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        conv_backward(conv_plan(spec), checked_graph(nodes, edges, senders, receivers, row_ptr), in(T, g), in(T, x), in(T, y),
                      in(T, w), out_of(T, dx), out_of(T, dy), out_of(T, dw), threads);
    });
}

int equinet_uvu_conv_double_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                                     const int64_t* receivers, const int64_t* row_ptr, const void* x_dot, const void* y_dot, const void* w_dot,
                                     const void* g, const void* x, const void* y, const void* w, void* gg, void* gx,
                                     void* gy, void* gw, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        conv_double_backward(conv_plan(spec), checked_graph(nodes, edges, senders, receivers, row_ptr), in(T, x_dot),
                             in(T, y_dot), in(T, w_dot), in(T, g), in(T, x), in(T, y), in(T, w), out_of(T, gg),
                             out_of(T, gx), out_of(T, gy), out_of(T, gw), threads);
    });
}
