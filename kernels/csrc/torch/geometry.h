// Harmonics, edge vectors and segment sums; harmonics/, geometry/ and segment/ are the same in Python.
#pragma once

#include "operators.h"

namespace equinet {

inline void check_harmonics(const Arguments& a, Names names) {
    const int64_t l_max = a.whole("l_max");
    TORCH_CHECK_VALUE(0 <= l_max && l_max <= 6, a.operator_name(), ": l_max must be 0..6, got ", l_max);
    for (const std::string& name : names) {
        const int64_t edges = name == "directions" ? -1 : a["directions"].size(0);
        check_shape(a, name, {edges, name == "g" ? (l_max + 1) * (l_max + 1) : 3});
    }
    check_numbers(a, names);
}

template <class Function, class... Tensors>
void call_harmonics(Named<Function> function, const Arguments& a, const Tensors&... tensors) {
    const at::Tensor& directions = a["directions"];
    call(function, a.whole("l_max"), directions.scalar_type(), directions.size(0), tensors..., at::get_num_threads());
}

inline std::vector<Operator> harmonics_operators() {
    return {
        {.name = "spherical_harmonics",
         .check = [](const Arguments& a) { check_harmonics(a, {"directions"}); },
         .results =
             [](const Arguments& a) {
                 return Results{empty_rows(a["directions"], (a.whole("l_max") + 1) * (a.whole("l_max") + 1))};
             },
         .cpu =
             [](const Arguments& a, const Results& y) {
                 call_harmonics(EQUINET_CPU(equinet_spherical_harmonics), a, a["directions"], y[0]);
             },
         .derivative = [](const Arguments& a,
                          const Results& g) { return gradients_by("spherical_harmonics_backward", a, g); }},

        {.name = "spherical_harmonics_backward",
         .check = [](const Arguments& a) { check_harmonics(a, {"directions", "g"}); },
         .results = [](const Arguments& a) { return Results{empty_like(a["directions"])}; },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 call_harmonics(EQUINET_CPU(equinet_spherical_harmonics_backward), a, a["g"], a["directions"], d[0]);
             }},

        {.name = "spherical_harmonics_double_backward",
         .check = [](const Arguments& a) { check_harmonics(a, {"directions", "g", "d_dot"}); },
         .results = [](const Arguments& a) { return Results{empty_like(a["g"]), empty_like(a["directions"])}; },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 call_harmonics(EQUINET_CPU(equinet_spherical_harmonics_double_backward), a, a["d_dot"], a["g"],
                                a["directions"], d[0], d[1]);
             }},
    };
}

inline void check_edges(const Arguments& a, const at::Tensor& numbers) {
    check_indices(a, numbers, {"batch", "images", "senders", "receivers", "row_ptr", "sender_perm", "sender_ptr"});
    check_shape(a, "batch", {-1});
    check_shape(a, "images", {-1, 3});
    for (const char* name : {"senders", "receivers", "sender_perm"}) check_shape(a, name, {a["images"].size(0)});
    for (const char* name : {"row_ptr", "sender_ptr"}) check_shape(a, name, {a["batch"].size(0) + 1});
}

template <class Function, class... Tensors>
void call_edges(Named<Function> function, const Arguments& a, const at::Tensor& cell, const Tensors&... tensors) {
    call(function, cell.scalar_type(), a["batch"].size(0), a["images"].size(0), cell.size(0), a["senders"],
         a["receivers"], a["row_ptr"], a["batch"], a["images"], tensors..., at::get_num_threads());
}

