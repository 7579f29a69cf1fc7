// The channel-wise equivariant convolution and its derivatives; conv/registration.py is the same in Python.
#pragma once

#include "operators.h"

namespace equinet {

// Columns of the tensors called x.., y.., w.., g...
inline int64_t columns(const Arguments& a, char name) {
    int64_t sizes[4];
    const auto named = EQUINET_CPU(equinet_uvu_conv_sizes);
    TORCH_CHECK_VALUE(named.function(a.text("spec").c_str(), sizes) == 0, named.last_error());
    return sizes[std::string("xywg").find(name)];
}

// Checks these tensors, and those of the graph.
inline void check_conv(const Arguments& a, Names names) {
    const at::Tensor &x = a["x"], &senders = a["senders"];
    const int64_t nodes = x.size(0), edges = senders.size(0);
    const auto check_device = [&](const std::string& name) {
        TORCH_CHECK_VALUE(a[name].device() == x.device(), "uvu_conv: ", name, " is on ", a[name].device(), ", x on ",
                          x.device());
    };
    for (const std::string& name : names) {
        const bool of_nodes = name[0] == 'x' || name[0] == 'g';
        const int64_t shape[] = {of_nodes ? nodes : edges, columns(a, name[0])};
        const at::Tensor& tensor = a[name];
        TORCH_CHECK_VALUE(tensor.sizes() == at::IntArrayRef(shape), "uvu_conv: ", name, " must be ",
                          at::IntArrayRef(shape), ", got ", tensor.sizes());
        TORCH_CHECK_VALUE(tensor.scalar_type() == x.scalar_type() && is_float(tensor), "uvu_conv: ", name, " is ",
                          dtype_name(tensor), "; all must be float32 or all float64, as x is");
        check_device(name);
    }
    for (const std::string name : {"senders", "receivers", "row_ptr", "sender_perm", "sender_ptr"}) {
        const int64_t length = name.find("_ptr") == std::string::npos ? edges : nodes + 1;
        const at::Tensor& index = a[name];
        TORCH_CHECK_VALUE(index.scalar_type() == at::kLong && index.sizes() == at::IntArrayRef{length},
                          "uvu_conv: ", name, " must be int64 [", length, "], got ", dtype_name(index), " ",
                          index.sizes());
        check_device(name);
    }
}

// Nodes first..last-1.
struct Receivers {
    int64_t first, last;
};

inline Receivers all_receivers(const Arguments& a) { return {0, a["x"].size(0)}; }

// Calls one of the three C functions: first what they share, then their own tensors.
template <class Function, class... Tensors>
void call_conv(Named<Function> function, const Arguments& a, Receivers receivers, const Tensors&... tensors) {
    const at::Tensor &x = a["x"], &senders = a["senders"];
    call(function, a.text("spec"), x.scalar_type(), x.size(0), senders.size(0), receivers.first, receivers.last,
         senders, a["receivers"], a["row_ptr"], tensors..., at::get_num_threads());
}

// The same on a GPU, for all receivers; level: 0 for forward, 1 for backward, 2 for double backward.
template <class Function, class... Tensors>
void call_cuda_conv(Named<Function> function, const Arguments& a, int level, void* stream, const Tensors&... tensors) {
    const at::Tensor &x = a["x"], &senders = a["senders"];
    const auto queue = [&](const auto&... last) {
        call(function, a.text("spec"), x.scalar_type(), x.size(0), senders.size(0), senders, a["receivers"],
             a["row_ptr"], a["sender_perm"], a["sender_ptr"], tensors..., last..., stream);
    };
    if constexpr (sizeof...(Tensors) == 4) {
        queue();
    } else {
        int64_t bytes = 0;
        call(EQUINET_CUDA(equinet_cuda_uvu_conv_scratch), a.text("spec"), x.scalar_type(), level, senders.size(0),
             &bytes);
        // torch's allocator gives it away again to later work on the same stream alone
        queue(at::empty({bytes}, x.options().dtype(at::kByte)));
    }
}

inline std::vector<Operator> conv_operators() {
    return {
        {.name = "uvu_conv",
         .check = [](const Arguments& a) { check_conv(a, {"x", "y", "w"}); },
         .results = [](const Arguments& a) { return Results{empty_rows(a["x"], columns(a, 'g'))}; },
         .cpu =
             [](const Arguments& a, const Results& out) {
                 call_conv(EQUINET_CPU(equinet_uvu_conv), a, all_receivers(a), a["x"], a["y"], a["w"], out[0]);
             },
         .derivative = [](const Arguments& a, const Results& g) { return gradients_by("uvu_conv_backward", a, g); },
         .cuda =
             [](const Arguments& a, const Results& out, void* stream) {
                 call_cuda_conv(EQUINET_CUDA(equinet_cuda_uvu_conv), a, 0, stream, a["x"], a["y"], a["w"], out[0]);
             }},

        {.name = "uvu_conv_backward",
         .check = [](const Arguments& a) { check_conv(a, {"x", "y", "w", "g"}); },
         .results =
             [](const Arguments& a) { return Results{zeros_like(a["x"]), empty_like(a["y"]), empty_like(a["w"])}; },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 call_conv(EQUINET_CPU(equinet_uvu_conv_backward), a, all_receivers(a), a["g"], a["x"], a["y"], a["w"],
                           d[0], d[1], d[2]);
             },
         .cuda =
             [](const Arguments& a, const Results& d, void* stream) {
                 call_cuda_conv(EQUINET_CUDA(equinet_cuda_uvu_conv_backward), a, 1, stream, a["g"], a["x"], a["y"],
                                a["w"], d[0], d[1], d[2]);
             }},

        {.name = "uvu_conv_double_backward",
         .check = [](const Arguments& a) { check_conv(a, {"x", "x_dot", "y", "w", "y_dot", "w_dot", "g"}); },
         .results =
             [](const Arguments& a) {
                 return Results{empty_like(a["g"]), zeros_like(a["x"]), empty_like(a["y"]), empty_like(a["w"])};
             },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 call_conv(EQUINET_CPU(equinet_uvu_conv_double_backward), a, all_receivers(a), a["x_dot"], a["y_dot"],
                           a["w_dot"], a["g"], a["x"], a["y"], a["w"], d[0], d[1], d[2], d[3], nullptr);
             },
         .cuda =
             [](const Arguments& a, const Results& d, void* stream) {
                 call_cuda_conv(EQUINET_CUDA(equinet_cuda_uvu_conv_double_backward), a, 2, stream, a["x_dot"],
                                a["y_dot"], a["w_dot"], a["g"], a["x"], a["y"], a["w"], d[0], d[1], d[2], d[3]);
             }},
    };
}

}  // namespace equinet
