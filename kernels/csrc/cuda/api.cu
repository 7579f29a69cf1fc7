#include "api.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "conv.h"

namespace {

using namespace equinet;
using namespace equinet::cuda;

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

// Makes the device of an array the current one for as long as this lives: the host's may be another.
class OnDeviceOf {
public:
    explicit OnDeviceOf(const void* array) {
        if (!array) return;  // nothing will run
        cudaPointerAttributes attributes{};
        require_success(cudaPointerGetAttributes(&attributes, array), "where the arrays are");
        require(attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged,
                "the arrays are not in the memory of a CUDA device");
        require_success(cudaGetDevice(&before_), "which device");
        if (attributes.device == before_) return;
        require_success(cudaSetDevice(attributes.device), "choice of the device");
        changed_ = true;
    }
    OnDeviceOf(const OnDeviceOf&) = delete;
    OnDeviceOf& operator=(const OnDeviceOf&) = delete;
    ~OnDeviceOf() {
        if (changed_) cudaSetDevice(before_);
    }

private:
    int before_ = 0;
    bool changed_ = false;
};

// Calls body with a typed null pointer, which says whether numbers are float or double.
template <class Body>
void with_dtype(int dtype, const Body& body) {
    require(dtype == 0 || dtype == 1, "dtype must be 0 (float) or 1 (double), got " + std::to_string(dtype));
    if (dtype == 0)
        body(static_cast<float*>(nullptr));
    else
        body(static_cast<double*>(nullptr));
}

template <class Pointer>
using Number = std::remove_pointer_t<Pointer>;

Level level_of(int level) {
    require(level >= 0 && level <= 2, "level must be 0, 1 or 2, got " + std::to_string(level));
    return static_cast<Level>(level);
}

const LevelPlan& plan_of(const char* spec, int dtype, int level) {
    const LevelPlan* plan = nullptr;
    with_dtype(dtype, [&](auto* number) { plan = &level_plan<Number<decltype(number)>>(spec, level_of(level)); });
    return *plan;
}

// What a level reads and writes, of either precision.
struct Pointers {
    const void *x, *y, *w, *g, *x_dot, *y_dot, *w_dot;
    void *out, *dx, *dy, *dw, *scratch;
};

int run(const char* spec, int dtype, Level level, const Graph& graph, const Pointers& p, void* stream) {
    return guarded([&] {
        require(graph.nodes >= 0 && graph.edges >= 0, "negative number of nodes or edges");
        const OnDeviceOf device(graph.nodes ? graph.row_ptr : nullptr);
        with_dtype(dtype, [&](auto* number) {
            using T = Number<decltype(number)>;
            const auto in = [](const void* data) { return static_cast<const T*>(data); };
            const auto out = [](void* data) { return static_cast<T*>(data); };
            const Arrays<T> arrays{in(p.x),   in(p.y),     in(p.w),     in(p.g),   in(p.x_dot), in(p.y_dot),
                                   in(p.w_dot), out(p.out), out(p.dx), out(p.dy), out(p.dw),   out(p.scratch)};
            run_conv<T>(spec, level, graph, arrays, static_cast<cudaStream_t>(stream));
        });
    });
}

}  // namespace

int equinet_cuda_abi_version(void) { return EQUINET_CUDA_ABI_VERSION; }

const char* equinet_cuda_last_error(void) { return last_error.c_str(); }

int equinet_cuda_uvu_conv_sizes(const char* spec, int64_t sizes[4]) {
    return guarded([&] {
        const ConvPlan& plan = conv_plan(spec);
        sizes[0] = plan.x_dim, sizes[1] = plan.y_dim, sizes[2] = plan.w_dim, sizes[3] = plan.out_dim;
    });
}

int equinet_cuda_uvu_conv_scratch(const char* spec, int dtype, int level, int64_t edges, int64_t* bytes) {
    return guarded([&] {
        const int64_t size = dtype ? sizeof(double) : sizeof(float);
        *bytes = size * scratch_numbers(conv_plan(spec), plan_of(spec, dtype, level), level_of(level), edges);
    });
}

int equinet_cuda_uvu_conv_describe(const char* spec, int dtype, int level, char* text, int64_t size) {
    return guarded([&] {
        const std::string description = describe(plan_of(spec, dtype, level));
        require(static_cast<int64_t>(description.size()) < size, "no room for the description");
        std::memcpy(text, description.c_str(), description.size() + 1);
    });
}

int equinet_cuda_uvu_conv(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                          const int64_t* /* receivers: row_ptr says them */, const int64_t* row_ptr,
                          const int64_t* sender_perm, const int64_t* sender_ptr, const void* x, const void* y, const void* w,
                          void* out, void* stream) {
    Pointers p{};
    p.x = x, p.y = y, p.w = w, p.out = out;
    return run(spec, dtype, Level::kForward, {nodes, edges, senders, row_ptr, sender_perm, sender_ptr}, p, stream);
}

int equinet_cuda_uvu_conv_backward(const char* spec, int dtype, int64_t nodes, int64_t edges, const int64_t* senders,
                                   const int64_t* /* receivers */, const int64_t* row_ptr, const int64_t* sender_perm,
                                   const int64_t* sender_ptr, const void* g, const void* x, const void* y, const void* w,
                                   void* dx, void* dy, void* dw, void* scratch, void* stream) {
    Pointers p{};
    p.x = x, p.y = y, p.w = w, p.g = g, p.dx = dx, p.dy = dy, p.dw = dw, p.scratch = scratch;
    return run(spec, dtype, Level::kBackward, {nodes, edges, senders, row_ptr, sender_perm, sender_ptr}, p, stream);
}

int equinet_cuda_uvu_conv_double_backward(const char* spec, int dtype, int64_t nodes, int64_t edges,
                                          const int64_t* senders, const int64_t* /* receivers */, const int64_t* row_ptr,
                                          const int64_t* sender_perm, const int64_t* sender_ptr, const void* x_dot,
                                          const void* y_dot, const void* w_dot, const void* g, const void* x,
                                          const void* y, const void* w, void* gg, void* gx, void* gy, void* gw,
                                          void* scratch, void* stream) {
    const Pointers p{x, y, w, g, x_dot, y_dot, w_dot, gg, gx, gy, gw, scratch};
    return run(spec, dtype, Level::kDoubleBackward, {nodes, edges, senders, row_ptr, sender_perm, sender_ptr}, p, stream);
}
