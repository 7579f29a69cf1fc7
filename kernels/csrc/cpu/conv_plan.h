// What a convolution's specification means for the loops: sizes, offsets, and where coupling constants go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace equinet {

// One path: a block of x, [d1, channels], with harmonics of one degree, gives d3 components of an output block.
struct ConvPath {
    int d1, d3;
    bool diagonal;  // harmonics of degree 0: B is a multiple of the identity, and only its diagonal is kept
    bool opens_block;  // the first path of its block of x
    int channels;
    int64_t x_offset;               // of the block in a row of x
    int64_t w_offset;               // of the path's weights in a row of w
    int64_t out_offset, out_stride;  // of component 0, and from one component to the next, in a row of the result
    int b_offset;                    // of the path's matrix B among all, stored [d3, d1] (diagonal: [d1])
    int b_size;
};

// One coupling constant: B[b] takes value * y[j].
template <class T>
struct Coupling {
    int b, j;
    T value;
};

// The coupling constants of all paths, rounded once.
template <class T>
struct Couplings {
    std::vector<Coupling<T>> by_b;  // ordered by b
    std::vector<Coupling<T>> by_j;  // ordered by path, then j
};

struct ConvPlan {
    int64_t x_dim, y_dim, w_dim, out_dim;
    int b_dim;         // sizes of all matrices B of an edge
    int max_moments;   // the largest of them
    int64_t max_rows;  // the largest d1 * channels
    bool unused_blocks;  // whether a block of x has no path: its gradient is zero
    std::vector<ConvPath> paths;
    std::vector<int> path_couplings;  // by_j of path p is path_couplings[p]..path_couplings[p + 1]
    Couplings<double> doubles;
    Couplings<float> floats;

    const Couplings<double>& couplings(double) const { return doubles; }
    const Couplings<float>& couplings(float) const { return floats; }
};

// Reads the canonical string of equinet_kernels/spec.py; made once for each string and kept.
// Throws std::invalid_argument where it is not one.
const ConvPlan& conv_plan(const std::string& spec);

}  // namespace equinet