// Linear both ways: each operator is the other's derivative.
inline std::vector<Operator> edge_vector_operators() {
    return {
        {.name = "edge_vectors",
         .check =
             [](const Arguments& a) {
                 check_numbers(a, {"positions", "cell"});
                 check_edges(a, a["positions"]);
                 check_shape(a, "positions", {a["batch"].size(0), 3});
                 check_shape(a, "cell", {-1, 3, 3});
             },
         .results =
             [](const Arguments& a) {
                 return Results{at::empty_symint({a["images"].sym_size(0), 3}, a["positions"].options())};
             },
         .cpu =
             [](const Arguments& a, const Results& vectors) {
                 call_edges(EQUINET_CPU(equinet_edge_vectors), a, a["cell"], a["positions"], a["cell"], vectors[0]);
             },
         .derivative =
             [](const Arguments& a, const Results& g) {
                 torch::jit::Stack arguments{g[0], a["cell"].sym_size(0)};
                 arguments.insert(arguments.end(), a.values().begin() + 2, a.values().end());
                 return call_operator("edge_vectors_backward", std::move(arguments));
             }},

        {.name = "edge_vectors_backward",
         .check =
             [](const Arguments& a) {
                 check_numbers(a, {"g"});
                 check_edges(a, a["g"]);
                 check_shape(a, "g", {a["images"].size(0), 3});
             },
         .results =
             [](const Arguments& a) {
                 const at::TensorOptions options = a["g"].options();
                 return Results{at::empty_symint({a["batch"].sym_size(0), 3}, options),
                                at::empty_symint({a.size("structures"), 3, 3}, options)};
             },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 call_edges(EQUINET_CPU(equinet_edge_vectors_backward), a, d[1], a["sender_perm"], a["sender_ptr"],
                            a["g"], d[0], d[1]);
             },
         .derivative =
             [](const Arguments& a, const Results& g) {
                 torch::jit::Stack arguments{g[0], g[1]};
                 arguments.insert(arguments.end(), a.values().begin() + 2, a.values().end());
                 return call_operator("edge_vectors", std::move(arguments));
             }},
    };
}

inline void check_segments(const Arguments& a) {
    check_numbers(a, {"values"});
    check_indices(a, a["values"], {"row_ptr"});
    check_shape(a, "row_ptr", {-1});
    TORCH_CHECK_VALUE(a["row_ptr"].size(0) > 0, a.operator_name(),
                      ": row_ptr must hold one number more than there are segments, got none");
    TORCH_CHECK_VALUE(a["values"].dim() > 0, a.operator_name(), ": values must be rows, got a single number");
}

inline at::Tensor other_rows(const at::Tensor& like, c10::SymInt rows) {
    std::vector<c10::SymInt> sizes = like.sym_sizes().vec();
    sizes.front() = std::move(rows);
    return at::empty_symint(sizes, like.options());
}

template <class Function>
void call_segments(Named<Function> function, const Arguments& a, int64_t rows, const at::Tensor& out) {
    const at::Tensor& values = a["values"];
    const int64_t columns = c10::multiply_integers(values.sizes().slice(1));
    call(function, values.scalar_type(), a["row_ptr"].size(0) - 1, rows, columns, a["row_ptr"], values, out,
         at::get_num_threads());
}

// Linear both ways, too.
inline std::vector<Operator> segment_operators() {
    return {
        {.name = "segment_sum",
         .check = check_segments,
         .results = [](const Arguments& a) { return Results{other_rows(a["values"], a["row_ptr"].sym_size(0) - 1)}; },
         .cpu =
             [](const Arguments& a, const Results& sums) {
                 call_segments(EQUINET_CPU(equinet_segment_sum), a, a["values"].size(0), sums[0]);
             },
         .derivative =
             [](const Arguments& a, const Results& g) {
                 return call_operator("segment_gather", {g[0], a["row_ptr"], a["values"].sym_size(0)});
             }},

        {.name = "segment_gather",
         .check =
             [](const Arguments& a) {
                 check_segments(a);
                 const int64_t segments = a["row_ptr"].size(0) - 1;
                 TORCH_CHECK_VALUE(a["values"].size(0) == segments, a.operator_name(), ": ", a["values"].size(0),
                                   " rows of values for ", segments, " segments");
             },
         .results = [](const Arguments& a) { return Results{other_rows(a["values"], a.size("rows"))}; },
         .cpu =
             [](const Arguments& a, const Results& out) {
                 call_segments(EQUINET_CPU(equinet_segment_gather), a, a.whole("rows"), out[0]);
             },
         .derivative = [](const Arguments& a,
                          const Results& g) { return call_operator("segment_sum", {g[0], a["row_ptr"]}); }},
    };
}

}  // namespace equinet
