// How the convolution is divided among warps.
//
// A warp owns one receiver, one group of paths that share a block of x, and one tile of that block's channels. It walks
// along the receiver's edges in their order and writes every result itself: no atomics, the same bits every time. Each
// weight is read by one warp; x once for each group, and most blocks are one group.
#pragma once

#include <string>
#include <vector>

#include "../cpu/conv_plan.h"

namespace equinet::cuda {

constexpr int kWarp = 32;
constexpr int kMostRows = 64;         // output components of a group
constexpr int kMostForwardRows = 32;  // kept in registers there
constexpr int kMostEdges = 8;         // whose matrices B are made together

enum class Level { kForward = 0, kBackward = 1, kDoubleBackward = 2 };

// An entry of B: sum of value[n] * y[j[n]]. Real coupling constants have no more than two for a pair of components.
template <class T>
struct Element {
    T value[2];
    int j[2];
};

// Where a row of B begins, counted from the row before: a multiple of 16 bytes, for wide loads; scalars lie side by side.
constexpr int row_stride(int d1, int itemsize) {
    return d1 == 1 ? 1 : (d1 * itemsize + 15) / 16 * 16 / itemsize;
}

// Rows are the output components of the group's paths, one path after the other. If the first path's harmonics have
// degree 0, its B is a multiple of the identity and kept as one number, behind the rows of the others.
struct Group {
    int d1, channels, x_offset, w_offset;  // of the block of x; of the first path's weights
    int first_path, paths, rows;
    bool diagonal, opens_block;
    int vectors, tiles;  // channels of a lane, 32 apart; tiles that cover the channels
    int elements;        // numbers that matter in B
    int b_size;          // room for B in shared memory, in numbers, rows padded
    int edges;           // whose matrices B are made together
    int shared_bytes;
    std::vector<unsigned char> components;  // 2 l + 1 of each path

    int full_rows() const { return rows - (diagonal ? d1 : 0); }
};

// The tables of a group, as offsets into LevelPlan::tables.
struct TableOffsets {
    std::size_t elements;   // Element<T> [elements]
    std::size_t columns;    // int [rows]: of each row in a row of the result, channel 0
    std::size_t starts;     // int [y_dim + 1]: those of y[j] are couplings[starts[j]..starts[j + 1]]
    std::size_t couplings;  // Coupling<T>, b counted over the group's elements
};

// One level of one specification in one precision.
struct LevelPlan {
    std::vector<Group> groups;
    std::vector<TableOffsets> offsets;
    std::vector<unsigned char> tables;
    int tiles;  // of the group that has most
};

// Made once for each set of arguments and kept. T: float or double.
template <class T>
const LevelPlan& level_plan(const std::string& spec, Level level);

// A line for each group.
std::string describe(const LevelPlan& plan);

}  // namespace equinet::cuda
