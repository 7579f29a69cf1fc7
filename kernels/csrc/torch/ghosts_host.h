// What a host program with atoms on several processes, such as LAMMPS, gives libequinet_ops. It needs no other header.
#pragma once

#include <cstdint>

namespace equinet {

// Called within the operators, by every process equally often and in the same order.
struct GhostHost {
    // rows [owned + ghosts, columns], dense, of elements of 4 or 8 bytes (float, double).
    using Function = void(void* context, void* rows, int64_t bytes, int64_t owned, int64_t ghosts, int64_t columns);
    void* context;
    Function* fetch;      // fills the ghosts' rows from their owners'
    Function* give_back;  // adds the ghosts' rows to their owners'
};

}  // namespace equinet

// Replaces the host, for the whole process, whether this library or Python has the operators. A host without functions
// has no ghosts.
extern "C" __attribute__((visibility("default"))) void equinet_set_ghost_host(equinet::GhostHost host);
