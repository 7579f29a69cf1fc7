#include "api.h"

#include <stdexcept>
#include <string>

#include "conv.h"
#include "coupling.h"
#include "geometry.h"
#include "harmonics.h"
#include "parallel.h"
#include "segment.h"
#include "simd.h"
#include "spline.h"
#include "tabulated.h"

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
Graph checked_graph(int64_t nodes, int64_t edges, int64_t first, int64_t last, const int64_t* senders,
                    const int64_t* receivers, const int64_t* row_ptr) {
    const auto text = [](int64_t number) { return std::to_string(number); };
    require(nodes >= 0 && edges >= 0, "negative number of nodes or edges");
    require(0 <= first && first <= last && last <= nodes, "receivers " + text(first) + " to " + text(last) +
                                                              " are not among " + text(nodes) + " nodes");
    require(row_ptr[0] == 0 && row_ptr[nodes] == edges,
            "row_ptr must run from 0 to the number of edges, " + text(edges) + "; it runs from " + text(row_ptr[0]) +
                " to " + text(row_ptr[nodes]) + "; edges must be sorted by receiver");
    for (int64_t n = first; n < last; ++n)
        if (row_ptr[n] > row_ptr[n + 1] || row_ptr[n] < 0 || row_ptr[n + 1] > edges)
            throw std::invalid_argument("row_ptr falls or leaves the edges at node " + text(n));
    for (int64_t n = first; n < last; ++n)
        for (int64_t e = row_ptr[n]; e < row_ptr[n + 1]; ++e) {
            if (senders[e] < 0 || senders[e] >= nodes || receivers[e] < 0 || receivers[e] >= nodes)
                throw std::invalid_argument("edge " + text(e) + " runs from node " + text(senders[e]) + " to node " +
                                            text(receivers[e]) + ", but there are " + text(nodes) + " nodes");
            if (receivers[e] != n)
                throw std::invalid_argument("edge " + text(e) + " is not among the edges of its receiver, node " +
                                            text(receivers[e]) + ", by row_ptr; edges must be sorted by receiver");
        }
    return {senders, row_ptr, first, last};
}

void require_degree(int l_max) {
    require(l_max >= 0 && l_max <= kMaxDegree, "l_max must be 0.." + std::to_string(kMaxDegree) + ", got " + std::to_string(l_max));
}

// name: of what points at the first row of each segment.
void require_pointers(const int64_t* ptr, int64_t segments, int64_t rows, const std::string& name) {
    const auto text = [](int64_t number) { return std::to_string(number); };
    require(ptr[0] == 0 && ptr[segments] == rows, name + " must run from 0 to the number of rows, " + text(rows) +
                                                      "; it runs from " + text(ptr[0]) + " to " + text(ptr[segments]));
    for (int64_t s = 0; s < segments; ++s)
        if (ptr[s] > ptr[s + 1]) throw std::invalid_argument(name + " falls after its entry " + text(s));
}

Segments checked_segments(int64_t segments, int64_t rows, int64_t columns, const int64_t* row_ptr) {
    require(segments >= 0 && rows >= 0 && columns >= 0, "negative number of segments, rows or columns");
    require_pointers(row_ptr, segments, rows, "row_ptr");
    return {segments, rows, columns, row_ptr};
}

Edges checked_edges(int64_t nodes, int64_t edges, int64_t structures, const int64_t* senders, const int64_t* receivers,
                    const int64_t* row_ptr, const int64_t* batch, const int64_t* images, const int64_t* sender_perm,
                    const int64_t* sender_ptr) {
    checked_graph(nodes, edges, 0, nodes, senders, receivers, row_ptr);
    if (sender_ptr) require_pointers(sender_ptr, nodes, edges, "sender_ptr");
    for (int64_t n = 0; n < nodes; ++n)
        if (batch[n] < (n ? batch[n - 1] : 0) || batch[n] >= structures)
            throw std::invalid_argument("batch must ascend within 0.." + std::to_string(structures - 1) + ", but node " +
                                        std::to_string(n) + " is of structure " + std::to_string(batch[n]));
    return {nodes, edges, structures, senders, receivers, row_ptr, sender_perm, sender_ptr, batch, images};
}

template <class T>
SplineTable<T> checked_table(int64_t columns, int64_t intervals, double spacing, const T* values) {
    require(columns >= 0 && intervals >= 1 && spacing > 0, "a spline needs an interval and a positive spacing");
    return {columns, intervals, spacing, values};
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

int equinet_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, int64_t first, int64_t last,
                     const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr, const void* x,
                     const void* y, const void* w, void* out, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        const Graph graph = checked_graph(nodes, edges, first, last, senders, receivers, row_ptr);
        conv_forward(conv_plan(spec), graph, in(T, x), in(T, y), in(T, w), out_of(T, out), threads);
    });
}

int equinet_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, int64_t first, int64_t last,
                              const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr, const void* g,
                              const void* x, const void* y, const void* w, void* dx, void* dy, void* dw, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        const Graph graph = checked_graph(nodes, edges, first, last, senders, receivers, row_ptr);
        conv_backward(conv_plan(spec), graph, in(T, g), in(T, x), in(T, y), in(T, w), out_of(T, dx), out_of(T, dy),
                      out_of(T, dw), threads);
    });
}

