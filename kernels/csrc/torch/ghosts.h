// Rows of ghosts, which the host program fetches from their owners; ghosts/ is the same in Python.
#pragma once

#include <ATen/ops/narrow.h>

#include "ghosts_host.h"
#include "operators.h"

namespace equinet {

inline GhostHost& ghost_host() {
    static GhostHost host{};
    return host;
}

inline void check_ghosts(const Arguments& a, const char* name, int64_t ghosts, int64_t least) {
    check_numbers(a, {name});
    const at::Tensor& rows = a[name];
    TORCH_CHECK_VALUE(rows.dim() == 2 && rows.size(0) >= least && ghosts >= 0, a.operator_name(), ": no ", ghosts,
                      " ghosts for rows ", rows.sizes());
    TORCH_CHECK_VALUE(ghosts == 0 || ghost_host().fetch != nullptr, a.operator_name(), ": the owners of ", ghosts,
                      " ghosts are needed, none is known");
}

// Hands rows to the host, also where this process has no ghosts: others may wait for what it owns.
inline void call_host(GhostHost::Function* function, const at::Tensor& rows, int64_t ghosts) {
    if (function != nullptr)
        function(ghost_host().context, rows.data_ptr(), rows.element_size(), rows.size(0) - ghosts, ghosts,
                 rows.size(1));
}

inline std::vector<Operator> ghost_operators() {
    return {
        {.name = "ghost_rows",
         .check = [](const Arguments& a) { check_ghosts(a, "rows", a.whole("ghosts"), 0); },
         .results =
             [](const Arguments& a) {
                 const at::Tensor& rows = a["rows"];
                 return Results{
                     at::empty_symint({rows.sym_size(0) + a.size("ghosts"), rows.sym_size(1)}, rows.options())};
             },
         .cpu =
             [](const Arguments& a, const Results& out) {
                 out[0].narrow(0, 0, a["rows"].size(0)).copy_(a["rows"]);
                 call_host(ghost_host().fetch, out[0], a.whole("ghosts"));
             },
         .derivative =
             [](const Arguments& a, const Results& g) {
                 return call_operator("ghost_rows_backward", {g[0], a.size("ghosts")});
             }},

        {.name = "ghost_rows_backward",
         .check = [](const Arguments& a) { check_ghosts(a, "g", a.whole("ghosts"), a.whole("ghosts")); },
         .results =
             [](const Arguments& a) {
                 const at::Tensor& g = a["g"];
                 return Results{at::empty_symint({g.sym_size(0) - a.size("ghosts"), g.sym_size(1)}, g.options())};
             },
         .cpu =
             [](const Arguments& a, const Results& d) {
                 const at::Tensor all = a["g"].clone();  // the host adds ghosts' rows to their owners' in place
                 call_host(ghost_host().give_back, all, a.whole("ghosts"));
                 d[0].copy_(all.narrow(0, 0, d[0].size(0)));
             },
         .derivative =
             [](const Arguments& a, const Results& g) {
                 return call_operator("ghost_rows", {g[0], a.size("ghosts")});
             }},
    };
}

}  // namespace equinet
