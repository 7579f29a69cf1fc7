// Edges whose harmonics and weights come from their vectors: the weights are splines of the length.
#pragma once

#include "conv.h"
#include "spline.h"

namespace equinet {

template <class T>
class TabulatedEdges final : public EdgeSource<T> {
   public:
    // vectors [E, 3]; dvectors [E, 3], written by take().
    TabulatedEdges(const ConvPlan& plan, const double* vectors, const SplineTable<T>& table, double* dvectors)
        : plan_(plan), vectors_(vectors), table_(table), dvectors_(dvectors) {}

    void make(int64_t first, int64_t edges, T* y, T* w, T* w_slope) const override;
    void take(int64_t first, int64_t edges, const T* dy, const T* dw, const T* w_slope) const override;

   private:
    const ConvPlan& plan_;
    const double* vectors_;
    const SplineTable<T> table_;
    double* dvectors_;
};

}  // namespace equinet
