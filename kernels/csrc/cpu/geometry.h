// Edge vectors under periodic boundaries, and their transpose: sums over atoms and structures.
#pragma once

#include <cstdint>

namespace equinet {

// Edges ordered by receiver, with the order that sorts them by sender; structures of atoms, in order.
struct Edges {
    int64_t atoms, edges, structures;
    const int64_t *senders, *receivers;        // [E]
    const int64_t* row_ptr;                    // [N + 1]; edges of receiver n are row_ptr[n]..row_ptr[n + 1]
    const int64_t *sender_perm, *sender_ptr;   // [E], [N + 1]; not read by edge_vectors
    const int64_t* batch;                      // [N], the structure of each atom
    const int64_t* images;                     // [E, 3]
};

// positions [N, 3], cell [B, 3, 3] -> vectors [E, 3]
template <class T>
void edge_vectors(const Edges& edges, const T* positions, const T* cell, T* vectors, int threads);

// g [E, 3] -> gradients of positions and cell. Each sum has one owner and one order.
template <class T>
void edge_vectors_backward(const Edges& edges, const T* g, T* d_positions, T* d_cell, int threads);

}  // namespace equinet
