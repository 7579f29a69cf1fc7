#include "conv.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "conv_paths.h"
#include "coupling.h"
#include "memory.h"
#include "parallel.h"

namespace equinet {

namespace {

constexpr int64_t kEdgesPerTask = 64;
constexpr int64_t kEdgesPerSweep = 512;  // for each thread; what waits for its senders stays in the cache
constexpr int64_t kCacheLine = 64;

template <class T>
using PathFunction = void (*)(const GroupPath<T>&);

// The three functions of one pair of degrees.
template <class T>
struct PathFunctions {
    PathFunction<T> forward, backward, double_backward;
};

template <class Loops, class T>
constexpr PathFunctions<T> functions_in{Loops::forward, Loops::backward, Loops::double_backward};

// Degrees up to 3 have straight code for each pair; higher ones, which are rare, share loops.
constexpr int kDegrees = 4;

template <class T, std::size_t... Index>
constexpr std::array<PathFunctions<T>, sizeof...(Index)> full_table(std::index_sequence<Index...>) {
    return {functions_in<PathLoops<T, 2 * (Index / kDegrees) + 1, 2 * (Index % kDegrees) + 1, false>, T>...};
}

template <class T, std::size_t... Degree>
constexpr std::array<PathFunctions<T>, sizeof...(Degree)> diagonal_table(std::index_sequence<Degree...>) {
    return {functions_in<PathLoops<T, 2 * Degree + 1, 2 * Degree + 1, true>, T>...};
}

template <class T>
const PathFunctions<T>& functions_of(const ConvPath& path) {
    static constexpr auto full = full_table<T>(std::make_index_sequence<kDegrees * kDegrees>());
    static constexpr auto diagonal = diagonal_table<T>(std::make_index_sequence<kDegrees>());
    const int l1 = path.d1 / 2, l3 = path.d3 / 2;
    if (l1 >= kDegrees || l3 >= kDegrees)
        return path.diagonal ? functions_in<PathLoops<T, 0, 0, true>, T> : functions_in<PathLoops<T, 0, 0, false>, T>;
    return path.diagonal ? diagonal[l1] : full[l1 * kDegrees + l3];
}

// Receivers whose first edge is one of first..last-1; a receiver without edges goes with the edge that would be its.
struct Receivers {
    int64_t first, last;
};

Receivers receivers_of(const Graph& graph, int64_t first_edge, int64_t last_edge) {
    const int64_t *begin = graph.row_ptr + graph.first, *end = graph.row_ptr + graph.last;
    const auto first_at = [&](int64_t edge) { return std::lower_bound(begin, end, edge) - graph.row_ptr; };
    return {first_at(first_edge), last_edge >= graph.last_edge() ? graph.last : first_at(last_edge)};
}

// Room for one thread.
template <class T>
struct Scratch {
    static constexpr int L = kLanes<T>;
    std::vector<T> b, b_dot, a, a_dot, moments, dy;

