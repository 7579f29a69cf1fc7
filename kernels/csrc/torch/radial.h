// Convolutions whose weights are made for a block of receivers at a time, and the spline of their tables; spline/ and
// radial_conv/ are the same in Python.
#pragma once

#include <ATen/ops/mm.h>

#include <algorithm>

#include "conv.h"

namespace equinet {

inline void check_spline(const Arguments& a, const at::Tensor& lengths, int64_t derivative) {
    const at::Tensor& table = a["table"];
    const double spacing = a.real("spacing");
    TORCH_CHECK_VALUE(lengths.dim() == 1 && lengths.scalar_type() == at::kDouble,
                      "radial_spline: lengths must be float64 [E], got ", dtype_name(lengths), " ", lengths.sizes());
    TORCH_CHECK_VALUE(table.dim() == 3 && table.size(1) == 6 && table.size(0) >= 1,
                      "radial_spline: the table must be [K, 6, C] with an interval or more, got ", table.sizes());
    TORCH_CHECK_VALUE(table.scalar_type() == at::kFloat || table.scalar_type() == at::kDouble,
                      "radial_spline: the table is ", dtype_name(table), "; it must be float32 or float64");
    TORCH_CHECK_VALUE(table.device() == lengths.device(), "radial_spline: the table is on ", table.device(),
                      ", lengths are on ", lengths.device());
    TORCH_CHECK_VALUE(spacing > 0 && 0 <= derivative && derivative <= 3, "radial_spline: spacing ", spacing,
                      " must be positive, derivative ", derivative, " 0..3");
}

// A derivative of the table's functions at these lengths, [E, C].
inline void spline(const Arguments& a, const at::Tensor& lengths, int64_t derivative, const at::Tensor& out) {
    const at::Tensor& table = a["table"];
    call(EQUINET_CPU(equinet_radial_spline), table.scalar_type(), lengths.size(0), table.size(2), table.size(0),
         a.real("spacing"), derivative, lengths, table, out, at::get_num_threads());
}

inline std::vector<Operator> spline_operators() {
    return {
        {.name = "radial_spline",
         .check = [](const Arguments& a) { check_spline(a, a["lengths"], a.whole("derivative")); },
         .results =
             [](const Arguments& a) {
                 const at::Tensor& table = a["table"];
                 return Results{at::empty_symint({a["lengths"].sym_size(0), table.sym_size(2)}, table.options())};
             },
         .cpu = [](const Arguments& a, const Results& out) { spline(a, a["lengths"], a.whole("derivative"), out[0]); },
         .derivative =
             [](const Arguments& a, const Results& g) {  // by the lengths alone: a table is made, not trained
                 const int64_t derivative = a.whole("derivative");
                 TORCH_CHECK_NOT_IMPLEMENTED(derivative < 3, "radial_spline has derivatives up to order 3");
                 const Results slope =
                     call_operator("radial_spline", {a["lengths"], a["table"], a.real("spacing"), derivative + 1});
                 return Results{g[0].mul(slope[0]).sum(1).to(a["lengths"].scalar_type())};
             }},
    };
}

// Receivers, and the rows of their edges.
struct Block {
    Receivers receivers;
    int64_t start, length;

