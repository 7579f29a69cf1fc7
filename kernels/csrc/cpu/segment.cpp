#include "segment.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "simd.h"

namespace equinet {

namespace {

constexpr int64_t kNumbersPerTask = 16384;
constexpr int kPack = 8;  // vectors summed together: whole cache lines of each row, one after the other

// Calls body(first segment, last segment) for pieces of about kNumbersPerTask numbers.
template <class Body>
void for_segments(const Segments& segments, int threads, const Body& body) {
    const int64_t numbers = (segments.rows + segments.number) * segments.columns;
    const int64_t tasks = std::min(segments.number, (numbers + kNumbersPerTask - 1) / kNumbersPerTask);
    parallel_for(tasks, threads, [&] {
        return [&](int64_t task) {
            body(task * segments.number / tasks, (task + 1) * segments.number / tasks);
        };
    });
}

// Of the columns that a V holds.
template <class V, class T>
inline void sum_rows(const T* rows, int64_t number, int64_t columns, T* out) {
    V sum{};
    for (int64_t row = 0; row < number; ++row) sum = sum + load<V>(rows + row * columns);
    store(out, sum);
}

}  // namespace

template <class T>
void segment_sum(const Segments& segments, const T* values, T* out, int threads) {
    const int64_t columns = segments.columns;
    for_segments(segments, threads, [&](int64_t first, int64_t last) {
        for (int64_t s = first; s < last; ++s) {
            const int64_t number = segments.row_ptr[s + 1] - segments.row_ptr[s];
            const T* rows = values + segments.row_ptr[s] * columns;
            T* sums = out + s * columns;
            int64_t c = 0;
            for (; c + kPack * kLanes<T> <= columns; c += kPack * kLanes<T>)
                sum_rows<Pack<T, kPack>>(rows + c, number, columns, sums + c);
            for (; c + kLanes<T> <= columns; c += kLanes<T>) sum_rows<Vec<T>>(rows + c, number, columns, sums + c);
            for (; c < columns; ++c) sum_rows<T>(rows + c, number, columns, sums + c);
        }
    });
}

template <class T>
void segment_gather(const Segments& segments, const T* values, T* out, int threads) {
    const int64_t columns = segments.columns;
    for_segments(segments, threads, [&](int64_t first, int64_t last) {
        for (int64_t s = first; s < last; ++s) {
            const int64_t begin = segments.row_ptr[s], end = segments.row_ptr[s + 1];
            if (columns == 1)
                std::fill(out + begin, out + end, values[s]);
            else
                for (int64_t row = begin; row < end; ++row)
                    std::memcpy(out + row * columns, values + s * columns, sizeof(T) * columns);
        }
    });
}

#define EQUINET_INSTANTIATE(T)                                              \
    template void segment_sum(const Segments&, const T*, T*, int);          \
    template void segment_gather(const Segments&, const T*, T*, int);
EQUINET_INSTANTIATE(float)
EQUINET_INSTANTIATE(double)

}  // namespace equinet
