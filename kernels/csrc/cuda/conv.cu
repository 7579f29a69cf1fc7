#include "conv.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "kernels.h"

namespace equinet::cuda {

namespace {

// A level's tables on the present device: copied once, and kept as long as the process lives, for captured graphs read
// them whenever they are replayed.
const unsigned char* tables_on_device(const LevelPlan& plan, cudaStream_t stream) {
    static std::mutex mutex;
    static std::map<std::pair<const LevelPlan*, int>, const unsigned char*> copies;
    int device = 0;
    require_success(cudaGetDevice(&device), "which device");
    const std::lock_guard<std::mutex> lock(mutex);
    const unsigned char*& copy = copies[{&plan, device}];
    if (!copy) {
        void* memory = nullptr;
        require_success(cudaMalloc(&memory, plan.tables.size()), "memory for tables");
        require_success(cudaMemcpyAsync(memory, plan.tables.data(), plan.tables.size(), cudaMemcpyHostToDevice, stream),
                        "copy of tables");
        require_success(cudaStreamSynchronize(stream), "copy of tables");  // other streams read them, too
        copy = static_cast<const unsigned char*>(memory);
    }
    return copy;
}

template <class T>
Arguments<T> arguments_of(const ConvPlan& plan, const Graph& graph, const Arrays<T>& arrays) {
    Arguments<T> a{};
    a.senders = graph.senders, a.row_ptr = graph.row_ptr;
    a.x = arrays.x, a.y = arrays.y, a.w = arrays.w, a.g = arrays.g;
    a.x_dot = arrays.x_dot, a.y_dot = arrays.y_dot, a.w_dot = arrays.w_dot;
    a.out = arrays.out, a.dw = arrays.dw, a.dx = arrays.scratch, a.dy = arrays.dy;
    a.dy_more = arrays.scratch + graph.edges * plan.x_dim;
    a.dy_size = graph.edges * plan.y_dim;
    a.x_dim = plan.x_dim, a.w_dim = plan.w_dim, a.out_dim = plan.out_dim, a.y_dim = static_cast<int>(plan.y_dim);
    return a;
}

template <class T>
void set_group(Arguments<T>& a, const Group& group, const TableOffsets& offsets, const unsigned char* tables) {
    a.channels = group.channels, a.x_offset = group.x_offset, a.w_offset = group.w_offset;
    a.paths = group.paths, a.rows = group.rows, a.diagonal = group.diagonal;
    a.elements = group.elements, a.b_size = group.b_size, a.edges = group.edges;
    a.adds_dx = !group.opens_block;
    a.opens = 0;
    int row = 0;
    for (int p = 0; p < group.paths; ++p) {
        if (row < kMostForwardRows) a.opens |= 1u << row;
        a.components[p] = group.components[p];
        row += group.components[p];
    }
    a.element_table = reinterpret_cast<const Element<T>*>(tables + offsets.elements);
    a.columns = reinterpret_cast<const int*>(tables + offsets.columns);
    a.starts = reinterpret_cast<const int*>(tables + offsets.starts);
    a.couplings = reinterpret_cast<const Coupling<T>*>(tables + offsets.couplings);
}

template <class T>
Kernel<T> kernel_of(Level level, const Group& group) {
    if (level == Level::kForward) return forward_kernel<T>(group);
    return level == Level::kBackward ? backward_kernel<T>(group) : double_backward_kernel<T>(group);
}

const char* name_of(Level level) {
    static const char* const names[] = {"uvu_conv", "uvu_conv_backward", "uvu_conv_double_backward"};
    return names[static_cast<int>(level)];
}

// The gradient of x: over the blocks that have paths the sums of their edges' parts, in the others zeros.
template <class T>
void finish_dx(const ConvPlan& plan, const Graph& graph, const T* rows, T* dx, cudaStream_t stream) {
    const auto zeros = [&](int64_t first, int64_t last) {
        if (first == last) return;
        const std::size_t pitch = sizeof(T) * plan.x_dim;
        require_success(cudaMemset2DAsync(dx + first, pitch, 0, sizeof(T) * (last - first), graph.nodes, stream), "zeros");
    };
    int64_t first = 0, last = 0;  // of the columns at hand
    for (const ConvPath& path : plan.paths) {
        if (!path.opens_block) continue;
        if (path.x_offset > last) {
            if (first < last) run_sum_over_senders(graph, plan.x_dim, first, last - first, rows, dx, stream);
            zeros(last, path.x_offset);
            first = path.x_offset;
        }
        last = path.x_offset + static_cast<int64_t>(path.d1) * path.channels;
    }
    run_sum_over_senders(graph, plan.x_dim, first, last - first, rows, dx, stream);
    zeros(last, plan.x_dim);
}

}  // namespace

void require_success(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // it is ours to report: the host's next check shall not find it
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

int64_t scratch_numbers(const ConvPlan& plan, const LevelPlan& level_plan, Level level, int64_t edges) {
    return level == Level::kForward ? 0 : edges * (plan.x_dim + (level_plan.tiles - 1) * plan.y_dim);
}

template <class T>
void run_conv(const std::string& spec, Level level, const Graph& graph, const Arrays<T>& arrays, cudaStream_t stream) {
    const ConvPlan& plan = conv_plan(spec);
    const LevelPlan& work = level_plan<T>(spec, level);
    if (graph.nodes > std::numeric_limits<int>::max()) throw std::invalid_argument("more than 2^31 nodes");
    if (graph.nodes == 0) return;
    const unsigned char* tables = tables_on_device(work, stream);
    Arguments<T> a = arguments_of(plan, graph, arrays);
    for (std::size_t n = 0; n < work.groups.size(); ++n) {
        const Group& group = work.groups[n];
        set_group(a, group, work.offsets[n], tables);
        const dim3 grid(static_cast<unsigned>(graph.nodes), static_cast<unsigned>(group.tiles));
        launch(name_of(level), kernel_of<T>(level, group), grid, kWarp, group.shared_bytes, stream, a);
        a.written_tiles = std::max(a.written_tiles, group.tiles);
    }
    if (level == Level::kForward) return;
    finish_dx(plan, graph, arrays.scratch, arrays.dx, stream);
    if (work.tiles > 1 && graph.edges > 0) run_add_in_order(a.dy_size, work.tiles - 1, a.dy_more, a.dy, stream);
}

template void run_conv(const std::string&, Level, const Graph&, const Arrays<float>&, cudaStream_t);
template void run_conv(const std::string&, Level, const Graph&, const Arrays<double>&, cudaStream_t);

}  // namespace equinet::cuda
