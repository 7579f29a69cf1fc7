// Real coupling constants, as equinet_kernels/basis.py defines them.
#pragma once

#include <vector>

namespace equinet {

constexpr int kMaxDegree = 6;

// [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], of unit Frobenius norm.
std::vector<double> clebsch_gordan(int l1, int l2, int l3);

}  // namespace equinet