    Scratch(const ConvPlan& plan, int level)
        : b(plan.b_dim * L),
          b_dot(level == 2 ? plan.b_dim * L : 0),
          a(level >= 1 ? plan.max_rows : 0),
          a_dot(level == 2 ? plan.max_rows : 0),
          moments(level >= 1 ? plan.max_moments * L : 0),
          dy(level >= 1 ? plan.y_dim * L : 0) {}
};

// B of kLanes edges at once, an edge in each lane: [b_dim, kLanes]. Lanes beyond `edges` repeat the last edge.
template <class T>
void make_b(const ConvPlan& plan, const T* y, int64_t edges, T* b) {
    using V = Vec<T>;
    constexpr int L = kLanes<T>;
    T columns[(kMaxDegree + 1) * (kMaxDegree + 1) * L];
    for (int e = 0; e < L; ++e)
        for (int j = 0; j < plan.y_dim; ++j) columns[j * L + e] = y[std::min<int64_t>(e, edges - 1) * plan.y_dim + j];
    const Coupling<T>* next = plan.couplings(T{}).by_b.data();
    const Coupling<T>* end = next + plan.couplings(T{}).by_b.size();
    for (int row = 0; row < plan.b_dim; ++row) {
        V sum{};
        for (; next != end && next->b == row; ++next) sum += next->value * load<V>(columns + next->j * L);
        store(b + row * L, sum);
    }
}

// dy of one edge, lane by lane, from the moments of one path.
template <class T>
void add_to_dy(const ConvPlan& plan, std::size_t path, const T* moments, T* dy) {
    using V = Vec<T>;
    constexpr int L = kLanes<T>;
    const Coupling<T>* next = plan.couplings(T{}).by_j.data() + plan.path_couplings[path];
    const Coupling<T>* end = plan.couplings(T{}).by_j.data() + plan.path_couplings[path + 1];
    moments -= plan.paths[path].b_offset * L;
    while (next != end) {
        const int j = next->j;
        V sum = load<V>(dy + j * L);
        for (; next != end && next->j == j; ++next) sum += next->value * load<V>(moments + next->b * L);
        store(dy + j * L, sum);
    }
}

// What one level reads and writes, as rows; absent ones stay null.
template <class T>
struct Arrays {
    const T *x, *y, *w, *g;
    const T *x_dot, *y_dot, *w_dot;
    T *out, *dy, *dw, *dw_dot;
    int64_t first;  // edge of the first row of y, w and what is like them
    T* dx_edges;    // [edges from dx_first on, x_dim]: what goes to the sender of each edge
    int64_t dx_first;
    const EdgeSource<T>* source;  // of y and w, if they are not there
};

// One edge or, forward, `edges` of one receiver from `first` on, over all paths. Level 0: forward, 1: backward, 2: double
// backward. b and b_dot are of the first edge.
template <class T, int Level>
void run_paths(const ConvPlan& plan, const Arrays<T>& a, const std::vector<PathFunction<T>>& functions,
               const int64_t* x_rows, int64_t w_row, int64_t out_row, int64_t edges, const T* b, const T* b_dot, T* dx,
               Scratch<T>& scratch) {
    constexpr int L = kLanes<T>;
    GroupPath<T> p{};
    p.edges = edges;
    p.x_rows = x_rows;
    p.w_dim = plan.w_dim;
    p.a = scratch.a.data(), p.a_dot = scratch.a_dot.data(), p.moments = scratch.moments.data();
    for (std::size_t index = 0; index < plan.paths.size(); ++index) {
        const ConvPath& path = plan.paths[index];
        p.d1 = path.d1, p.d3 = path.d3;
        p.channels = path.channels, p.out_stride = path.out_stride;
        p.b = b + path.b_offset * L;
        p.x = a.x + path.x_offset + (Level ? *x_rows : 0);
        p.w = a.w + w_row + path.w_offset;
        if (Level != 1) p.out = a.out + out_row + path.out_offset;
        if (Level) {
            p.g = a.g + out_row + path.out_offset;
            p.dx = dx + path.x_offset;
            p.opens_block = path.opens_block;
            p.dw = a.dw + w_row + path.w_offset;
        }
        if (Level == 2) {
            p.b_dot = b_dot + path.b_offset * L;
            p.x_dot = a.x_dot + path.x_offset + *x_rows;
            p.w_dot = a.w_dot + w_row + path.w_offset;
            p.dw_dot = a.dw_dot ? a.dw_dot + w_row + path.w_offset : nullptr;
        }
        functions[index](p);
        if (Level) add_to_dy(plan, index, scratch.moments.data(), scratch.dy.data());
    }
}

// Up to kLanes edges of one receiver, from `first` on.
template <class T, int Level>
void run_group(const ConvPlan& plan, const Graph& graph, const Arrays<T>& a, int64_t receiver, int64_t first,
               int64_t edges, const std::vector<PathFunction<T>>& functions, Scratch<T>& scratch) {
    constexpr int L = kLanes<T>;
    const int64_t local = first - a.first, w_row = local * plan.w_dim, out_row = receiver * plan.out_dim;
    const T *b = scratch.b.data(), *b_dot = scratch.b_dot.data();
    make_b(plan, a.y + local * plan.y_dim, edges, scratch.b.data());
    if (Level == 2) make_b(plan, a.y_dot + local * plan.y_dim, edges, scratch.b_dot.data());
    int64_t x_rows[L];
    for (int64_t e = 0; e < edges; ++e) x_rows[e] = graph.senders[first + e] * plan.x_dim;
    if (Level == 0) {
        run_paths<T, 0>(plan, a, functions, x_rows, w_row, out_row, edges, b, nullptr, nullptr, scratch);
        return;
    }
    // the derivatives take edge by edge: the rows of a group, taken in turn, would drive each other from the cache
    for (int64_t e = 0; e < edges; ++e) {
        T *dx = a.dx_edges + (first + e - a.dx_first) * plan.x_dim, *dy = a.dy + (local + e) * plan.y_dim;
        if (plan.unused_blocks) std::memset(dx, 0, sizeof(T) * plan.x_dim);
        std::fill(scratch.dy.begin(), scratch.dy.end(), T(0));
        run_paths<T, Level>(plan, a, functions, x_rows + e, w_row + e * plan.w_dim, out_row, 1, b + e, b_dot + e, dx,
                            scratch);
        for (int64_t j = 0; j < plan.y_dim; ++j) dy[j] = sum_of_lanes(&scratch.dy[j * L]);
    }
}

// The edges of some receivers, in order. How they fall into groups depends on the graph alone, and so does every bit.
template <class T, int Level>
void run_receivers(const ConvPlan& plan, const Graph& graph, const Arrays<T>& a, Receivers receivers,
                   const std::vector<PathFunction<T>>& functions, Scratch<T>& scratch) {
    constexpr int64_t L = kLanes<T>;
    if (Level != 1)
        std::memset(a.out + receivers.first * plan.out_dim, 0,
                    sizeof(T) * (receivers.last - receivers.first) * plan.out_dim);
    for (int64_t n = receivers.first; n < receivers.last; ++n)
        for (int64_t first = graph.row_ptr[n]; first < graph.row_ptr[n + 1]; first += L)
            run_group<T, Level>(plan, graph, a, n, first, std::min(L, graph.row_ptr[n + 1] - first), functions,
                                scratch);
}

// What a source makes for the edges of one task, and their gradients.
template <class T>
struct Made {
    std::unique_ptr<T[]> y, w, w_slope, dy, dw;  // not filled: every row is written before it is read
    int64_t room = 0;

