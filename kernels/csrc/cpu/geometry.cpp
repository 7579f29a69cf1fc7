#include "geometry.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.h"

namespace equinet {

namespace {

constexpr int64_t kEdgesPerTask = 4096;
constexpr int64_t kAtomsPerTask = 128;

// Calls body(first, last) for pieces of 0..number.
template <class Body>
void for_pieces(int64_t number, int64_t piece, int threads, const Body& body) {
    parallel_for((number + piece - 1) / piece, threads, [&] {
        return [&](int64_t task) { body(task * piece, std::min((task + 1) * piece, number)); };
    });
}

}  // namespace

template <class T>
void edge_vectors(const Edges& edges, const T* positions, const T* cell, T* vectors, int threads) {
    for_pieces(edges.edges, kEdgesPerTask, threads, [&](int64_t first, int64_t last) {
        for (int64_t e = first; e < last; ++e) {
            const int64_t receiver = edges.receivers[e];
            const T* to = positions + edges.senders[e] * 3;
            const T* from = positions + receiver * 3;
            const T* rows = cell + edges.batch[receiver] * 9;
            const T n[3] = {static_cast<T>(edges.images[e * 3]), static_cast<T>(edges.images[e * 3 + 1]),
                            static_cast<T>(edges.images[e * 3 + 2])};
            for (int k = 0; k < 3; ++k)
                vectors[e * 3 + k] = to[k] - from[k] + (n[0] * rows[k] + n[1] * rows[3 + k] + n[2] * rows[6 + k]);
        }
    });
}

template <class T>
void edge_vectors_backward(const Edges& edges, const T* g, T* d_positions, T* d_cell, int threads) {
    std::vector<T> d_cells(static_cast<std::size_t>(edges.atoms * 9));  // each receiver's part of its structure's
    for_pieces(edges.atoms, kAtomsPerTask, threads, [&](int64_t first, int64_t last) {
        for (int64_t atom = first; atom < last; ++atom) {
            T position[3] = {}, rows[9] = {};
            for (int64_t k = edges.sender_ptr[atom]; k < edges.sender_ptr[atom + 1]; ++k) {
                const int64_t e = edges.sender_perm[k];
                if (e < 0 || e >= edges.edges || edges.senders[e] != atom)
                    throw std::invalid_argument("sender_perm and sender_ptr are not the order of the edges by sender: they "
                                                "give edge " + std::to_string(e) + " to node " + std::to_string(atom));
                for (int i = 0; i < 3; ++i) position[i] += g[e * 3 + i];
            }
            for (int64_t e = edges.row_ptr[atom]; e < edges.row_ptr[atom + 1]; ++e) {
                for (int i = 0; i < 3; ++i) position[i] -= g[e * 3 + i];
                for (int j = 0; j < 3; ++j) {
                    const T n = static_cast<T>(edges.images[e * 3 + j]);
                    for (int i = 0; i < 3; ++i) rows[j * 3 + i] += n * g[e * 3 + i];
                }
            }
            std::copy(position, position + 3, d_positions + atom * 3);
            std::copy(rows, rows + 9, d_cells.begin() + atom * 9);
        }
    });
    std::fill(d_cell, d_cell + edges.structures * 9, T(0));
    for (int64_t atom = 0; atom < edges.atoms; ++atom)
        for (int i = 0; i < 9; ++i) d_cell[edges.batch[atom] * 9 + i] += d_cells[atom * 9 + i];
}

#define EQUINET_INSTANTIATE(T)                                                      \
    template void edge_vectors(const Edges&, const T*, const T*, T*, int);          \
    template void edge_vectors_backward(const Edges&, const T*, T*, T*, int);
EQUINET_INSTANTIATE(float)
EQUINET_INSTANTIATE(double)

}  // namespace equinet