int equinet_uvu_conv_double_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, int64_t first,
                                     int64_t last, const int64_t* senders, const int64_t* receivers,
                                     const int64_t* row_ptr, const void* x_dot, const void* y_dot, const void* w_dot,
                                     const void* g, const void* x, const void* y, const void* w, void* gg, void* gx,
                                     void* gy, void* gw, void* gw_dot, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        const Graph graph = checked_graph(nodes, edges, first, last, senders, receivers, row_ptr);
        conv_double_backward(conv_plan(spec), graph, in(T, x_dot), in(T, y_dot), in(T, w_dot), in(T, g), in(T, x),
                             in(T, y), in(T, w), out_of(T, gg), out_of(T, gx), out_of(T, gy), out_of(T, gw),
                             out_of(T, gw_dot), threads);
    });
}

int equinet_radial_spline(int dtype, int64_t edges, int64_t columns, int64_t intervals, double spacing,
                          int derivative, const double* lengths, const void* table, void* out, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        require(edges >= 0 && derivative >= 0 && derivative <= 3, "a spline has derivatives 0..3");
        spline(checked_table(columns, intervals, spacing, in(T, table)), edges, derivative, lengths, out_of(T, out),
               threads);
    });
}

int equinet_tabulated_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                               const int64_t* receivers, const int64_t* row_ptr, const void* x, const double* vectors,
                               int64_t intervals, double spacing, const void* table, void* out, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        const Graph graph = checked_graph(nodes, edges, 0, nodes, senders, receivers, row_ptr);
        const ConvPlan& plan = conv_plan(spec);
        const TabulatedEdges source(plan, vectors, checked_table(plan.w_dim, intervals, spacing, in(T, table)),
                                    nullptr);
        conv_forward(plan, graph, in(T, x), source, out_of(T, out), threads);
    });
}

int equinet_tabulated_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges,
                                        const int64_t* senders, const int64_t* receivers, const int64_t* row_ptr,
                                        const void* g, const void* x, const double* vectors, int64_t intervals,
                                        double spacing, const void* table, void* dx, double* dvectors,
                                        int threads) {
    return with_dtype(dtype, [&](auto* T) {
        const Graph graph = checked_graph(nodes, edges, 0, nodes, senders, receivers, row_ptr);
        const ConvPlan& plan = conv_plan(spec);
        const TabulatedEdges source(plan, vectors, checked_table(plan.w_dim, intervals, spacing, in(T, table)),
                                    dvectors);
        conv_backward(plan, graph, in(T, g), in(T, x), source, out_of(T, dx), threads);
    });
}

int equinet_spherical_harmonics(int l_max, int dtype, int64_t edges, const void* directions, void* y, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        require_degree(l_max);
        harmonics_forward(l_max, edges, in(T, directions), out_of(T, y), threads);
    });
}

int equinet_spherical_harmonics_backward(int l_max, int dtype, int64_t edges, const void* g, const void* directions,
                                         void* d, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        require_degree(l_max);
        harmonics_backward(l_max, edges, in(T, g), in(T, directions), out_of(T, d), threads);
    });
}

int equinet_spherical_harmonics_double_backward(int l_max, int dtype, int64_t edges, const void* d_dot, const void* g,
                                                const void* directions, void* gg, void* gd, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        require_degree(l_max);
        harmonics_double_backward(l_max, edges, in(T, d_dot), in(T, g), in(T, directions), out_of(T, gg), out_of(T, gd),
                                  threads);
    });
}

int equinet_edge_vectors(int dtype, int64_t nodes, int64_t edges, int64_t structures, const int64_t* senders,
                         const int64_t* receivers, const int64_t* row_ptr, const int64_t* batch, const int64_t* images,
                         const void* positions, const void* cell, void* vectors, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        edge_vectors(checked_edges(nodes, edges, structures, senders, receivers, row_ptr, batch, images, nullptr, nullptr),
                     in(T, positions), in(T, cell), out_of(T, vectors), threads);
    });
}

int equinet_edge_vectors_backward(int dtype, int64_t nodes, int64_t edges, int64_t structures, const int64_t* senders,
                                  const int64_t* receivers, const int64_t* row_ptr, const int64_t* batch,
                                  const int64_t* images, const int64_t* sender_perm, const int64_t* sender_ptr,
                                  const void* g, void* d_positions, void* d_cell, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        edge_vectors_backward(checked_edges(nodes, edges, structures, senders, receivers, row_ptr, batch, images, sender_perm,
                                            sender_ptr),
                              in(T, g), out_of(T, d_positions), out_of(T, d_cell), threads);
    });
}

int equinet_segment_sum(int dtype, int64_t segments, int64_t rows, int64_t columns, const int64_t* row_ptr,
                        const void* values, void* sums, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        segment_sum(checked_segments(segments, rows, columns, row_ptr), in(T, values), out_of(T, sums), threads);
    });
}

int equinet_segment_gather(int dtype, int64_t segments, int64_t rows, int64_t columns, const int64_t* row_ptr,
                           const void* values, void* out, int threads) {
    return with_dtype(dtype, [&](auto* T) {
        segment_gather(checked_segments(segments, rows, columns, row_ptr), in(T, values), out_of(T, out), threads);
    });
}