    Arrays<T> make(const ConvPlan& plan, Arrays<T> arrays, int64_t first, int64_t edges, int level) {
        if (edges > room) {
            room = edges;
            y.reset(new T[room * plan.y_dim]), w.reset(new T[room * plan.w_dim]);
            if (level) dy.reset(new T[room * plan.y_dim]), dw.reset(new T[room * plan.w_dim]);
            if (level) w_slope.reset(new T[room * plan.w_dim]);
        }
        arrays.source->make(first, edges, y.get(), w.get(), w_slope.get());
        arrays.y = y.get(), arrays.w = w.get(), arrays.dy = dy.get(), arrays.dw = dw.get();
        arrays.first = first;
        return arrays;
    }
};

template <class T, int Level>
void run_tasks(const ConvPlan& plan, const Graph& graph, const Arrays<T>& arrays, int64_t first_edge, int64_t last_edge,
               int threads) {
    std::vector<PathFunction<T>> functions;
    for (const ConvPath& path : plan.paths) {
        const PathFunctions<T>& three = functions_of<T>(path);
        functions.push_back(Level == 0 ? three.forward : Level == 1 ? three.backward : three.double_backward);
    }
    const int64_t tasks = std::max<int64_t>(1, (last_edge - first_edge + kEdgesPerTask - 1) / kEdgesPerTask);
    parallel_for(tasks, threads, [&] {
        return [&, scratch = Scratch<T>(plan, Level), made = Made<T>()](int64_t task) mutable {
            const int64_t begin = first_edge + task * kEdgesPerTask;
            const Receivers receivers = receivers_of(graph, begin, std::min(begin + kEdgesPerTask, last_edge));
            if (arrays.source) {
                const int64_t first = graph.row_ptr[receivers.first], edges = graph.row_ptr[receivers.last] - first;
                const Arrays<T> own = made.make(plan, arrays, first, edges, Level);
                run_receivers<T, Level>(plan, graph, own, receivers, functions, scratch);
                if (Level) arrays.source->take(first, edges, own.dy, own.dw, made.w_slope.get());
            } else {
                run_receivers<T, Level>(plan, graph, arrays, receivers, functions, scratch);
            }
        };
    });
}

// Adds the rows of some edges to those of their senders, in the order of the edges; each thread has columns of its own.
template <class T>
void add_to_senders(const int64_t* senders, int64_t edges, int64_t columns, const T* rows, T* out, int threads) {
    const int64_t step = kCacheLine / static_cast<int64_t>(sizeof(T));
    const int64_t width = std::max(step, (columns / threads + step - 1) / step * step);
    parallel_for((columns + width - 1) / width, threads, [&] {
        return [&](int64_t slice) {
            const int64_t begin = slice * width, end = std::min(begin + width, columns);
            for (int64_t e = 0; e < edges; ++e) {
                T* to = out + senders[e] * columns;
                const T* from = rows + e * columns;
                int64_t c = begin;
                for (; c + kLanes<T> <= end; c += kLanes<T>) store(to + c, load<Vec<T>>(to + c) + load<Vec<T>>(from + c));
                for (; c < end; ++c) to[c] += from[c];
            }
        };
    });
}

// Everything that a level writes.
template <class T>
void prefer_large_pages_for(const ConvPlan& plan, const Graph& graph, const Arrays<T>& arrays) {
    const int64_t edges = graph.last_edge() - graph.first_edge();
    if (arrays.out)
        prefer_large_pages(arrays.out + graph.first * plan.out_dim,
                           sizeof(T) * (graph.last - graph.first) * plan.out_dim);
    for (T* rows : {arrays.dw, arrays.dw_dot}) prefer_large_pages(rows, sizeof(T) * edges * plan.w_dim);
}

// Sweeps over the edges: first what receivers do, then what their edges send back, while it is still in the cache.
// The bounds of a sweep change no bit: every sender adds its edges in their order.
template <class T, int Level>
void run_sweeps(const ConvPlan& plan, const Graph& graph, Arrays<T> arrays, T* dx, int threads) {
    prefer_large_pages_for(plan, graph, arrays);
    const int64_t step = kEdgesPerSweep * std::max(1, threads);
    std::unique_ptr<T[]> rows;  // not filled: every row is written before it is read
    int64_t room = 0;
    int64_t first = graph.first_edge();
    do {  // at least once: receivers without edges have results too
        const int64_t last = std::min(first + step, graph.last_edge());
        const Receivers receivers = receivers_of(graph, first, last);
        const int64_t begin = graph.row_ptr[receivers.first], edges = graph.row_ptr[receivers.last] - begin;
        if (edges > room) rows.reset(new T[(room = edges) * plan.x_dim]);
        arrays.dx_edges = rows.get();
        arrays.dx_first = begin;
        run_tasks<T, Level>(plan, graph, arrays, first, last, threads);
        add_to_senders(graph.senders + begin, edges, plan.x_dim, rows.get(), dx, threads);
        first = last;
    } while (first < graph.last_edge());
}

}  // namespace

template <class T>
void conv_forward(const ConvPlan& plan, const Graph& graph, const T* x, const T* y, const T* w, T* out, int threads) {
    Arrays<T> arrays{};
    arrays.x = x, arrays.y = y, arrays.w = w, arrays.out = out;
    arrays.first = graph.first_edge();
    prefer_large_pages_for(plan, graph, arrays);
    run_tasks<T, 0>(plan, graph, arrays, graph.first_edge(), graph.last_edge(), threads);
}

template <class T>
void conv_backward(const ConvPlan& plan, const Graph& graph, const T* g, const T* x, const T* y, const T* w, T* dx,
                   T* dy, T* dw, int threads) {
    Arrays<T> arrays{};
    arrays.x = x, arrays.y = y, arrays.w = w, arrays.g = g, arrays.dy = dy, arrays.dw = dw;
    arrays.first = graph.first_edge();
    run_sweeps<T, 1>(plan, graph, arrays, dx, threads);
}

template <class T>
void conv_double_backward(const ConvPlan& plan, const Graph& graph, const T* x_dot, const T* y_dot, const T* w_dot,
                          const T* g, const T* x, const T* y, const T* w, T* gg, T* gx, T* gy, T* gw, T* gw_dot,
                          int threads) {
    Arrays<T> arrays{};
    arrays.x = x, arrays.y = y, arrays.w = w, arrays.g = g;
    arrays.x_dot = x_dot, arrays.y_dot = y_dot, arrays.w_dot = w_dot;
    arrays.first = graph.first_edge();
    arrays.out = gg, arrays.dy = gy, arrays.dw = gw, arrays.dw_dot = gw_dot;
    run_sweeps<T, 2>(plan, graph, arrays, gx, threads);
}

template <class T>
void conv_forward(const ConvPlan& plan, const Graph& graph, const T* x, const EdgeSource<T>& source, T* out,
                  int threads) {
    Arrays<T> arrays{};
    arrays.x = x, arrays.source = &source, arrays.out = out;
    run_tasks<T, 0>(plan, graph, arrays, graph.first_edge(), graph.last_edge(), threads);
}

template <class T>
void conv_backward(const ConvPlan& plan, const Graph& graph, const T* g, const T* x, const EdgeSource<T>& source, T* dx,
                   int threads) {
    Arrays<T> arrays{};
    arrays.x = x, arrays.g = g, arrays.source = &source;
    run_sweeps<T, 1>(plan, graph, arrays, dx, threads);
}

#define EQUINET_INSTANTIATE(T)                                                                                       \
    template void conv_forward(const ConvPlan&, const Graph&, const T*, const T*, const T*, T*, int);               \
    template void conv_backward(const ConvPlan&, const Graph&, const T*, const T*, const T*, const T*, T*, T*, T*,  \
                                int);                                                                                \
    template void conv_double_backward(const ConvPlan&, const Graph&, const T*, const T*, const T*, const T*,       \
                                       const T*, const T*, const T*, T*, T*, T*, T*, T*, int);                      \
    template void conv_forward(const ConvPlan&, const Graph&, const T*, const EdgeSource<T>&, T*, int);             \
    template void conv_backward(const ConvPlan&, const Graph&, const T*, const T*, const EdgeSource<T>&, T*, int);
EQUINET_INSTANTIATE(float)
EQUINET_INSTANTIATE(double)

}  // namespace equinet