    at::Tensor operator()(const at::Tensor& edges) const { return edges.narrow(0, start, length); }
};

// The receivers, in order, in blocks of about 512 edges: the bounds of radial_conv/blocks.py, so that the bits are the
// same.
inline std::vector<Block> receiver_blocks(const Arguments& a) {
    constexpr int64_t kEdges = 512;
    const int64_t nodes = a["x"].size(0), edges = a["senders"].size(0);
    const int64_t* row_ptr = a["row_ptr"].const_data_ptr<int64_t>();
    std::vector<Block> blocks;
    int64_t first = 0;
    for (int64_t start = kEdges; first < nodes; start += kEdges) {
        const int64_t last = start < edges ? std::lower_bound(row_ptr, row_ptr + nodes, start) - row_ptr : nodes;
        if (last > first) blocks.push_back({{first, last}, row_ptr[first], row_ptr[last] - row_ptr[first]});
        first = last;
    }
    return blocks;
}

inline void check_hidden(const Arguments& a, const std::string& hidden, const std::string& matrix) {
    const at::Tensor &x = a["x"], &h = a[hidden], &weight = a[matrix];
    const int64_t edges = a["y"].size(0), outputs = columns(a, 'w');
    TORCH_CHECK_VALUE(h.dim() == 2 && h.size(0) == edges && weight.sizes() == at::IntArrayRef({h.size(1), outputs}),
                      "radial_uvu_conv: h must be [", edges, ", H] and weight [H, ", outputs, "], got ", h.sizes(),
                      " and ", weight.sizes());
    for (const auto& [name, tensor] : {std::pair("h", h), std::pair("weight", weight)})
        TORCH_CHECK_VALUE(tensor.scalar_type() == x.scalar_type() && tensor.device() == x.device(),
                          "radial_uvu_conv: ", name, " is ", dtype_name(tensor), " on ", tensor.device(), ", x ",
                          dtype_name(x), " on ", x.device());
}

inline std::vector<Operator> hidden_operators() {
    return {
        {.name = "radial_uvu_conv",
         .check = [](const Arguments& a) { check_conv(a, {"x", "y"}), check_hidden(a, "h", "weight"); },
         .results = [](const Arguments& a) { return Results{empty_rows(a["x"], columns(a, 'g'))}; },
         .cpu =
             [](const Arguments& a, const Results& out) {
                 for (const Block& block : receiver_blocks(a))
                     call_conv(EQUINET_CPU(equinet_uvu_conv), a, block.receivers, a["x"], block(a["y"]),
                               at::mm(block(a["h"]), a["weight"]), out[0]);
             },
         .derivative = [](const Arguments& a,
                          const Results& g) { return gradients_by("radial_uvu_conv_backward", a, g); }},

        {.name = "radial_uvu_conv_backward",
         .check = [](const Arguments& a) { check_conv(a, {"x", "y", "g"}), check_hidden(a, "h", "weight"); },
         .results =
             [](const Arguments& a) {
                 return Results{zeros_like(a["x"]), empty_like(a["y"]), empty_like(a["h"]), zeros_like(a["weight"])};
             },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 const at::Tensor& weight = a["weight"];
                 for (const Block& block : receiver_blocks(a)) {
                     const at::Tensor h = block(a["h"]), w = at::mm(h, weight), dw = empty_like(w);
                     call_conv(EQUINET_CPU(equinet_uvu_conv_backward), a, block.receivers, a["g"], a["x"],
                               block(a["y"]), w, d[0], block(d[1]), dw);
                     at::Tensor dh = block(d[2]), dweight = d[3];
                     at::mm_out(dh, dw, weight.t());
                     dweight.addmm_(h.t(), dw);
                 }
             }},

        {.name = "radial_uvu_conv_double_backward",
         .check =
             [](const Arguments& a) {
                 check_conv(a, {"x", "x_dot", "y", "y_dot", "g"});
                 check_hidden(a, "h", "weight"),
                     check_hidden(a, "h_dot", a.has("weight_dot") ? "weight_dot" : "weight");
             },
         .results =
             [](const Arguments& a) {
                 return Results{empty_like(a["g"]), zeros_like(a["x"]), empty_like(a["y"]), empty_like(a["h"]),
                                zeros_like(a["weight"])};
             },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 const at::Tensor& weight = a["weight"];
                 const bool dotted = a.has("weight_dot");
                 for (const Block& block : receiver_blocks(a)) {
                     const at::Tensor h = block(a["h"]), h_dot = block(a["h_dot"]), w = at::mm(h, weight);
                     at::Tensor w_dot = at::mm(h_dot, weight);
                     if (dotted) w_dot.addmm_(h, a["weight_dot"]);
                     const at::Tensor gw = empty_like(w), gw_dot = empty_like(w);
                     call_conv(EQUINET_CPU(equinet_uvu_conv_double_backward), a, block.receivers, a["x_dot"],
                               block(a["y_dot"]), w_dot, a["g"], a["x"], block(a["y"]), w, d[0], d[1], block(d[2]), gw,
                               gw_dot);
                     at::Tensor gh = block(d[3]), gweight = d[4];
                     at::mm_out(gh, gw, weight.t());
                     if (dotted) gh.addmm_(gw_dot, a["weight_dot"].t());
                     gweight.addmm_(h.t(), gw).addmm_(h_dot.t(), gw_dot);
                 }
             }},
    };
}

inline void check_tabulated(const Arguments& a, Names names) {
    check_conv(a, names);
    const at::Tensor &x = a["x"], &vectors = a["vectors"], &table = a["table"];
    const int64_t edges = a["senders"].size(0), weights = columns(a, 'w');
    TORCH_CHECK_VALUE(vectors.sizes() == at::IntArrayRef({edges, 3}) && vectors.scalar_type() == at::kDouble,
                      "tabulated_uvu_conv: vectors must be float64 [", edges, ", 3], got ", dtype_name(vectors), " ",
                      vectors.sizes());
    check_spline(a, vectors.select(1, 0), 0);
    TORCH_CHECK_VALUE(table.size(2) == weights && table.scalar_type() == x.scalar_type(),
                      "tabulated_uvu_conv: the table must be ", dtype_name(x), " [K, 6, ", weights, "], got ",
                      dtype_name(table), " ", table.sizes());
}

inline std::vector<Operator> tabulated_operators() {
    return {
        {.name = "tabulated_uvu_conv",
         .check = [](const Arguments& a) { check_tabulated(a, {"x"}); },
         .results = [](const Arguments& a) { return Results{empty_rows(a["x"], columns(a, 'g'))}; },
         .cpu =
             [](const Arguments& a, const Results& out) {
                 const at::Tensor &x = a["x"], &table = a["table"];
                 call(EQUINET_CPU(equinet_tabulated_uvu_conv), a.text("spec"), x.scalar_type(), x.size(0),
                      a["senders"].size(0), a["senders"], a["receivers"], a["row_ptr"], x, a["vectors"], table.size(0),
                      a.real("spacing"), table, out[0], at::get_num_threads());
             },
         .derivative = [](const Arguments& a,
                          const Results& g) { return gradients_by("tabulated_uvu_conv_backward", a, g); }},

        {.name = "tabulated_uvu_conv_backward",
         .check = [](const Arguments& a) { check_tabulated(a, {"x", "g"}); },
         .results = [](const Arguments& a) { return Results{zeros_like(a["x"]), empty_like(a["vectors"])}; },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 const at::Tensor &x = a["x"], &table = a["table"];
                 call(EQUINET_CPU(equinet_tabulated_uvu_conv_backward), a.text("spec"), x.scalar_type(), x.size(0),
                      a["senders"].size(0), a["senders"], a["receivers"], a["row_ptr"], a["g"], x, a["vectors"],
                      table.size(0), a.real("spacing"), table, d[0], d[1], at::get_num_threads());
             }},
    };
}

}  // namespace equinet
