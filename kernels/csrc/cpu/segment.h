// Sums over segments of rows that lie side by side, and the transpose: a row for each of a segment.
#pragma once

#include <cstdint>

namespace equinet {

struct Segments {
    int64_t number, rows, columns;
    const int64_t* row_ptr;  // [number + 1]; rows of segment s are row_ptr[s]..row_ptr[s + 1]
};

// values [rows, columns] -> out [number, columns]. Rows are added in their order, whatever the number of threads.
template <class T>
void segment_sum(const Segments& segments, const T* values, T* out, int threads);

// values [number, columns] -> out [rows, columns].
template <class T>
void segment_gather(const Segments& segments, const T* values, T* out, int threads);

}  // namespace equinet
